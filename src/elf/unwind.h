/* unwind - the entries of an object's .eh_frame, and those of a part of its functions.
 *
 *     CIE  | FDE of serve -> CIE, .text.serve, .gcc_except_table | FDE of hash -> CIE, .text.hash | ...
 *
 * LSB Core, "Exception Frames". What an entry refers to it does by relocations; only the way back to its CIE is a
 * distance, which changes when entries between are left out.
 */
#ifndef HP_ELF_UNWIND_H
#define HP_ELF_UNWIND_H

#include "elf/object.h"

struct hp_fde_record {
	uint64_t offset, size; /* in .eh_frame, with its length field */
	uint64_t cie, cie_size;
	const struct hp_object_relocation *begin; /* of the function */
	const struct hp_object_relocation *lsda;  /* of its exception table; NULL */
};

typedef int (*hp_unwind_visit)(void *arg, const struct hp_fde_record *fde, struct hp_err *err);

/* Calls visit for every entry until it returns non-zero, which is returned. HOTPATCH_EBUILD where they are damaged. */
int hp_unwind_each(const struct hp_object *object, uint32_t section, hp_unwind_visit visit, void *arg,
                   struct hp_err *err) HP_MUST_CHECK;

#endif
