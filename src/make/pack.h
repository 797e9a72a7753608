/* pack - the patch file of the units that were compared (doc/format.md).
 *
 *     unit 0: new object  .text.serve  .rodata.str1.1+12    ---.
 *     unit 1: new object  .text.parse                       ---+--->  sections, symbols, bindings, notes  --->  .hp
 *
 * In two rounds: what is packed gets its section and symbol first, then relocations are written, and for each thing
 * they refer to that is not packed a binding.
 */
#ifndef HP_MAKE_PACK_H
#define HP_MAKE_PACK_H

#include "make/select.h"

/* *ret_bytes is the caller's to free. HOTPATCH_ENOMEM, HOTPATCH_EBUILD. */
int hp_pack(struct hp_make_unit *units, size_t n_units, const struct hp_make_options *options,
            const struct hp_findings *findings, uint8_t **ret_bytes, size_t *ret_size,
            struct hp_err *err) HP_MUST_CHECK;

#endif
