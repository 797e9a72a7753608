/* refs - what each atom refers to, and which unwind entry is its own.
 *
 *     serve + 0x12  call ?        --->  send (another file's)
 *     serve + 0x1f  lea  ?        --->  "hello" + 0
 *     .eh_frame     FDE of serve  --->  serve's exception table, the personality routine: HP_REF_OUTSIDE
 */
#ifndef HP_MAKE_REFS_H
#define HP_MAKE_REFS_H

#include "make/atoms.h"
#include "make/targets.h"

/* Of atoms that are all there and have their sizes. HOTPATCH_ENOMEM, HOTPATCH_EBUILD where nobody can tell what is
 * referred to. */
int hp_refs_read(struct hp_atoms *atoms, const struct hp_targets *targets, struct hp_err *err) HP_MUST_CHECK;

#endif
