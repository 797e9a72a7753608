/* roots - the folders that hold all the sources of a program: where git has its top, or what they have in common. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "types/array.h"
#include "watch/units.h"

struct roots {
	char **v;
	size_t n;
	struct hp_err *err;
};

static int no_memory(const struct roots *roots)
{
	return hp_err_set(roots->err, HOTPATCH_ENOMEM, "no memory for the folders of the program");
}

void hp_units_free_roots(char **roots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(roots[i]);
	free(roots);
}

static bool is_above(const char *folder, const char *path)
{
	size_t length = strlen(folder);

	return strcmp(folder, "/") == 0 ||
	       (strncmp(folder, path, length) == 0 && (path[length] == '/' || !path[length]));
}

static void go_up(char *path)
{
	char *slash = strrchr(path, '/');
	*(slash == path ? slash + 1 : slash) = '\0';
}

/* The top of the git repository that folder is in becomes folder. */
static void find_top(char *folder)
{
	char *at = strdup(folder), *mark = NULL;

	while (at && at[1]) {
		bool found = asprintf(&mark, "%s/.git", at) >= 0 && access(mark, F_OK) == 0;
		free(mark);
		mark = NULL;
		if (found) {
			memcpy(folder, at, strlen(at) + 1);
			break;
		}
		go_up(at);
	}
	free(at);
}

/* Takes folder. */
static int append_new(struct roots *roots, char *folder)
{
	for (size_t i = 0; folder && i < roots->n; i++)
		if (strcmp(roots->v[i], folder) == 0) {
			free(folder);
			return 0;
		}
	char **v = folder ? realloc(roots->v, (roots->n + 1) * sizeof(*v)) : NULL;
	if (!v) {
		free(folder);
		return no_memory(roots);
	}
	roots->v = v;
	v[roots->n++] = folder;
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the roots have it */
}

/* Takes folder. */
static int add(struct roots *roots, char *folder)
{
	if (!folder)
		return no_memory(roots);
	for (size_t i = 0; i < roots->n; i++)
		if (is_above(roots->v[i], folder)) {
			free(folder);
			return 0;
		}
	find_top(folder);
	/* Those below the new one go. */
	for (size_t i = roots->n; i-- > 0;)
		if (is_above(folder, roots->v[i])) {
			free(roots->v[i]);
			roots->v[i] = roots->v[--roots->n];
		}
	return append_new(roots, folder);
}

static char *folder_of(const char *path)
{
	char *folder = strdup(path);

	if (folder)
		go_up(folder);
	return folder;
}

static bool leads_to_folder(const char *path)
{
	struct stat status;
	return lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && stat(path, &status) == 0 &&
	       S_ISDIR(status.st_mode);
}

/* Texts are copied without following links, so that a link below a root by which path is named is a root, too. Takes
 * path. */
static int add_links(struct roots *roots, char *path)
{
	if (!path)
		return no_memory(roots);
	for (size_t i = 0; i < roots->n; i++) {
		if (!is_above(roots->v[i], path) || strcmp(roots->v[i], "/") == 0)
			continue;
		bool is_link = false;
		for (size_t at = strlen(roots->v[i]); path[at] && !is_link;) {
			char next;
			at += 1 + strcspn(path + at + 1, "/");
			next = path[at];
			path[at] = '\0';
			is_link = leads_to_folder(path);
			char *link = is_link ? strdup(path) : NULL;
			path[at] = next;
			if (is_link && append_new(roots, link) < 0) {
				free(path);
				return no_memory(roots);
			}
		}
	}
	free(path);
	return 0;
}

typedef int each_folder(struct roots *roots, char *folder);

/* Folders of headers, those of the system left out. */
static int each_included(struct roots *roots, const struct hp_compile *compile, each_folder *each)
{
	static const char *const options[] = {"-I", "-iquote", "-isystem", "-idirafter"};
	int r = 0;

	for (size_t i = 1; i < compile->n_words && r == 0; i++)
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]) && r == 0; k++) {
			size_t length = strlen(options[k]);
			if (strncmp(compile->words[i], options[k], length) != 0)
				continue;
			const char *name = compile->words[i] + length;
			if (!*name && i + 1 < compile->n_words)
				name = compile->words[++i];
			char *folder = *name ? hp_path_resolve(compile->folder, name) : NULL;
			if (folder && access(folder, X_OK) == 0 && strncmp(folder, "/usr/", 5) != 0)
				r = each(roots, folder);
			else
				free(folder);
			break;
		}
	return r;
}

/* Where all stand beside each other in one folder, or in it, it is the root: "../include" is in it. Not /tmp, not a
 * home. */
static int join(struct roots *roots)
{
	const char *home = getenv("HOME");
	char *common = strdup(roots->v[0]);
	size_t depth = 0;

	if (!common)
		return no_memory(roots);
	go_up(common);
	for (size_t i = 0; i < roots->n; i++) {
		const char *slash = strrchr(roots->v[i], '/');
		size_t length = (size_t)(slash - roots->v[i]);
		if (strlen(common) != length || strncmp(common, roots->v[i], length) != 0)
			goto out;
	}
	for (const char *at = common; *at; at++)
		depth += *at == '/';
	if (depth < 2 || roots->n < 2 || (home && strcmp(common, home) == 0))
		goto out;
	return add(roots, common);
out:
	free(common);
	return 0;
}

static int each_of_units(struct roots *roots, const struct hp_units *units, each_folder *each)
{
	int r = each(roots, folder_of(units->database));

	for (size_t i = 0; i < units->n && r == 0; i++) {
		const struct hp_compile *compile = units->v[i]->compile;
		r = each(roots, strdup(compile->folder));
		if (r == 0)
			r = each(roots, folder_of(compile->path));
		if (r == 0)
			r = each_included(roots, compile, each);
	}
	return r;
}

int hp_units_roots(const struct hp_units *units, char ***ret_roots, size_t *ret_n, struct hp_err *err)
{
	struct roots roots = {.err = err};
	int r = each_of_units(&roots, units, add);

	if (r == 0)
		r = join(&roots);
	if (r == 0)
		r = each_of_units(&roots, units, add_links);
	if (r < 0) {
		hp_units_free_roots(roots.v, roots.n);
		return r;
	}
	*ret_roots = roots.v;
	*ret_n = roots.n;
	return 0;
}
