/* type - a type with what does not change its layout taken off: typedefs and qualifiers.
 *
 *     typedef const struct conn *peer_t;   volatile peer_t   ->   alias peer_t, volatile, a pointer
 *     ... its target                                         ->   const, a structure
 *
 * gcc and clang write the same type in different ways; the differences end here: qualifiers of an array are those of
 * its elements (C11 6.7.3p9), a class is a structure, an array of no known length has no bound.
 */
#ifndef HP_TYPES_TYPE_H
#define HP_TYPES_TYPE_H

#include "types/die.h"

enum hp_qualifier {
	HP_CONST = 1,
	HP_VOLATILE = 2,
	HP_RESTRICT = 4,
	HP_ATOMIC = 8,
};

#define HP_ALL_QUALIFIERS 15u

struct hp_type {
	Dwarf_Die die;       /* what is left */
	int tag;             /* DW_TAG_* of it; 0 is void */
	unsigned qualifiers; /* HP_* */
	const char *alias;   /* the first typedef on the way, NULL */
	unsigned on_alias;   /* the qualifiers that stand before it */
	bool has_atomic;     /* its DWARF can say _Atomic: version 5 */
};

/* The type that DW_AT_type of holder refers to. False where the reference leads nowhere, or in a circle. */
bool hp_type_of(const Dwarf_Die *holder, struct hp_type *ret_type);

/* The same for an array, a pointer or a function: elements, target, result; an array hands its qualifiers on. */
bool hp_type_inner(const struct hp_type *type, struct hp_type *ret_type);

/* The type that die itself is. */
bool hp_type_from(const Dwarf_Die *die, struct hp_type *ret_type);

/* The qualifiers both can speak of, and only one has. */
unsigned hp_type_qualifier_difference(const struct hp_type *a, const struct hp_type *b);

/* Pointers and references. */
bool hp_type_is_pointer(const struct hp_type *type);

/* Structures, unions and enumerations: what has a tag. */
bool hp_type_is_tagged(const struct hp_type *type);

uint64_t hp_type_size(const struct hp_type *type);

#define HP_MAX_BOUNDS 8

/* Lengths of an array, outermost first; 0 where none is known ([], [0], or of variable length). False for more than
 * HP_MAX_BOUNDS. */
struct hp_bounds {
	uint64_t lengths[HP_MAX_BOUNDS];
	size_t count;
};

bool hp_type_bounds(const struct hp_type *type, struct hp_bounds *ret_bounds);

/* The name of a base type, spelt as C does ("unsigned long", where gcc writes "long unsigned int"). */
const char *hp_type_base_name(const struct hp_type *type);

/* Whether two base types are represented alike, whatever their names (long, long long). */
bool hp_type_same_base(const struct hp_type *a, const struct hp_type *b);

/* The next parameter of a function from *child on, which hp_die_first or hp_die_next found (more): 1, 0 behind the
 * last, -1 damaged. *ret_is_varargs is set when "..." was passed. */
int hp_parameter_at(int more, Dwarf_Die *child, bool *ret_is_varargs);

/* The parameters of a function type or function: how many, and whether "..." follows. False where it is damaged. */
bool hp_parameters_count(const Dwarf_Die *function, size_t *ret_count, bool *ret_is_varargs);

/* Whether calls are checked against the parameters; C++ and others know nothing else. */
bool hp_type_is_prototyped(const Dwarf_Die *function);

#endif
