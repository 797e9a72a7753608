/* part - a patch file divided by the images it changes, because code has to lie within 2 GiB of what it refers to.
 *
 *     program at 0x55...                 library at 0x7f...
 *     part 0: .text.serve, .bss.count    part 1: .text.draw, .rodata.table        sections go with the functions that
 *             .eh_frame of these                 .eh_frame of these               refer to them
 *             draw: undefined                    serve: undefined
 *
 * A part is a patch file of its own, with the symbols of the whole: what is defined in another part is undefined in it,
 * and resolved when all parts have their addresses.
 */
#ifndef HP_LINK_PART_H
#define HP_LINK_PART_H

#include "elf/patchfile.h"

struct hp_parts {
	struct hp_patchfile *v; /* each with the notes of the whole */
	size_t n;
	uint32_t *of_symbol; /* by symbol: the part that defines it; meaningless for undefined ones */
	uint8_t **frames;    /* private, like the next ones: of each part the bytes of its unwind table, and its
	                        relocations */
	struct hp_patch_reloc **frame_relocs;
	void *own[4];
};

#define HP_PARTS_MAX 64

/* image_of_change: a number for each change of the file; those of one number go into one part, and parts are in the
 * order in which the numbers come first. file lives longer. HOTPATCH_EINVAL, HOTPATCH_ENOTELF (damaged .eh_frame). */
int hp_parts_make(const struct hp_patchfile *file, const size_t *image_of_change, struct hp_parts **ret_parts,
                  struct hp_err *err) HP_MUST_CHECK;

/* One part: what the changes that are not absent need, with notes of these alone; bindings that nothing of it refers to
 * may be absent, too. HOTPATCH_ENOTSUP for a patch that cannot be taken in parts: with callbacks, migrations or new
 * initial values. */
int hp_part_present(const struct hp_patchfile *file, const bool *absent_changes, const bool *absent_targets,
                    struct hp_parts **ret_parts, struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_parts_free(struct hp_parts *parts);

#endif
