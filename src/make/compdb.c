#include "make/compdb.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "types/array.h"

static int no_memory(const char *path, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", path);
}

/* -- Paths ----------------------------------------------------------------------------------------------------- */

/* Takes "." and ".." out of an absolute path, in place. Symbolic links are left alone: the compiler is told the same.
 */
static void normalize(char *path)
{
	char *to = path, *from = path;

	while (*from) {
		while (*from == '/')
			from++;
		size_t length = strcspn(from, "/");
		if (length == 2 && from[0] == '.' && from[1] == '.') {
			while (to > path && *--to != '/')
				;
		} else if (length && !(length == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, length);
			to += length;
		}
		from += length;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

char *hp_path_resolve(const char *folder, const char *path)
{
	char *whole = NULL, *base = NULL;

	if (*path == '/') {
		whole = strdup(path);
	} else {
		base = folder ? hp_path_resolve(NULL, folder) : getcwd(NULL, 0);
		if (!base || asprintf(&whole, "%s/%s", base, path) < 0)
			whole = NULL;
		free(base);
	}
	/* An absolute one may shrink to "/": there is room for that in any path. */
	if (whole)
		normalize(whole);
	return whole;
}

/* -- Words ----------------------------------------------------------------------------------------------------- */

struct words {
	char **items;
	size_t count;
};

static bool add_word(struct words *words, char *word)
{
	char **items = word ? hp_array_grow(words->items, words->count, sizeof(*items)) : NULL;

	if (!items) {
		free(word);
		return false;
	}
	words->items = items;
	items[words->count++] = word;
	return true;
}

static void free_words(struct words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
	*words = (struct words){0};
}

/* One word of text from *at on, without its quotes, into word. POSIX 2.2: in double quotes a backslash stands before
 * $ ` " \ and newline only. False where a quote does not end. */
static bool take_word(const char **at, char *word)
{
	const char *from = *at;
	char quote = 0;

	for (; *from && (quote || !strchr(" \t\n", *from)); from++) {
		bool escapes = *from == '\\' && quote != '\'' && from[1] && (!quote || strchr("$`\"\\\n", from[1]));
		if (escapes)
			*word++ = *++from;
		else if (quote ? *from == quote : *from == '\'' || *from == '"')
			quote = (char)(quote ? 0 : *from);
		else
			*word++ = *from;
	}
	*word = '\0';
	*at = from;
	return !quote;
}

/* 0, HOTPATCH_ENOMEM, or HOTPATCH_EBUILD for a quote that does not end. */
static int split_command(const char *text, struct words *words)
{
	for (;;) {
		text += strspn(text, " \t\n");
		if (!*text)
			return 0;
		char *word = malloc(strlen(text) + 1);
		if (!word)
			return HOTPATCH_ENOMEM;
		if (!take_word(&text, word)) {
			free(word);
			return HOTPATCH_EBUILD;
		}
		if (!add_word(words, word))
			return HOTPATCH_ENOMEM;
	}
}

static bool is_plain(const char *word)
{
	return *word &&
	       word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%^")] == 0;
}

static void put_quoted(FILE *to, const char *word)
{
	if (is_plain(word)) {
		fputs(word, to);
		return;
	}
	putc('\'', to);
	for (; *word; word++)
		fputs(*word == '\'' ? "'\\''" : (char[]){*word, 0}, to);
	putc('\'', to);
}

char *hp_words_join(char *const *words)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	for (size_t i = 0; words[i]; i++) {
		if (i)
			putc(' ', to);
		put_quoted(to, words[i]);
	}
	if (fclose(to) == 0)
		return text;
	free(text);
	return NULL;
}

/* What runs the compiler for somebody: it would give us a result of before, or run it on another machine. */
static bool is_launcher(const char *word)
{
	static const char *const names[] = {"ccache", "distcc", "sccache", "icecc", "buildcache"};
	const char *slash = strrchr(word, '/'), *name = slash ? slash + 1 : word;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void drop_launchers(struct words *words)
{
	size_t n = 0;

	while (n + 1 < words->count && is_launcher(words->items[n]))
		free(words->items[n++]);
	if (n)
		memmove(words->items, words->items + n, (words->count - n) * sizeof(*words->items));
	words->count -= n;
}

/* -- Entries --------------------------------------------------------------------------------------------------- */

static int bad_entry(const char *path, size_t index, const char *why, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_EBUILD, "entry %zu of '%s' %s", index, path, why);
}

static int read_words(const json_t *entry, const char *path, size_t index, struct words *words, struct hp_err *err)
{
	const json_t *arguments = json_object_get(entry, "arguments");
	const char *command = json_string_value(json_object_get(entry, "command"));
	int r = 0;

	if (!json_is_array(arguments) && !command)
		return bad_entry(path, index, "has neither 'command' nor 'arguments'", err);
	if (!json_is_array(arguments))
		r = split_command(command, words);
	for (size_t i = 0; i < json_array_size(arguments) && r == 0; i++) {
		const char *word = json_string_value(json_array_get(arguments, i));
		if (!word)
			return bad_entry(path, index, "has an argument that is no string", err);
		r = add_word(words, strdup(word)) ? 0 : HOTPATCH_ENOMEM;
	}
	drop_launchers(words);
	if (r == HOTPATCH_EBUILD)
		return bad_entry(path, index, "has a command with a quote that does not end", err);
	if (r < 0 || !add_word(words, strdup("")))
		return no_memory(path, err);
	free(words->items[--words->count]);
	words->items[words->count] = NULL;
	return words->count ? 0 : bad_entry(path, index, "has an empty command", err);
}

static int fill_entry(const json_t *entry, const char *path, size_t index, struct hp_compile *compile,
                      struct hp_err *err)
{
	const char *file = json_string_value(json_object_get(entry, "file"));
	const char *folder = json_string_value(json_object_get(entry, "directory"));
	char *slash = strrchr(path, '/');
	struct words words = {0};

	if (!file || !folder || !*file)
		return bad_entry(path, index, "does not say which file is compiled in which directory", err);
	int r = read_words(entry, path, index, &words, err);
	if (r < 0) {
		free_words(&words);
		return r;
	}
	compile->words = words.items;
	compile->n_words = words.count;
	/* A relative directory is one beside the database. */
	char *base = slash ? strndup(path, (size_t)(slash - path) + 1) : NULL;
	compile->folder = hp_path_resolve(base, folder);
	free(base);
	compile->path = compile->folder ? hp_path_resolve(compile->folder, file) : NULL;
	compile->source = strdup(file);
	return compile->folder && compile->path && compile->source ? 0 : no_memory(path, err);
}

static void free_compile(struct hp_compile *compile)
{
	for (size_t i = 0; i < compile->n_words; i++)
		free(compile->words[i]);
	free(compile->words);
	free(compile->folder);
	free(compile->path);
	free(compile->source);
}

/* The word of the command that is the source: spelt as in "file", or otherwise the same path. */
static bool find_source(struct hp_compile *compile)
{
	for (size_t i = 1; i < compile->n_words; i++) {
		if (compile->words[i][0] == '-')
			continue;
		char *path = hp_path_resolve(compile->folder, compile->words[i]);
		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): fill_entry fails without a path */
		bool same = path && strcmp(path, compile->path) == 0;
		free(path);
		char *source = same ? strdup(compile->words[i]) : NULL;
		if (!source)
			continue;
		free(compile->source);
		compile->source = source;
		return true;
	}
	return false;
}

static int add_entry(struct hp_compdb *db, const json_t *entry, size_t index, struct hp_err *err)
{
	struct hp_compile compile = {0};
	int r = fill_entry(entry, db->path, index, &compile, err);

	if (r == 0 && !find_source(&compile))
		r = bad_entry(db->path, index, "has a command that does not name its file", err);
	struct hp_compile *items = r == 0 ? hp_array_grow(db->items, db->count, sizeof(*items)) : NULL;
	if (items) {
		db->items = items;
		items[db->count++] = compile;
		return 0;
	}
	free_compile(&compile);
	return r < 0 ? r : no_memory(db->path, err);
}

/* -- The database ---------------------------------------------------------------------------------------------- */

static int read_entries(struct hp_compdb *db, const json_t *root, struct hp_err *err)
{
	int r = 0;

	if (!json_is_array(root))
		return hp_err_set(err, HOTPATCH_EBUILD, "'%s' is not a compilation database: it is no array", db->path);
	for (size_t i = 0; i < json_array_size(root) && r == 0; i++)
		r = add_entry(db, json_array_get(root, i), i, err);
	return r;
}

static int make_db(const char *path, json_t *root, const json_error_t *error, struct hp_compdb **ret_db,
                   struct hp_err *err)
{
	struct hp_compdb *db = calloc(1, sizeof(*db));
	int r = HOTPATCH_ENOMEM;

	if (!db || !(db->path = hp_path_resolve(NULL, path)))
		no_memory(path, err);
	else if (!root)
		r = hp_err_set(err, HOTPATCH_EBUILD, "'%s' is not JSON: line %d: %s", path, error->line, error->text);
	else
		r = read_entries(db, root, err);
	json_decref(root);
	if (r < 0)
		hp_compdb_free(db);
	else
		*ret_db = db;
	return r;
}

int hp_compdb_parse(const char *text, size_t size, const char *path, struct hp_compdb **ret_db, struct hp_err *err)
{
	json_error_t error;
	json_t *root = json_loadb(text, size, 0, &error);
	return make_db(path, root, &error, ret_db, err);
}

int hp_compdb_read(const char *path, struct hp_compdb **ret_db, struct hp_err *err)
{
	json_error_t error;

	if (access(path, R_OK) < 0)
		return hp_err_system(
			err, HOTPATCH_ENOFILE, errno,
			"cannot read '%s', which tells how each file is compiled (meson and CMake write it, "
			"for make there is bear)",
			path);
	json_t *root = json_load_file(path, 0, &error);
	return make_db(path, root, &error, ret_db, err);
}

void hp_compdb_free(struct hp_compdb *db)
{
	if (!db)
		return;
	for (size_t i = 0; i < db->count; i++)
		free_compile(&db->items[i]);
	free(db->items);
	free(db->path);
	free(db);
}

const struct hp_compile *hp_compdb_find(const struct hp_compdb *db, const char *path)
{
	for (size_t i = db->count; i-- > 0;)
		if (strcmp(db->items[i].path, path) == 0)
			return &db->items[i];
	return NULL;
}
