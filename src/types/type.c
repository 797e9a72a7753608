#include "types/type.h"

#include <string.h>

/* Longer chains of typedefs and qualifiers are circles. */
#define MAX_CHAIN 256

static unsigned qualifier_of(int tag)
{
	switch (tag) {
	case DW_TAG_const_type:
		return HP_CONST;
	case DW_TAG_volatile_type:
		return HP_VOLATILE;
	case DW_TAG_restrict_type:
		return HP_RESTRICT;
	case DW_TAG_atomic_type:
		return HP_ATOMIC;
	default:
		return 0;
	}
}

/* -fdebug-types-section leaves in a unit an entry without even a name that refers to the type's own unit; base types
 * and pointers, which most are, have none. */
static void follow_signature(int tag, Dwarf_Die *die)
{
	Dwarf_Die definition;

	if (tag != DW_TAG_base_type && tag != DW_TAG_pointer_type && hp_die_ref(die, DW_AT_signature, &definition) > 0)
		*die = definition;
}

/* Takes typedefs and qualifiers off until something else, or void, is left. */
static bool peel(struct hp_type *type)
{
	for (int hops = 0; hops < MAX_CHAIN; hops++) {
		int tag = dwarf_tag(&type->die);
		unsigned qualifier = qualifier_of(tag);
		if (!qualifier && tag != DW_TAG_typedef) {
			follow_signature(tag, &type->die);
			type->tag = tag == DW_TAG_class_type ? DW_TAG_structure_type : tag;
			return tag != DW_TAG_invalid;
		}
		if (tag == DW_TAG_typedef && !type->alias) {
			type->alias = hp_die_name(&type->die);
			type->on_alias = type->qualifiers;
		}
		type->qualifiers |= qualifier;
		Dwarf_Die next;
		int r = hp_die_ref(&type->die, DW_AT_type, &next);
		if (r <= 0) {
			type->tag = 0;
			return r == 0;
		}
		type->die = next;
	}
	return false;
}

bool hp_type_from(const Dwarf_Die *die, struct hp_type *ret_type)
{
	*ret_type = (struct hp_type){.die = *die, .has_atomic = hp_die_version(die) >= 5};
	return peel(ret_type);
}

bool hp_type_of(const Dwarf_Die *holder, struct hp_type *ret_type)
{
	Dwarf_Die die;
	int r = hp_die_ref(holder, DW_AT_type, &die);

	if (r > 0)
		return hp_type_from(&die, ret_type);
	*ret_type = (struct hp_type){.has_atomic = hp_die_version(holder) >= 5};
	return r == 0;
}

bool hp_type_inner(const struct hp_type *type, struct hp_type *ret_type)
{
	unsigned handed_on = type->tag == DW_TAG_array_type ? type->qualifiers : 0;

	if (!hp_type_of(&type->die, ret_type))
		return false;
	ret_type->qualifiers |= handed_on;
	ret_type->on_alias |= handed_on;
	return true;
}

unsigned hp_type_qualifier_difference(const struct hp_type *a, const struct hp_type *b)
{
	unsigned known = a->has_atomic && b->has_atomic ? HP_ALL_QUALIFIERS : HP_ALL_QUALIFIERS & ~HP_ATOMIC;
	return (a->qualifiers ^ b->qualifiers) & known;
}

bool hp_type_is_pointer(const struct hp_type *type)
{
	return type->tag == DW_TAG_pointer_type || type->tag == DW_TAG_reference_type ||
	       type->tag == DW_TAG_rvalue_reference_type;
}

bool hp_type_is_tagged(const struct hp_type *type)
{
	return type->tag == DW_TAG_structure_type || type->tag == DW_TAG_union_type ||
	       type->tag == DW_TAG_enumeration_type;
}

uint64_t hp_type_size(const struct hp_type *type)
{
	uint64_t size = 0;
	return type->tag && hp_die_number(&type->die, DW_AT_byte_size, &size) ? size : 0;
}

/* gcc gives the last index, which for [0] is absent (or -1), clang the count. */
static uint64_t length_of(const Dwarf_Die *subrange)
{
	uint64_t number;

	if (hp_die_number(subrange, DW_AT_count, &number))
		return number;
	return hp_die_number(subrange, DW_AT_upper_bound, &number) ? number + 1 : 0;
}

bool hp_type_bounds(const struct hp_type *type, struct hp_bounds *ret_bounds)
{
	Dwarf_Die child;
	int more = hp_die_first(&type->die, &child);

	ret_bounds->count = 0;
	for (; more > 0; more = hp_die_next(&child)) {
		if (dwarf_tag(&child) != DW_TAG_subrange_type)
			continue;
		if (ret_bounds->count == HP_MAX_BOUNDS)
			return false;
		ret_bounds->lengths[ret_bounds->count++] = length_of(&child);
	}
	return more == 0;
}

/* -- Base types ------------------------------------------------------------------------------------------------ */

const char *hp_type_base_name(const struct hp_type *type)
{
	static const char *const names[][2] = {
		{"short int", "short"},
		{"short unsigned int", "unsigned short"},
		{"long int", "long"},
		{"long unsigned int", "unsigned long"},
		{"long long int", "long long"},
		{"long long unsigned int", "unsigned long long"},
		{"__int128 unsigned", "unsigned __int128"},
	};
	const char *name = hp_die_name(&type->die);

	for (size_t i = 0; name && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i][0]) == 0)
			return names[i][1];
	return name ? name : "a type without a name";
}

static bool names_have(const struct hp_type *a, const struct hp_type *b, const char *word)
{
	return !strstr(hp_type_base_name(a), word) == !strstr(hp_type_base_name(b), word);
}

/* Encoding and size do not tell apart formats that only share their size: long double (x87) and __float128, _Float16
 * and __bf16. */
bool hp_type_same_base(const struct hp_type *a, const struct hp_type *b)
{
	uint64_t x = 0, y = 0;

	hp_die_number(&a->die, DW_AT_encoding, &x);
	hp_die_number(&b->die, DW_AT_encoding, &y);
	if (x != y || hp_type_size(a) != hp_type_size(b))
		return false;
	if (x != DW_ATE_float && x != DW_ATE_complex_float)
		return true;
	return names_have(a, b, "long double") && names_have(a, b, "bf16");
}

/* -- Functions ------------------------------------------------------------------------------------------------- */

int hp_parameter_at(int more, Dwarf_Die *child, bool *ret_is_varargs)
{
	for (; more > 0; more = hp_die_next(child)) {
		int tag = dwarf_tag(child);
		if (tag == DW_TAG_formal_parameter)
			return 1;
		if (tag == DW_TAG_unspecified_parameters)
			*ret_is_varargs = true;
	}
	return more;
}

/* A type of functions without a prototype is written with "...", such a function without: what it takes is unknown,
 * not variable. */
bool hp_parameters_count(const Dwarf_Die *function, size_t *ret_count, bool *ret_is_varargs)
{
	Dwarf_Die child;
	int more = hp_die_first(function, &child);

	*ret_count = 0;
	*ret_is_varargs = false;
	while ((more = hp_parameter_at(more, &child, ret_is_varargs)) > 0) {
		++*ret_count;
		more = hp_die_next(&child);
	}
	*ret_is_varargs = *ret_is_varargs && hp_type_is_prototyped(function);
	return more == 0;
}

static bool is_c(uint64_t language)
{
	return language == DW_LANG_C89 || language == DW_LANG_C || language == DW_LANG_C99 || language == DW_LANG_C11;
}

bool hp_type_is_prototyped(const Dwarf_Die *function)
{
	Dwarf_Die unit;
	uint64_t language;

	if (hp_die_flag(function, DW_AT_prototyped))
		return true;
	return dwarf_cu_die(function->cu, &unit, NULL, NULL, NULL, NULL, NULL, NULL) &&
	       hp_die_number(&unit, DW_AT_language, &language) && !is_c(language);
}
