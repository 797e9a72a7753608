#include "cli/named.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "make/compdb.h"
#include "types/array.h"

/* The name in a line "--- a/src/x.c<tab>time" without its first parts; NULL for /dev/null and what has fewer. */
static char *name_in(const char *line, int strip)
{
	size_t length = strcspn(line, "\t\r\n");
	char *name = strndup(line, length), *at = name;

	if (!name || strcmp(name, "/dev/null") == 0)
		goto none;
	for (; strip > 0; strip--) {
		at = strchr(at, '/');
		if (!at)
			goto none;
		at += strspn(at, "/");
	}
	memmove(name, at, strlen(at) + 1);
	if (*name)
		return name;
none:
	free(name);
	return NULL;
}

static bool is_below(const char *path, const char *root)
{
	size_t length = strlen(root);

	if (strcmp(root, "/") == 0)
		return true;
	return strncmp(path, root, length) == 0 && path[length] == '/';
}

static bool has_path(const struct hp_named *named, const char *path)
{
	for (size_t i = 0; i < named->n; i++)
		if (strcmp(named->v[i], path) == 0)
			return true;
	return false;
}

/* Takes path. */
static int add_path(struct hp_named *named, char *path, struct hp_err *err)
{
	char **v = hp_array_grow(named->v, named->n, sizeof(*v));

	if (!v) {
		free(path);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read a diff");
	}
	named->v = v;
	v[named->n++] = path;
	return 0;
}

static int add_named(struct hp_named *named, const char *line, const char *root, int strip, struct hp_err *err)
{
	char *name = name_in(line, strip), *path = name ? hp_path_resolve(root, name) : NULL;
	int r = 0;

	if (path && !is_below(path, root))
		r = hp_err_set(err, HOTPATCH_EBUILD, "the diff names '%s', which is not below '%s'", name, root);
	free(name);
	if (r == 0 && path && !has_path(named, path))
		return add_path(named, path, err);
	free(path);
	return r;
}

int hp_named_read(const char *text, const char *root, int strip, struct hp_named *ret_named, struct hp_err *err)
{
	int r = 0;

	*ret_named = (struct hp_named){0};
	for (const char *line = text; line && *line && r == 0;) {
		const char *next = strchr(line, '\n');
		bool is_pair = strncmp(line, "--- ", 4) == 0 && next && strncmp(next + 1, "+++ ", 4) == 0;
		if (is_pair)
			r = add_named(ret_named, line + 4, root, strip, err);
		if (is_pair && r == 0)
			r = add_named(ret_named, next + 5, root, strip, err);
		line = next ? next + 1 : NULL;
	}
	return r;
}

void hp_named_free(struct hp_named *named)
{
	for (size_t i = 0; i < named->n; i++)
		free(named->v[i]);
	free(named->v);
	*named = (struct hp_named){0};
}
