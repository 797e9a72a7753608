#include "remote/aims.h"

#include <string.h>

const char *hp_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool has_name(const struct hp_remote_image *image, const char *name)
{
	return strcmp(image->name, name) == 0 || strcmp(hp_base_name(image->path), name) == 0;
}

static bool has_build_id(const struct hp_remote_image *image, const struct hp_patch_target *target)
{
	return image->build_id_size == target->build_id_size &&
	       memcmp(image->build_id, target->build_id, target->build_id_size) == 0;
}

static int refuse_build(const struct hp_view *view, const struct hp_patchfile *file, const char *name,
                        struct hp_err *err)
{
	return hp_err_set(
		err, HOTPATCH_ECODE,
		"'%s' was made for another build of '%s' than process %d runs: their build-ids differ; build it "
		"again for what runs",
		file->path, name, (int)view->pid);
}

/* false: nothing of it is loaded; *ret_namesake is an image of its name, images.n: there is none. */
static bool find_target(const struct hp_view *view, const struct hp_patch_target *target, bool *is_target,
                        size_t *ret_namesake)
{
	bool found = false;

	*ret_namesake = view->images.n;
	for (size_t i = 0; i < view->images.n; i++) {
		const struct hp_remote_image *image = &view->images.v[i];
		if (target->build_id_size ? has_build_id(image, target) : has_name(image, target->name))
			is_target[i] = found = true;
		else if (has_name(image, target->name))
			*ret_namesake = i;
	}
	return found;
}

int hp_aims_find(const struct hp_view *view, const struct hp_patchfile *file, bool *ret_is_target, bool *ret_absent,
                 struct hp_err *err)
{
	size_t namesake;

	for (size_t i = 0; i < file->n_targets; i++) {
		const struct hp_patch_target *target = &file->targets[i];
		if (find_target(view, target, ret_is_target, &namesake))
			continue;
		if (namesake < view->images.n)
			return refuse_build(view, file, view->images.v[namesake].name, err);
		if (!ret_absent)
			return hp_err_set(err, HOTPATCH_ENOSYM, "'%s' is for '%s', which process %d has not loaded",
			                  file->path, target->name, (int)view->pid);
		ret_absent[i] = true;
	}
	for (size_t i = 0; !file->n_targets && i < view->images.n; i++)
		ret_is_target[i] = !view->images.v[i].is_vdso && !view->images.v[i].is_linked;
	return 0;
}
