/* objects - what was read of the objects of one unit, kept for as long as they may be compared again.
 *
 *     old.o, plain.o    in every reload
 *     applied           in the next step
 *     object, part.o    in the step and in the whole
 *
 * Taking a large object apart takes longer than everything else between the compiler and the process. No name of an
 * object is ever used again (builds.c counts), so what was read of one is true until its file is removed.
 */
#ifndef HP_WATCH_OBJECTS_H
#define HP_WATCH_OBJECTS_H

#include "make/atoms.h"

struct hp_object_read {
	char *path;
	struct hp_atoms *atoms;
};

struct hp_objects {
	struct hp_object_read *v;
	size_t n;
	struct hp_object *plain; /* NULL: not read yet */
};

/* As hp_atoms_read, where it was not read before. The caller frees its share. */
int hp_objects_atoms(struct hp_objects *objects, const char *path, const struct hp_atoms *like,
                     struct hp_atoms **ret_atoms, struct hp_err *err) HP_MUST_CHECK;

/* The same of the one object of which only bytes and symbols count. */
int hp_objects_plain(struct hp_objects *objects, const char *path, struct hp_object **ret_plain,
                     struct hp_err *err) HP_MUST_CHECK;

/* Removes the file, and what was read of it. */
void hp_objects_remove(struct hp_objects *objects, const char *path);

void hp_objects_free(struct hp_objects *objects);

#endif
