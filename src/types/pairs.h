/* pairs - the structures, unions and enumerations of two modules that are, or are to be, compared with each other.
 *
 * A set, because types refer to themselves: a pair that is in it is assumed equal, which holds, as the first
 * difference of any pair ends everything. And a queue: what is reached through pointers is compared later, in the
 * order it was reached, so the difference named is one near to the function, and no stack grows with a list of types.
 */
#ifndef HP_TYPES_PAIRS_H
#define HP_TYPES_PAIRS_H

#include "base/err.h"
#include "types/die.h"

#define HP_NO_PAIR SIZE_MAX

/* Where a type stands. */
struct hp_origin {
	size_t pair;        /* the structure or union whose member has it, or HP_NO_PAIR */
	const char *member; /* that member */
	unsigned parameter; /* the parameter of the function that leads here, from 1; 0 is its return type */
};

struct hp_pair {
	Dwarf_Die old_die, new_die; /* definitions */
	int tag;                    /* DW_TAG_* of both */
	const char *alias;          /* the typedef it was reached by, NULL */
	struct hp_origin origin;    /* where it was reached first */
	bool is_begun;              /* being compared, or compared */
};

struct hp_pairs {
	struct hp_pair *items;
	size_t count;
	size_t *table; /* open addressing; index + 1, 0 is free */
	size_t n_table;
};

/* Adds what is not in it. Pairs are named by index: items moves. HOTPATCH_ENOMEM. */
int hp_pairs_add(struct hp_pairs *pairs, const struct hp_pair *pair, size_t *ret_index,
                 struct hp_err *err) HP_MUST_CHECK;

void hp_pairs_free(struct hp_pairs *pairs);

#endif
