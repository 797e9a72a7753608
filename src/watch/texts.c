#include "watch/texts.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "types/array.h"
#include "watch/mix.h"

enum { DEPTH_MAX = 64, TEXT_MAX = 16 << 20 };

static int no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the sources of the program");
}

/* -- Hashes ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_bytes(const char *bytes, size_t size)
{
	uint64_t hash = hp_mix_bytes(HP_MIX_BEGIN, bytes, size);
	return hash ? hash : 1;
}

uint64_t hp_text_hash(const char *path)
{
	struct hp_err ignored;
	char *bytes = NULL;
	size_t size;

	if (hp_file_read(path, &bytes, &size, &ignored) < 0)
		return 0;
	uint64_t hash = hash_bytes(bytes, size);
	free(bytes);
	return hash;
}

/* -- What looks like a source ---------------------------------------------------------------------------------- */

bool hp_text_is_source(const char *path)
{
	static const char *const ends[] = {"c",  "h",  "i",  "inc", "inl", "def", "tbl", "x",
	                                   "xh", "xc", "cc", "hh",  "hpp", "xpm", "in"};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(ends) / sizeof(ends[0]); i++)
		if (strcmp(dot + 1, ends[i]) == 0)
			return true;
	return false;
}

/* -- Copying --------------------------------------------------------------------------------------------------- */

static int take_file(struct hp_texts *texts, const char *path, const struct stat *status, struct hp_err *err)
{
	struct hp_text *items = hp_array_grow(texts->items, texts->count, sizeof(*items));
	struct hp_err ignored;
	char *bytes = NULL;
	size_t size;

	if (!items)
		return no_memory(err);
	texts->items = items;
	if (hp_file_read(path, &bytes, &size, &ignored) < 0)
		return 0; /* gone, or not for us: no compiler reads it either */
	struct hp_text text = {strdup(path), hash_bytes(bytes, size), status->st_mtim};
	int r = text.path ? hp_view_write(texts->view, path, bytes, size, err) : no_memory(err);
	free(bytes);
	if (r == 0)
		items[texts->count++] = text;
	else
		free(text.path);
	return r;
}

static int take_folder(struct hp_texts *texts, const char *folder, int depth, struct hp_err *err);

static int take_entry(struct hp_texts *texts, const char *folder, const char *name, int depth, struct hp_err *err)
{
	struct stat status;
	char *path = NULL;
	int r = 0;

	if (asprintf(&path, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0)
		return no_memory(err);
	if (lstat(path, &status) < 0 || strcmp(path, texts->workspace.path) == 0)
		r = 0;
	else if (S_ISDIR(status.st_mode) && strcmp(name, ".git") != 0)
		r = take_folder(texts, path, depth + 1, err);
	else if (hp_text_is_source(name) && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
	         status.st_size < TEXT_MAX)
		r = take_file(texts, path, &status, err);
	free(path);
	return r;
}

static int take_folder(struct hp_texts *texts, const char *folder, int depth, struct hp_err *err)
{
	const struct dirent *entry;
	DIR *dir = depth < DEPTH_MAX ? opendir(folder) : NULL;
	int r = 0;

	while (dir && r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = take_entry(texts, folder, entry->d_name, depth, err);
	if (dir)
		closedir(dir);
	return r;
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(((const struct hp_text *)a)->path, ((const struct hp_text *)b)->path);
}

static int keep_roots(struct hp_texts *texts, char *const *roots, size_t n_roots, struct hp_err *err)
{
	texts->roots = calloc(n_roots + 1, sizeof(*texts->roots));
	for (size_t i = 0; texts->roots && i < n_roots; i++) {
		/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the texts have their roots */
		if (!(texts->roots[i] = strdup(roots[i])))
			return no_memory(err);
		texts->n_roots++;
	}
	return texts->roots ? 0 : no_memory(err); /* NOLINT(-Wanalyzer-malloc-leak): the texts have their roots */
}

int hp_texts_take(struct hp_texts *texts, char *const *roots, size_t n_roots, struct hp_err *err)
{
	*texts = (struct hp_texts){0};
	int r = keep_roots(texts, roots, n_roots, err);

	if (r == 0)
		r = hp_workspace_make(&texts->workspace, err);
	if (r == 0)
		r = hp_view_make(&texts->workspace, "base", (const char *const *)texts->roots, n_roots, &texts->view,
		                 err);
	for (size_t i = 0; i < n_roots && r == 0; i++)
		r = take_folder(texts, roots[i], 0, err);
	if (texts->count)
		qsort(texts->items, texts->count, sizeof(*texts->items), compare_texts);
	if (r < 0)
		hp_texts_free(texts);
	return r;
}

void hp_texts_free(struct hp_texts *texts)
{
	hp_workspace_remove(&texts->workspace);
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i].path);
	for (size_t i = 0; i < texts->n_roots; i++)
		free(texts->roots[i]);
	free(texts->items);
	free(texts->roots);
	free(texts->view);
	*texts = (struct hp_texts){0};
}

const struct hp_text *hp_texts_find(const struct hp_texts *texts, const char *path)
{
	struct hp_text key = {.path = (char *)path};

	return texts->count ? bsearch(&key, texts->items, texts->count, sizeof(key), compare_texts) : NULL;
}

bool hp_texts_has_root(const struct hp_texts *texts, const char *path)
{
	for (size_t i = 0; i < texts->n_roots; i++) {
		size_t length = strlen(texts->roots[i]);
		if (strncmp(path, texts->roots[i], length) == 0 && (path[length] == '/' || !path[length]))
			return true;
	}
	return false;
}
