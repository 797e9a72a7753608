#include "cli/reach.h"

#include <ctype.h>
#include <glob.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "make/workspace.h"
#include "types/array.h"

struct names {
	char **v;
	size_t n;
};

struct file {
	char *path;
	char *text; /* without comments */
	struct names
		includes; /* as they stand there; and what macros are defined as, for it may be meant to be included */
	struct names macros; /* included by the name of a macro */
	bool is_unclear;     /* includes what is neither */
	size_t seen;         /* number of the folders for which it is known to reach nothing, or is being followed */
};

struct hp_reach {
	char *const *changed;
	size_t n_changed;
	void *files;          /* tree of struct file */
	struct names system;  /* folders of the system's headers */
	struct names folders; /* of the last command */
	size_t number;        /* of those folders: what is known for others does not count */
	struct names macros;  /* of all files that were followed for that number */
	bool failed;          /* memory was out */
};

/* -- Names ----------------------------------------------------------------------------------------------------- */

static void free_names(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
	*names = (struct names){0};
}

/* Takes name, which may be NULL. */
static bool add_name(struct names *names, char *name)
{
	char **v = name ? hp_array_grow(names->v, names->n, sizeof(*v)) : NULL;

	if (!v) {
		free(name);
		return false;
	}
	names->v = v;
	v[names->n++] = name; /* NOLINT(-Wanalyzer-malloc-leak): the names have it */
	return true;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool is_changed(const struct hp_reach *reach, const char *name)
{
	for (size_t i = 0; i < reach->n_changed; i++)
		if (strcmp(base_name(reach->changed[i]), base_name(name)) == 0)
			return true;
	return false;
}

/* -- Reading one file ------------------------------------------------------------------------------------------ */

/* Puts blanks in the place of comments and of line ends behind a backslash, which may stand between any words of a
 * directive (C11 5.1.1.2). A quote that does not end does so with its line, as in the text of an #error. */
static void blank_comments(char *text)
{
	char quote = 0;

	for (char *at = text; *at; at++) {
		if (at[0] == '\\' && at[1] == '\n') {
			memset(at++, ' ', 2);
		} else if (quote) {
			if (*at == '\\' && at[1])
				at++;
			else if (*at == quote || *at == '\n')
				quote = 0;
		} else if (*at == '"' || *at == '\'') {
			quote = *at;
		} else if (at[0] == '/' && (at[1] == '*' || at[1] == '/')) {
			const char *found = strstr(at + 2, at[1] == '*' ? "*/" : "\n");
			size_t length = found ? (size_t)(found - at) + (at[1] == '*' ? 2 : 0) : strlen(at);
			memset(at, ' ', length);
			at += length - 1;
		}
	}
}

static const char *skip_blanks(const char *at)
{
	return at + strspn(at, " \t\f\v\r");
}

static size_t word_length(const char *at)
{
	size_t length = 0;

	while (isalnum((unsigned char)at[length]) || at[length] == '_')
		length++;
	return length;
}

static bool is_word(const char *at, size_t length, const char *word)
{
	return strlen(word) == length && strncmp(at, word, length) == 0;
}

/* The name in quotes or brackets at `at`, NULL where there is none. */
static const char *quoted(const char *at, size_t *ret_length)
{
	const char *end = *at == '"' || *at == '<' ? strpbrk(at + 1, *at == '"' ? "\"\n" : ">\n") : NULL;

	if (!end || *end == '\n')
		return NULL;
	*ret_length = (size_t)(end - at - 1);
	return at + 1;
}

static bool take_include(struct file *file, const char *at)
{
	size_t length;
	const char *name = quoted(at, &length);

	if (name)
		/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the file has its names */
		return add_name(&file->includes, strndup(name, length));
	length = word_length(at);
	if (length && *skip_blanks(at + length) == '\n')
		/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the file has its names */
		return add_name(&file->macros, strndup(at, length));
	file->is_unclear = true;
	return true;
}

static bool take_define(struct file *file, const char *at)
{
	size_t length;
	const char *name = quoted(skip_blanks(at + word_length(at)), &length);

	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the file has its names */
	return !name || add_name(&file->includes, strndup(name, length));
}

static bool take_directive(struct file *file, const char *at)
{
	static const char *const words[] = {"include", "include_next", "import", "embed"};
	size_t length = word_length(at);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (is_word(at, length, words[i]))
			return take_include(file, skip_blanks(at + length));
	return !is_word(at, length, "define") || take_define(file, skip_blanks(at + length));
}

/* A directive begins with #, wherever that stands, or with %: */
static bool read_directives(struct file *file)
{
	for (const char *at = file->text; (at = strpbrk(at, "#:")); at++)
		if ((*at == '#' || (at > file->text && at[-1] == '%')) && !take_directive(file, skip_blanks(at + 1)))
			return false;
	return true;
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static void free_file(void *arg)
{
	struct file *file = arg;

	free_names(&file->includes);
	free_names(&file->macros);
	free(file->text);
	free(file->path);
	free(file);
}

static struct file *read_file(const char *path)
{
	struct file *file = calloc(1, sizeof(*file));
	struct hp_err ignored;
	size_t size = 0;
	bool ok = file && (file->path = strdup(path));

	if (ok && hp_file_read(path, &file->text, &size, &ignored) < 0) {
		file->is_unclear = true; /* what is there and cannot be read may include anything */
	} else if (ok) {
		file->is_unclear = strlen(file->text) < size; /* what is behind a NUL is not looked at */
		blank_comments(file->text);
		ok = read_directives(file);
	}
	if (ok)
		return file;
	if (file)
		free_file(file);
	return NULL;
}

static struct file *file_at(struct hp_reach *reach, const char *path)
{
	struct file key = {.path = (char *)path}, **found = tfind(&key, &reach->files, compare_files);

	if (found)
		return *found;
	struct file *file = read_file(path);
	if (!file || !tsearch(file, &reach->files, compare_files)) {
		if (file)
			free_file(file);
		reach->failed = true;
		return NULL;
	}
	return file;
}

/* -- Folders of a command -------------------------------------------------------------------------------------- */

/* 1: a folder, 2: a file that is read first; *ret_at is where its name begins in the word. */
static int kind_of_word(const char *word, size_t *ret_at)
{
	static const struct {
		const char *word;
		int kind;
	} kinds[] = {{"-isystem", 1}, {"-iquote", 1}, {"-idirafter", 1}, {"-include", 2}, {"-imacros", 2}, {"-I", 1}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(word, kinds[i].word, strlen(kinds[i].word)) == 0) {
			*ret_at = strlen(kinds[i].word);
			return kinds[i].kind;
		}
	return 0;
}

/* Other ways to say where headers are. */
static bool is_unclear(const char *word)
{
	static const char *const starts[] = {"@",           "-isysroot", "--sysroot", "-iprefix",   "-iwithprefix",
	                                     "-specs",      "-wrapper",  "-B",        "-imultilib", "--include",
	                                     "-cxx-isystem"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (strncmp(word, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* False where it is not clear which they are. */
static bool read_folders(const struct hp_compile *compile, struct names *folders, struct names *first)
{
	for (size_t i = 1; i < compile->n_words; i++) {
		size_t at = 0;
		int kind = kind_of_word(compile->words[i], &at);
		if (is_unclear(compile->words[i]))
			return false;
		if (!kind)
			continue;
		const char *name = compile->words[i] + at;
		if (!*name && i + 1 < compile->n_words)
			name = compile->words[++i];
		if (!add_name(kind == 1 ? folders : first, hp_path_resolve(compile->folder, name)))
			return false;
	}
	return !getenv("CPATH") && !getenv("C_INCLUDE_PATH");
}

static bool same_names(const struct names *a, const struct names *b)
{
	bool same = a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = strcmp(a->v[i], b->v[i]) == 0;
	return same;
}

/* -- Following ------------------------------------------------------------------------------------------------- */

static bool follow(struct hp_reach *reach, const char *path);

static bool is_file(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && !S_ISDIR(status.st_mode);
}

/* Under one name only, or what includes "../a/b.h" in turn would never end. */
static bool follow_into(struct hp_reach *reach, const char *folder, const char *name)
{
	char *path = hp_path_resolve(folder, name);

	if (!path) {
		reach->failed = true;
		return true;
	}
	bool may = is_file(path) && follow(reach, path);
	free(path);
	return may;
}

static bool follow_name(struct hp_reach *reach, const char *from, const char *name)
{
	char *folder = strndup(from, (size_t)(base_name(from) - from));
	bool may = is_changed(reach, name) || !folder || follow_into(reach, folder, name);

	for (size_t i = 0; i < reach->folders.n && !may; i++)
		may = follow_into(reach, reach->folders.v[i], name);
	for (size_t i = 0; i < reach->system.n && !may; i++)
		may = follow_into(reach, reach->system.v[i], name);
	free(folder);
	return may;
}

/* A file that was followed before to the end reaches nothing; one that did ended the search, and all that was begun
 * then begins again at the next. */
static bool follow(struct hp_reach *reach, const char *path)
{
	struct file *file = file_at(reach, path);

	if (!file || file->is_unclear)
		return true;
	if (file->seen == reach->number)
		return false;
	file->seen = reach->number;
	for (size_t i = 0; i < file->includes.n; i++)
		if (follow_name(reach, file->path, file->includes.v[i]))
			return true;
	for (size_t i = 0; i < file->macros.n; i++)
		if (!add_name(&reach->macros, strdup(file->macros.v[i])))
			reach->failed = true;
	return false;
}

/* Macros that are included: names that one may stand for were followed where it is defined. But it may be put together
 * from something else, or be defined by the command. */
static bool is_put_together(const char *text, const char *macro)
{
	size_t length = strlen(macro), ignored;

	for (const char *at = text; (at = strstr(at, macro)); at += length) {
		const char *before = at, *behind = skip_blanks(at + length);
		if (at == text || word_length(at) != length)
			continue;
		while (before > text && strchr(" \t\f\v\r", before[-1]))
			before--;
		bool is_define = before - text >= 6 && before < at && strncmp(before - 6, "define", 6) == 0;
		/* cppcheck-suppress knownConditionTrueFalse; it takes what the loop leaves for the beginning */
		if (is_define && *behind != '\n' && !quoted(behind, &ignored))
			return true;
	}
	return false;
}

static struct {
	const struct hp_reach *reach;
	bool found;
} search;

static void search_file(const void *node, VISIT order, int depth)
{
	const struct file *file = *(const struct file *const *)node;

	(void)depth;
	if ((order != preorder && order != leaf) || file->seen != search.reach->number || !file->text)
		return;
	for (size_t i = 0; i < search.reach->macros.n && !search.found; i++)
		search.found = is_put_together(file->text, search.reach->macros.v[i]);
}

static bool has_unclear_macros(const struct hp_reach *reach, const struct hp_compile *compile)
{
	for (size_t i = 0; i < reach->macros.n; i++)
		for (size_t k = 1; k < compile->n_words; k++)
			if (strstr(compile->words[k], reach->macros.v[i]))
				return true;
	search.reach = reach;
	search.found = false;
	if (reach->macros.n)
		twalk(reach->files, search_file);
	return search.found;
}

static void forget(struct hp_reach *reach)
{
	reach->number++;
	free_names(&reach->macros);
}

static bool follow_unit(struct hp_reach *reach, const struct hp_compile *compile, const struct names *first)
{
	bool may = is_changed(reach, compile->path) || follow(reach, compile->path);

	for (size_t i = 0; i < first->n && !may; i++)
		may = is_changed(reach, first->v[i]) || follow(reach, first->v[i]);
	may = may || has_unclear_macros(reach, compile);
	if (may)
		forget(reach);
	return may;
}

/* -- The interface --------------------------------------------------------------------------------------------- */

struct hp_reach *hp_reach_new(char *const *changed, size_t n_changed)
{
	struct hp_reach *reach = calloc(1, sizeof(*reach));
	glob_t found = {0};
	bool ok = reach && add_name(&reach->system, strdup("/usr/local/include")) &&
	          add_name(&reach->system, strdup("/usr/include"));

	/* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread */
	if (ok && glob("/usr/include/*-linux-*", GLOB_ONLYDIR, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc && ok; i++)
			ok = add_name(&reach->system, strdup(found.gl_pathv[i]));
	globfree(&found);
	if (!ok) {
		hp_reach_free(reach);
		return NULL;
	}
	reach->changed = changed;
	reach->n_changed = n_changed;
	return reach;
}

void hp_reach_free(struct hp_reach *reach)
{
	if (!reach)
		return;
	tdestroy(reach->files, free_file);
	free_names(&reach->system);
	free_names(&reach->folders);
	free_names(&reach->macros);
	free(reach);
}

bool hp_reach_may(struct hp_reach *reach, const struct hp_compile *compile)
{
	struct names folders = {0}, first = {0};
	bool may = true;

	if (read_folders(compile, &folders, &first)) {
		if (!reach->number || !same_names(&folders, &reach->folders)) {
			struct names before = reach->folders;
			reach->folders = folders;
			folders = before;
			forget(reach);
		}
		may = follow_unit(reach, compile, &first) || reach->failed;
	}
	free_names(&folders);
	free_names(&first);
	return may;
}
