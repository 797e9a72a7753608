/* difference - the sentence that names the first difference between two types.
 *
 *     struct conn: member deadline at offset 40 only in the patch (size 48, was 40), reached from parameter 1 of serve
 *     add: parameter 2 is long in the patch, was int
 *
 * Every function here fills err and returns HOTPATCH_ETYPE.
 */
#ifndef HP_TYPES_DIFFERENCE_H
#define HP_TYPES_DIFFERENCE_H

#include "types/members.h"
#include "types/pairs.h"

struct hp_difference {
	const char *function; /* that is compared; NULL: layouts alone are */
	const struct hp_pairs *pairs;
	struct hp_err *err;
};

/* Of the function itself. */
int hp_difference_result(const struct hp_difference *d, const Dwarf_Die *old_function, const Dwarf_Die *new_function);
int hp_difference_parameter(const struct hp_difference *d, unsigned number, const Dwarf_Die *old_parameter,
                            const Dwarf_Die *new_parameter);
int hp_difference_count(const struct hp_difference *d, const Dwarf_Die *old_function, const Dwarf_Die *new_function);
int hp_difference_varargs(const struct hp_difference *d, bool in_patch);
int hp_difference_prototype(const struct hp_difference *d, bool in_patch);

/* Of a variable. */
int hp_difference_variable(const struct hp_difference *d, const Dwarf_Die *old_variable, const Dwarf_Die *new_variable);

/* Of the members, or enumerators, of a pair. */
int hp_difference_member_type(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member);
int hp_difference_member_moved(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                               const struct hp_member *new_member);
int hp_difference_member_bits(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member);
int hp_difference_member_name(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member);
int hp_difference_member_only(const struct hp_difference *d, size_t pair, const struct hp_member *member,
                              bool in_patch);
int hp_difference_enumerator(const struct hp_difference *d, size_t pair, const struct hp_member *old_enumerator,
                             const struct hp_member *new_enumerator);
int hp_difference_enumerator_only(const struct hp_difference *d, size_t pair, const struct hp_member *enumerator,
                                  bool in_patch);
int hp_difference_size(const struct hp_difference *d, size_t pair);

#endif
