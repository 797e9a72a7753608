#include "watch/objects.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "types/array.h"

static struct hp_object_read *find(const struct hp_objects *objects, const char *path)
{
	for (size_t i = 0; i < objects->n; i++)
		if (strcmp(objects->v[i].path, path) == 0)
			return &objects->v[i];
	return NULL;
}

/* Takes atoms, also on failure. */
static int keep(struct hp_objects *objects, const char *path, struct hp_atoms *atoms, struct hp_err *err)
{
	struct hp_object_read *v = hp_array_grow(objects->v, objects->n, sizeof(*v));
	char *copy = strdup(path);

	if (v)
		objects->v = v;
	if (!v || !copy) {
		free(copy);
		hp_atoms_free(atoms);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to keep what '%s' has", path);
	}
	v[objects->n++] = (struct hp_object_read){copy, atoms};
	/* cppcheck-suppress memleak; the objects have the copy */
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the objects have it */
}

int hp_objects_atoms(struct hp_objects *objects, const char *path, const struct hp_atoms *like,
                     struct hp_atoms **ret_atoms, struct hp_err *err)
{
	struct hp_object_read *found = find(objects, path);
	struct hp_atoms *atoms = found ? found->atoms : NULL;
	int r = found ? 0 : hp_atoms_read(path, like, &atoms, err);

	if (r == 0 && !found)
		r = keep(objects, path, atoms, err);
	if (r == 0)
		*ret_atoms = hp_atoms_share(atoms);
	return r;
}

int hp_objects_plain(struct hp_objects *objects, const char *path, struct hp_object **ret_plain, struct hp_err *err)
{
	int r = objects->plain ? 0 : hp_object_read(path, &objects->plain, err);

	if (r == 0)
		*ret_plain = hp_object_share(objects->plain);
	return r;
}

static void forget(struct hp_object_read *read)
{
	free(read->path);
	hp_atoms_free(read->atoms);
}

void hp_objects_remove(struct hp_objects *objects, const char *path)
{
	struct hp_object_read *found = find(objects, path);

	unlink(path);
	if (!found)
		return;
	forget(found);
	*found = objects->v[--objects->n];
}

void hp_objects_free(struct hp_objects *objects)
{
	for (size_t i = 0; i < objects->n; i++)
		forget(&objects->v[i]);
	free(objects->v);
	hp_object_free(objects->plain);
	*objects = (struct hp_objects){0};
}
