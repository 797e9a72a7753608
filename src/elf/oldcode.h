/* oldcode - the old code of a function as the program is to have it, but for what the linker fills in.
 */
#ifndef HP_ELF_OLDCODE_H
#define HP_ELF_OLDCODE_H

#include "elf/codehash.h"
#include "elf/object.h"

struct hp_old_code {
	const uint8_t *bytes; /* of the object */
	uint64_t size;
	uint8_t hash[HP_HASH_SIZE];
	struct hp_mask *masks; /* the caller's to free */
	size_t n_masks;
};

/* HOTPATCH_EBUILD where the object has no such function. */
int hp_old_code_find(const struct hp_object *object, const char *function, struct hp_old_code *ret_code,
                     struct hp_err *err) HP_MUST_CHECK;

#endif
