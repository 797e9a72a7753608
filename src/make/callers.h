/* callers - who refers to a function in the linked program, and whether the patch takes care of it.
 *
 *     relocations   RELATIVE, GLOB_DAT, 64, RELR ---> .got: a slot, looked for as well   elsewhere: data refers to it
 *     code          every instruction that leads to the function or reads a slot (or, in a program that is not
 *                   position-independent, has its address in it) ---> the function that it is in
 *
 * A function calls it as it should if its unit was compiled anew for the patch: its code differs, and is in the patch,
 * or does not, and is right as it is. Everything else may call it as before: functions of other units, who holds its
 * address (in data, or taken by code), and other images, to which the program may export it. Not found are addresses
 * that code computes, and callers that an earlier patch brought.
 */
#ifndef HP_MAKE_CALLERS_H
#define HP_MAKE_CALLERS_H

#include "make/select.h"

/* The function is global, of a unit of options->units. HOTPATCH_EREFUSED with who refers to it, as the middle of a
 * sentence; HOTPATCH_ENOFILE and ENOTELF where options->images cannot be read. */
int hp_callers_check(const struct hp_make_options *options, const char *function, struct hp_err *err) HP_MUST_CHECK;

#endif
