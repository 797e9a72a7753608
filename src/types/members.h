/* members - what a structure or union consists of, or an enumeration.
 *
 *     struct s { int a; unsigned b:3, c:5; struct { char d; }; }     a at bit 0, b at 32 of 3 bits, c at 35 of 5, "" at
 * 64
 *
 * Positions are counted in bits, because the three ways DWARF gives those of bit fields (DWARF 4 and 5, 5.5.6; DWARF 3
 * from the big end of the storage unit) come out the same then. A C++ base class is a member; methods, static members
 * and nested types are none.
 */
#ifndef HP_TYPES_MEMBERS_H
#define HP_TYPES_MEMBERS_H

#include "base/err.h"
#include "types/die.h"

struct hp_member {
	const char *name; /* "" where it has none; of a base class, that of the class */
	Dwarf_Die die;    /* its DW_AT_type is the type */
	uint64_t at;      /* bits from the start; of an enumerator, its value */
	uint64_t bits;    /* width of a bit field, else 0 */
};

struct hp_members {
	struct hp_member *items; /* in order of declaration */
	size_t count;
};

/* HOTPATCH_ENOMEM, or HOTPATCH_ENOTYPE for damaged entries of the module called module. */
int hp_members_read(const Dwarf_Die *aggregate, const char *module, struct hp_members *ret_members,
                    struct hp_err *err) HP_MUST_CHECK;

void hp_members_free(struct hp_members *members);

/* The one called name, NULL; an unnamed one is not found. */
const struct hp_member *hp_members_find(const struct hp_members *members, const char *name);

#endif
