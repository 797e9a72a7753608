/* generated - what compilers make by themselves, told by its name: the source has no word for it.
 *
 *     hash.isra.0      of a function          CSWTCH.7       of a switch        .data..Lubsan_data3    what UBSan says
 *     serve.cold       of a function          .str.4         a string           asan.module_ctor       run by ASan
 */
#ifndef HP_MAKE_GENERATED_H
#define HP_MAKE_GENERATED_H

#include "make/atoms.h"

/* Functions that are none of the source, of a symbol that is local. */
bool hp_is_part_name(const char *name);

/* Constants. */
bool hp_is_generated_name(const char *name);

/* What sanitizers say of a place or a type, in data that their runtime writes to, and yet no variable. No source gives
 * a section such a name: .L is what assemblers leave out of symbol tables. */
bool hp_is_generated_section(const char *name);

/* Whether two strings are what ASan says of a function's frame, "1 32 4 4 n:49", and differ in no more than the lines.
 */
bool hp_is_same_frame(const uint8_t *a, uint64_t a_size, const uint8_t *b, uint64_t b_size);

/* Where such data begins with a place in the source, bytes 8 to 15 are its line and column: no difference. */
bool hp_begins_with_line(const struct hp_atoms *atoms, const struct hp_atom *atom);

#endif
