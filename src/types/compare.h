/* compare - whether two functions of two modules have one type.
 *
 *     function ---> return type, parameters ---> structure ---> members ---> what they point to ---> ...
 *                                                        (all that can be reached)
 *
 * Layout is compared, not spelling: typedefs are looked through, base types are compared by what they represent, so
 * gcc's and clang's, DWARF 4's and 5's descriptions of one source are equal. Structures, unions and enumerations have
 * to have the same tag. One that is declared only is completed from another unit; where it cannot be, its tag decides.
 */
#ifndef HP_TYPES_COMPARE_H
#define HP_TYPES_COMPARE_H

#include "types/debuginfo.h"

/* A function of a module. */
struct hp_typed {
	struct hp_debuginfo *info;
	uint64_t value;   /* entry */
	const char *name; /* linkage name */
	bool is_static;
};

/* 0 where they have; HOTPATCH_ETYPE with the first difference; HOTPATCH_ENOTYPE where one has no type information. */
int hp_compare_functions(const struct hp_typed *old_function, const struct hp_typed *new_function,
                         struct hp_err *err) HP_MUST_CHECK;

#endif
