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

/* Structures, unions and enumerations whose layouts may differ, by tag (or typedef, without a tag). */
struct hp_allowed {
	const char *const *names;
	size_t count;
};

/* 0 where they have; HOTPATCH_ETYPE with the first difference; HOTPATCH_ENOTYPE where one has no type information. */
int hp_compare_functions(const struct hp_typed *old_function, const struct hp_typed *new_function,
                         struct hp_err *err) HP_MUST_CHECK;

/* The same but for the layouts that are allowed to differ. */
int hp_compare_functions_but(const struct hp_typed *old_function, const struct hp_typed *new_function,
                             const struct hp_allowed *allowed, struct hp_err *err) HP_MUST_CHECK;

/* All structures, unions and enumerations at the top of the units that both modules define: HOTPATCH_ETYPE with the
 * first difference. */
int hp_compare_layouts(struct hp_debuginfo *old_info, struct hp_debuginfo *new_info, const struct hp_allowed *allowed,
                       struct hp_err *err) HP_MUST_CHECK;

/* The types of two variables, whose entries are given. */
int hp_compare_variables(struct hp_debuginfo *old_info, const Dwarf_Die *old_variable, struct hp_debuginfo *new_info,
                         const Dwarf_Die *new_variable, const struct hp_allowed *allowed,
                         struct hp_err *err) HP_MUST_CHECK;

#endif
