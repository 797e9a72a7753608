/* targets - what every relocation of an object refers to: a section and an offset in it, or an undefined symbol.
 *
 *     83 3d [....] 05    cmpl $5,x(%rip)     field at 2, end at 7: the tail is 5, and the relocation's addend -5
 *     48 8d 3d [....]    lea s(%rip),%rdi    field at 3, end at 7: the tail is 4
 *
 * An assembler replaces a local symbol by its section, and the addend then holds both where the symbol lies and how far
 * away the end of the instruction is. Only the instruction tells them apart. Where another object has the same code,
 * and its instructions were decoded, they are not decoded again.
 */
#ifndef HP_MAKE_TARGETS_H
#define HP_MAKE_TARGETS_H

#include "elf/object.h"

struct hp_target {
	const struct hp_object_relocation *reloc;
	uint32_t from;    /* section that the relocation lies in */
	uint32_t section; /* that it refers to; 0: a symbol that is in none */
	int64_t offset;   /* in that section */
	int64_t tail;     /* what is added to symbol + addend to have it */
};

struct hp_targets {
	struct hp_target *items; /* by section, then by offset of the relocations */
	size_t count;
	uint8_t *tails; /* per relocation of the object */
};

/* An object whose code was decoded. */
struct hp_decoded {
	const struct hp_object *object;
	const uint8_t *tails;
};

/* Those of all sections to be loaded; like: NULL, or an object that may have the same code in sections of the same
 * names and order. Items and tails are the caller's to free. HOTPATCH_ENOMEM, HOTPATCH_EBUILD where code cannot be
 * decoded around a reference that only the instruction explains. */
int hp_targets_read(const struct hp_object *object, const struct hp_decoded *like, struct hp_targets *ret_targets,
                    struct hp_err *err) HP_MUST_CHECK;

/* Of a relocation that is in data. */
struct hp_target hp_target_of(const struct hp_object *object, const struct hp_object_relocation *reloc);

#endif
