#include "cli/change.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/named.h"
#include "make/command.h"
#include "types/array.h"
#include "watch/includes.h"

static int no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to see what changed");
}

/* Takes path. */
static int add_file(struct hp_change *change, char *path, struct hp_err *err)
{
	char **files = path ? hp_array_grow(change->files, change->n_files, sizeof(*files)) : NULL;

	if (!files) {
		free(path);
		return no_memory(err);
	}
	change->files = files;
	files[change->n_files++] = path;
	return 0;
}

static bool has_file(const struct hp_change *change, const char *path)
{
	for (size_t i = 0; i < change->n_files; i++)
		if (strcmp(change->files[i], path) == 0)
			return true;
	return false;
}

int hp_change_begin(struct hp_change *change, const char *root, const char *build, struct hp_err *err)
{
	*change = (struct hp_change){.root = hp_path_resolve(NULL, root)};
	char *folder = hp_path_resolve(NULL, build);
	/* As they are named, and where they lie: a database has the one or the other. */
	char *real_root = change->root ? realpath(change->root, NULL) : NULL;
	char *real_folder = folder ? realpath(folder, NULL) : NULL;
	const char *roots[4] = {change->root, folder};
	size_t n = 2;
	if (real_root)
		roots[n++] = real_root;
	if (real_folder)
		roots[n++] = real_folder;
	int r = change->root && folder ? hp_workspace_make(&change->workspace, err) : no_memory(err);

	if (r == 0)
		r = hp_view_make(&change->workspace, "old", roots, n, &change->old_view, err);
	if (r == 0)
		r = hp_view_make(&change->workspace, "new", roots, n, &change->new_view, err);
	free(real_root);
	free(real_folder);
	free(folder);
	return r;
}

void hp_change_end(struct hp_change *change)
{
	hp_workspace_remove(&change->workspace);
	for (size_t i = 0; i < change->n_files; i++)
		free(change->files[i]);
	free(change->files);
	free(change->root);
	free(change->old_view);
	free(change->new_view);
}

/* -- A diff ---------------------------------------------------------------------------------------------------- */

/* Takes what is in named. */
static int add_files(struct hp_change *change, struct hp_named *named, struct hp_err *err)
{
	int r = 0;

	for (size_t i = 0; i < named->n && r == 0; i++) {
		if (has_file(change, named->v[i]))
			continue;
		r = add_file(change, named->v[i], err);
		named->v[i] = NULL;
	}
	return r;
}

static int read_names(struct hp_change *change, const char *text, int strip, struct hp_err *err)
{
	struct hp_named named;
	int r = hp_named_read(text, change->root, strip, &named, err);

	if (r == 0)
		r = add_files(change, &named, err);
	hp_named_free(&named);
	return r;
}

/* patch(1) in a view. With output, what it says is caught instead of shown. */
static int run_patch(const struct hp_change *change, const char *view, const char *diff, int strip, bool reverse,
                     bool is_trial, int *ret_status, struct hp_err *err)
{
	char number[32], *folder = NULL, *said = NULL;
	char *words[] = {"patch", "-f", "-s", "--no-backup-if-mismatch", "-r", "-", number, "-i", (char *)diff,
	                 NULL,    NULL, NULL};
	size_t n = 9;
	int r = 0;

	snprintf(number, sizeof(number), "-p%d", strip);
	if (reverse)
		words[n++] = "-R";
	if (is_trial)
		words[n++] = "--dry-run";
	if (asprintf(&folder, "%s%s", view, change->root) < 0)
		return no_memory(err);
	r = hp_program_run(words, folder, is_trial ? &said : NULL, ret_status, err);
	free(said);
	free(folder);
	return r;
}

/* patch(1) refuses to write through links, and is right. */
static int own_files(const struct hp_change *change, const char *view, struct hp_err *err)
{
	int r = 0;

	for (size_t i = 0; i < change->n_files && r == 0; i++)
		r = hp_view_own(view, change->files[i], err);
	return r;
}

static int apply_diff(struct hp_change *change, const char *diff, int strip, struct hp_err *err)
{
	int status, r = own_files(change, change->old_view, err);

	if (r == 0)
		r = own_files(change, change->new_view, err);
	if (r == 0)
		r = run_patch(change, change->new_view, diff, strip, false, true, &status, err);
	if (r)
		return r;
	if (status != 0) {
		r = run_patch(change, change->old_view, diff, strip, true, true, &status, err);
		change->is_applied = r == 0 && status == 0;
	}
	const char *view = change->is_applied ? change->old_view : change->new_view;
	if (r == 0)
		r = run_patch(change, view, diff, strip, change->is_applied, false, &status, err);
	if (r == 0 && status != 0)
		r = hp_err_set(
			err, HOTPATCH_EBUILD,
			"'%s' does not apply below '%s' (with -p%d): make it from the sources of the program that "
			"runs, or say -p and --root",
			diff, change->root, strip);
	return r;
}

int hp_change_diff(struct hp_change *change, const char *diff, int strip, struct hp_err *err)
{
	char *text = NULL, *path = hp_path_resolve(NULL, diff);
	size_t size;
	int r = path ? hp_file_read(path, &text, &size, err) : no_memory(err);

	if (r == 0)
		r = read_names(change, text, strip, err);
	if (r == 0 && !change->n_files)
		r = hp_err_set(err, HOTPATCH_EBUILD,
		               "'%s' is not a diff: it names no file (unified diffs are read, diff -u)", diff);
	if (r == 0)
		r = apply_diff(change, path, strip, err);
	free(text);
	free(path);
	return r;
}

/* -- A revision ------------------------------------------------------------------------------------------------ */

static int read_git(const char *folder, const char *const *arguments, char **ret_bytes, size_t *ret_size,
                    int *ret_status, struct hp_err *err)
{
	char *words[12] = {"git", "-C", (char *)folder, "-c", "core.quotePath=off"};
	size_t n = 5;

	for (; *arguments && n < 11; arguments++)
		words[n++] = (char *)*arguments;
	return hp_program_read(words, ret_bytes, ret_size, ret_status, err);
}

static int run_git(const char *folder, const char *const *arguments, char **ret_output, int *ret_status,
                   struct hp_err *err)
{
	size_t size;
	return read_git(folder, arguments, ret_output, &size, ret_status, err);
}

/* The old view has the file as it was, or not at all. */
static int take_revision(struct hp_change *change, const char *top, const char *revision, const char *name,
                         struct hp_err *err)
{
	char *object = NULL, *text = NULL, *path = hp_path_resolve(top, name);
	size_t size = 0;
	int status = 0, r = no_memory(err);

	if (path && asprintf(&object, "%s:%s", revision, name) >= 0) {
		const char *test[] = {"cat-file", "-e", object, NULL};
		char *nothing = NULL;
		r = run_git(top, test, &nothing, &status, err);
		free(nothing);
		if (r == 0 && status == 0) {
			const char *arguments[] = {"cat-file", "blob", object, NULL};
			r = read_git(top, arguments, &text, &size, &status, err);
		}
	}
	if (r == 0)
		r = text ? hp_view_write(change->old_view, path, text, size, err)
		         : hp_view_remove(change->old_view, path, err);
	free(text);
	free(object);
	if (r == 0)
		return add_file(change, path, err);
	free(path);
	return r;
}

static int take_names(struct hp_change *change, const char *top, const char *revision, char *names, struct hp_err *err)
{
	char *rest = NULL;
	int r = 0;

	for (char *name = strtok_r(names, "\n", &rest); name && r == 0; name = strtok_r(NULL, "\n", &rest))
		r = take_revision(change, top, revision, name, err);
	return r;
}

int hp_change_revision(struct hp_change *change, const char *revision, struct hp_err *err)
{
	const char *where[] = {"rev-parse", "--show-toplevel", NULL};
	char *top = NULL, *names = NULL;
	int status, r = run_git(change->root, where, &top, &status, err);

	if (r == 0 && status != 0)
		r = hp_err_set(
			err, HOTPATCH_EBUILD,
			"'%s' is not in a git repository, so the old sources are not known: give them with --base "
			"FOLDER or --old FILE",
			change->root);
	if (r == 0) {
		const char *which[] = {"diff", "--name-only", "--no-renames", revision, "--", NULL};
		top[strcspn(top, "\n")] = '\0';
		r = run_git(top, which, &names, &status, err);
	}
	if (r == 0 && status != 0)
		r = hp_err_set(err, HOTPATCH_EBUILD, "git does not know the revision '%s'", revision);
	if (r == 0)
		r = take_names(change, top, revision, names, err);
	free(top);
	free(names);
	return r;
}

/* -- A folder, a file ------------------------------------------------------------------------------------------ */

int hp_change_file(struct hp_change *change, const char *path, const char *old_file, struct hp_err *err)
{
	char *text = NULL, *whole = hp_path_resolve(NULL, path);
	size_t size = 0;
	int r = whole ? hp_file_read(old_file, &text, &size, err) : no_memory(err);

	if (r == 0)
		r = hp_view_write(change->old_view, whole, text, size, err);
	free(text);
	if (r == 0)
		return add_file(change, whole, err);
	free(whole);
	return r;
}

static bool same_file(const char *a, const char *b)
{
	char *x = NULL, *y = NULL;
	size_t x_size, y_size;
	struct hp_err ignored;
	bool same = hp_file_read(a, &x, &x_size, &ignored) == 0 && hp_file_read(b, &y, &y_size, &ignored) == 0 &&
	            x_size == y_size && memcmp(x, y, x_size) == 0;

	free(x);
	free(y);
	return same;
}

static int take_folder(struct hp_change *change, const char *folder, const char *here, struct hp_err *err);

static int take_entry(struct hp_change *change, const char *folder, const char *here, const char *name,
                      struct hp_err *err)
{
	char *old = NULL, *new = NULL;
	struct stat status;
	int r = 0;

	if (asprintf(&old, "%s/%s", folder, name) < 0 || asprintf(&new, "%s/%s", here, name) < 0)
		r = no_memory(err);
	else if (lstat(old, &status) < 0)
		r = 0;
	else if (S_ISDIR(status.st_mode) && strcmp(name, ".git") != 0)
		r = take_folder(change, old, new, err);
	else if (S_ISREG(status.st_mode) && !same_file(old, new))
		r = hp_change_file(change, new, old, err);
	free(old);
	free(new);
	return r;
}

static int take_folder(struct hp_change *change, const char *folder, const char *here, struct hp_err *err)
{
	const struct dirent *entry;
	DIR *dir = opendir(folder);
	int r = 0;

	if (!dir)
		return hp_err_set(err, HOTPATCH_ENOFILE, "cannot read the folder '%s' of the old sources", folder);
	while (r == 0 && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = take_entry(change, folder, here, entry->d_name, err);
	closedir(dir);
	return r;
}

int hp_change_folder(struct hp_change *change, const char *folder, struct hp_err *err)
{
	return take_folder(change, folder, change->root, err);
}

/* -- By another name ------------------------------------------------------------------------------------------- */

static int mirror_in(const char *view, const char *path, const char *real, struct hp_err *err)
{
	char *place = NULL, *text = NULL;
	size_t size;
	int r = 0;

	if (asprintf(&place, "%s%s", view, path) < 0)
		return no_memory(err);
	if (access(place, F_OK) < 0)
		r = hp_view_remove(view, real, err);
	else if ((r = hp_file_read(place, &text, &size, err)) == 0)
		r = hp_view_write(view, real, text, size, err);
	free(text);
	free(place);
	return r;
}

int hp_change_mirror(struct hp_change *change, struct hp_err *err)
{
	size_t n = change->n_files;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		char *real = realpath(change->files[i], NULL);
		if (!real || has_file(change, real)) {
			free(real);
			continue;
		}
		r = mirror_in(change->old_view, change->files[i], real, err);
		if (r == 0)
			r = mirror_in(change->new_view, change->files[i], real, err);
		if (r == 0)
			r = add_file(change, real, err);
		else
			free(real);
	}
	return r;
}

/* -- Which units ----------------------------------------------------------------------------------------------- */

static bool names_changed(const struct hp_change *change, char *rule, const char *folder)
{
	size_t length = strlen(change->new_view);
	char *at = NULL, *name;
	bool found = false;

	while (!found && (name = hp_includes_next(rule, &at))) {
		char *path = hp_path_resolve(folder, name);
		const char *real = path && strncmp(path, change->new_view, length) == 0 ? path + length : path;
		found = real && has_file(change, real);
		free(path);
	}
	return found;
}

int hp_change_concerns(const struct hp_change *change, const struct hp_compile *compile, bool *ret_concerns,
                       struct hp_err *err)
{
	struct hp_words words;
	char *rule = NULL, *folder = NULL;
	int status;

	*ret_concerns = has_file(change, compile->path);
	if (*ret_concerns)
		return 0;
	int r = hp_command_make(compile, HP_VARIANT_DEPENDS, change->new_view, NULL, true, &words, err);
	if (r == HOTPATCH_EREFUSED)
		return 0; /* said when it is to be compiled */
	if (r < 0)
		return r;
	if (asprintf(&folder, "%s%s", change->new_view, compile->folder) < 0)
		r = no_memory(err);
	else if ((r = hp_program_run(words.items, folder, &rule, &status, err)) == 0)
		*ret_concerns = names_changed(change, rule, folder);
	free(folder);
	free(rule);
	hp_words_free(&words);
	return r;
}
