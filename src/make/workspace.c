#include "make/workspace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 128 };

static int cannot_write(const char *path, struct hp_err *err)
{
	return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot write '%s'", path);
}

/* -- The folder ------------------------------------------------------------------------------------------------ */

int hp_workspace_make(struct hp_workspace *workspace, struct hp_err *err)
{
	const char *where = getenv("TMPDIR");
	char *path = NULL;

	if (asprintf(&path, "%s/hotpatch-XXXXXX", where && *where == '/' ? where : "/tmp") < 0)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a temporary folder");
	if (!mkdtemp(path)) {
		int r = hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot make a temporary folder '%s'", path);
		free(path);
		return r;
	}
	workspace->path = path;
	return 0;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
	(void)status;
	(void)type;
	(void)where;
	remove(path);
	return 0;
}

void hp_workspace_remove(struct hp_workspace *workspace)
{
	if (workspace->path)
		nftw(workspace->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(workspace->path);
	workspace->path = NULL;
}

char *hp_workspace_path(const struct hp_workspace *workspace, const char *name)
{
	char *path;
	return asprintf(&path, "%s/%s", workspace->path, name) < 0 ? NULL : path;
}

/* -- Views ----------------------------------------------------------------------------------------------------- */

struct view {
	const char *path;
	const char *workspace; /* not to be looked into */
	const char *const *roots;
	size_t n_roots;
	struct hp_err *err;
};

/* Whether path is inner, or a folder above it. */
static bool is_above(const char *path, const char *inner)
{
	size_t length = strlen(path);
	return strcmp(path, "/") == 0 ||
	       (strncmp(path, inner, length) == 0 && (!inner[length] || inner[length] == '/'));
}

static bool is_in_root(const struct view *view, const char *path)
{
	for (size_t i = 0; i < view->n_roots; i++)
		if (is_above(view->roots[i], path))
			return true;
	return false;
}

static bool leads_to_root(const struct view *view, const char *path)
{
	for (size_t i = 0; i < view->n_roots; i++)
		if (is_above(path, view->roots[i]))
			return true;
	return false;
}

static bool leads_to_folder(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

/* A folder of one's own, where files of it may be replaced; a link otherwise. Links by which a root is named become
 * folders. Those below a root stay links until something is written behind them (own_folders): what they lead to is not
 * the project's, or is in the view where it really lies. */
static bool is_own_folder(const struct view *view, const char *path, const struct stat *status, const char *name)
{
	if (strcmp(path, view->workspace) == 0 || strcmp(name, ".git") == 0)
		return false;
	if (S_ISLNK(status->st_mode))
		return leads_to_root(view, path) && leads_to_folder(path);
	return S_ISDIR(status->st_mode) && (is_in_root(view, path) || leads_to_root(view, path));
}

static int fill_folder(const struct view *view, const char *folder, int depth);

static int fill_entry(const struct view *view, const char *folder, const char *name, int depth)
{
	char path[PATH_MAX], copy[2 * PATH_MAX];
	struct stat status;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) >= sizeof(path))
		return 0; /* no compiler can name it either */
	snprintf(copy, sizeof(copy), "%s%s", view->path, path);
	if (lstat(path, &status) < 0)
		return 0; /* gone meanwhile */
	if (is_own_folder(view, path, &status, name))
		return fill_folder(view, path, depth + 1);
	if (symlink(path, copy) < 0 && errno != EEXIST)
		return cannot_write(copy, view->err);
	return 0;
}

static int fill_folder(const struct view *view, const char *folder, int depth)
{
	char copy[2 * PATH_MAX];
	const struct dirent *entry;
	int r = 0;

	snprintf(copy, sizeof(copy), "%s%s", view->path, strcmp(folder, "/") == 0 ? "" : folder);
	if (mkdir(copy, 0700) < 0 && errno != EEXIST)
		return cannot_write(copy, view->err);
	DIR *dir = depth < DEPTH_MAX ? opendir(folder) : NULL;
	if (!dir)
		return hp_err_system(view->err, HOTPATCH_ENOFILE, depth < DEPTH_MAX ? errno : ELOOP, "cannot read '%s'",
		                     folder);
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = fill_entry(view, folder, entry->d_name, depth);
	closedir(dir);
	return r;
}

int hp_view_make(const struct hp_workspace *workspace, const char *name, const char *const *roots, size_t n_roots,
                 char **ret_view, struct hp_err *err)
{
	char *path = hp_workspace_path(workspace, name);
	struct view view = {path, workspace->path, roots, n_roots, err};

	if (!path)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a temporary folder");
	int r = fill_folder(&view, "/", 0);
	if (r < 0)
		free(path);
	else
		*ret_view = path;
	return r;
}

/* -- Files in views -------------------------------------------------------------------------------------------- */

/* A link in the view leads to the real tree, which is never written to: it becomes a folder of links to what is there.
 */
static int own_link(const char *view_path, const char *place, struct hp_err *err)
{
	const struct view view = {.path = view_path, .workspace = "", .err = err};

	return unlink(place) < 0 ? cannot_write(place, err) : fill_folder(&view, place + strlen(view_path), 0);
}

/* The folders above place are the view's own, and are there. */
static int own_folders(const char *view, char *place, struct hp_err *err)
{
	int r = 0;

	for (char *slash = strchr(place + strlen(view) + 1, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
		struct stat status;
		*slash = '\0';
		if (lstat(place, &status) == 0 && S_ISLNK(status.st_mode))
			r = own_link(view, place, err);
		else if (mkdir(place, 0700) < 0 && errno != EEXIST)
			r = cannot_write(place, err);
		*slash = '/';
	}
	return r;
}

static int write_new(const char *path, const void *bytes, size_t size, struct hp_err *err)
{
	FILE *file;
	bool ok;

	if (unlink(path) < 0 && errno != ENOENT)
		return cannot_write(path, err);
	if (!(file = fopen(path, "wbxe")))
		return cannot_write(path, err);
	ok = fwrite(bytes, 1, size, file) == size;
	return (fclose(file) == 0 && ok) ? 0 : cannot_write(path, err);
}

static int place_in(const char *view, const char *path, char **ret, struct hp_err *err)
{
	char *place = NULL;

	if (asprintf(&place, "%s%s", view, path) < 0)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a path");
	*ret = place;
	return 0;
}

int hp_view_write(const char *view, const char *path, const void *bytes, size_t size, struct hp_err *err)
{
	char *place = NULL;
	int r = place_in(view, path, &place, err);

	if (r < 0)
		return r;
	r = own_folders(view, place, err);
	if (r == 0)
		r = write_new(place, bytes, size, err);
	free(place);
	return r;
}

int hp_view_own(const char *view, const char *path, struct hp_err *err)
{
	char *bytes = NULL, *place = NULL;
	size_t size;
	int r = place_in(view, path, &place, err);

	if (r < 0)
		return r;
	if (access(place, F_OK) == 0) {
		r = hp_file_read(place, &bytes, &size, err);
		if (r == 0)
			r = hp_view_write(view, path, bytes, size, err);
	}
	free(bytes);
	free(place);
	return r;
}

int hp_view_remove(const char *view, const char *path, struct hp_err *err)
{
	char *place = NULL;
	int r = place_in(view, path, &place, err);

	if (r < 0)
		return r;
	r = own_folders(view, place, err);
	if (r == 0 && unlink(place) < 0 && errno != ENOENT)
		r = cannot_write(place, err);
	free(place);
	return r;
}

int hp_file_read(const char *path, char **ret_bytes, size_t *ret_size, struct hp_err *err)
{
	struct stat status;
	FILE *file = fopen(path, "rbe");
	char *bytes = NULL;

	if (!file || fstat(fileno(file), &status) < 0 || !S_ISREG(status.st_mode)) {
		int r = hp_err_system(err, HOTPATCH_ENOFILE, file ? EISDIR : errno, "cannot read '%s'", path);
		if (file)
			fclose(file);
		return r;
	}
	size_t size = (size_t)status.st_size;
	if ((bytes = malloc(size + 1)))
		size = fread(bytes, 1, size, file);
	fclose(file);
	if (!bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", path);
	bytes[size] = '\0';
	*ret_bytes = bytes;
	*ret_size = size;
	return 0;
}
