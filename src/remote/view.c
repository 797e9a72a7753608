#include "remote/view.h"

#include <stdlib.h>
#include <string.h>

#include "remote/files.h"
#include "remote/kept.h"

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int collect_wanted(struct hp_view *view, const struct hp_patchfile *file, struct hp_err *err)
{
	size_t room = file->n_changes + file->n_bindings + 1, n = 0;

	for (size_t i = 0; i < file->n_units; i++)
		room += file->units[i].n_locals;
	view->wanted = calloc(room, sizeof(*view->wanted));
	if (!view->wanted)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the names in '%s'", file->path);
	for (size_t i = 0; i < file->n_changes; i++)
		view->wanted[n++] = file->changes[i].name;
	for (size_t i = 0; i < file->n_bindings; i++)
		view->wanted[n++] = file->bindings[i].name;
	for (size_t i = 0; i < file->n_units; i++)
		for (size_t k = 0; k < file->units[i].n_locals; k++)
			view->wanted[n++] = file->units[i].locals[k].name;
	qsort(view->wanted, n, sizeof(*view->wanted), compare_strings);
	for (size_t i = 0; i < n; i++)
		if (!view->n_wanted || strcmp(view->wanted[view->n_wanted - 1], view->wanted[i]) != 0)
			view->wanted[view->n_wanted++] = view->wanted[i];
	return 0;
}

static int read_notes(struct hp_view *view, size_t i, struct hp_err *err)
{
	void *bytes = NULL;
	size_t size = 0;
	int r = hp_remote_notes(view->remote, view->patches.v[i].id, &bytes, &size, err);

	if (r == 0 && size)
		r = hp_notes_read(bytes, size, &view->notes[i], err);
	free(bytes);
	return r;
}

static int read_patches(struct hp_view *view, struct hp_err *err)
{
	int r = hp_remote_patches(view->remote, &view->patches, err);
	if (r < 0)
		return r;
	view->notes = calloc(view->patches.n + 1, sizeof(struct hp_notes *));
	if (!view->notes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the notes of %zu patches", view->patches.n);
	for (size_t i = 0; i < view->patches.n && r == 0; i++)
		if (view->patches.v[i].live || view->patches.v[i].aside)
			r = read_notes(view, i, err);
	return r;
}

static int read_images(struct hp_view *view, struct hp_err *err)
{
	int r = hp_remote_images(view->remote, &view->images, err);
	if (r < 0)
		return r;
	view->names = calloc(view->images.n + 1, sizeof(struct hp_names *));
	if (!view->names)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu images", view->images.n);
	return 0;
}

int hp_view_open(struct hp_remote *remote, const struct hp_patchfile *file, struct hp_view **ret_view,
                 struct hp_err *err)
{
	struct hp_view *view = calloc(1, sizeof(*view));
	int r;

	if (!view)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to look at a process");
	view->remote = remote;
	view->pid = hp_remote_pid(remote);
	if ((file && (r = collect_wanted(view, file, err)) < 0) || (r = read_images(view, err)) < 0 ||
	    (r = read_patches(view, err)) < 0)
		goto out;
	*ret_view = view;
	view = NULL;
out:
	hp_view_close(view);
	return r;
}

void hp_view_close(struct hp_view *view)
{
	if (!view)
		return;
	for (size_t i = 0; view->names && i < view->images.n; i++)
		hp_names_free(view->names[i]);
	for (size_t i = 0; view->notes && i < view->patches.n; i++)
		hp_notes_free(view->notes[i]);
	free(view->notes);
	hp_remote_patches_free(&view->patches);
	free(view->names);
	free(view->wanted);
	hp_remote_images_free(&view->images);
	free(view);
}

/* Whether all that was resolved against is where it was. What came since, comes last in every search. */
static bool is_kept(const struct hp_remote_images *before, const struct hp_remote_images *now)
{
	size_t k = 0;

	for (size_t i = 0; i < before->n; i++) {
		while (k < now->n && now->v[k].low < before->v[i].low)
			k++; /* both are sorted by low */
		if (k == now->n || now->v[k].low != before->v[i].low || now->v[k].bias != before->v[i].bias)
			return false;
	}
	return true;
}

int hp_view_refresh(struct hp_view *view, struct hp_err *err)
{
	struct hp_remote_images now;
	int r = hp_remote_images(view->remote, &now, err);

	if (r < 0)
		return r;
	if (is_kept(&view->images, &now))
		view->images.generation = now.generation;
	else
		r = hp_err_set(err, HOTPATCH_ESTATE, "a library of process %d was unloaded meanwhile; try again",
		               (int)view->pid);
	hp_remote_images_free(&now);
	return r;
}

int hp_view_names(struct hp_view *view, size_t image, const struct hp_names **ret_names, struct hp_err *err)
{
	struct hp_image *file = NULL;
	int r = 0;

	if (!view->names[image]) {
		r = hp_file_open(view->pid, &view->images.v[image], &file, err);
		if (r == 0)
			r = hp_kept_names(hp_remote_kept(view->remote), file, view->wanted, view->n_wanted,
			                  &view->names[image], err);
		hp_image_close(file);
	}
	if (r == 0)
		*ret_names = view->names[image];
	return r;
}

size_t hp_view_at(const struct hp_view *view, uint64_t address)
{
	for (size_t i = 0; i < view->images.n; i++)
		if (address >= view->images.v[i].low && address < view->images.v[i].high)
			return i;
	return view->images.n;
}

bool hp_view_is_code(const struct hp_view *view, uint64_t address)
{
	size_t i = hp_view_at(view, address);

	for (size_t k = 0; i < view->images.n && k < view->images.v[i].n_segments; k++) {
		const struct hp_remote_segment *segment = &view->images.v[i].segments[k];
		if (address >= segment->low && address < segment->high)
			return segment->flags & PF_X;
	}
	return false;
}
