/* die - reading one DWARF entry (DIE), safely also from damaged files.
 *
 * libdw checks that what it reads lies in its section. It does not check that references end: an entry may be its own
 * origin, or its own sibling. Everything here ends: origins are followed HP_DIE_HOPS times, siblings only forwards.
 */
#ifndef HP_TYPES_DIE_H
#define HP_TYPES_DIE_H

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>

#define HP_DIE_HOPS 16

/* The attribute `name` of the entry, or of its abstract origin or specification. */
bool hp_die_attr(const Dwarf_Die *die, unsigned name, Dwarf_Attribute *ret_attr);

/* NULL where it has none. Lives as long as its Dwarf. */
const char *hp_die_name(const Dwarf_Die *die);

bool hp_die_flag(const Dwarf_Die *die, unsigned name);

/* A constant; signed ones as the same 64 bits. */
bool hp_die_number(const Dwarf_Die *die, unsigned name, uint64_t *ret_number);

/* What a reference refers to: 1, 0 where there is no such attribute, -1 where it leads nowhere. */
int hp_die_ref(const Dwarf_Die *die, unsigned name, Dwarf_Die *ret_die);

/* Version of DWARF of the entry's unit. */
unsigned hp_die_version(const Dwarf_Die *die);

/* The abstract origin (of an inlined or cloned function) with the declarations; the entry itself without one. */
Dwarf_Die hp_die_origin(const Dwarf_Die *die);

/* Walks children: hp_die_first, then hp_die_next on the same die: 1 while there is one, 0 at the end, -1 damaged. */
int hp_die_first(const Dwarf_Die *parent, Dwarf_Die *ret_child);
int hp_die_next(Dwarf_Die *die);

#endif
