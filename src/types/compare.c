#include "types/compare.h"

#include <string.h>

#include "types/difference.h"
#include "types/members.h"
#include "types/pairs.h"
#include "types/type.h"

/* More than any program nests pointers, arrays and structures by value; a circle in a damaged file goes further. */
#define MAX_DEPTH 100

/* What the functions below return besides 0 and errors: the types differ, and whoever knows where they stand shall
 * say so. */
#define DIFFERS 1

struct comparison {
	struct hp_debuginfo *old_info, *new_info;
	struct hp_pairs pairs;
	struct hp_difference difference;
	const struct hp_allowed *allowed; /* NULL: none */
	struct hp_err *err;
};

/* Two types that stand in one place. */
struct spot {
	struct hp_origin origin;
	bool is_behind; /* behind a pointer: its size does not matter here, it can wait */
	int depth;
};

static int compare_types(struct comparison *c, const struct spot *spot, const struct hp_type *old_type,
                         const struct hp_type *new_type);
static int compare_pair(struct comparison *c, size_t index, int depth);

static int damaged(struct comparison *c)
{
	return hp_err_set(c->err, HOTPATCH_ENOTYPE, "the type information of '%s' or '%s' is damaged: %s",
	                  c->old_info->name, c->new_info->name, dwarf_errmsg(-1));
}

static bool same_name(const Dwarf_Die *a, const Dwarf_Die *b)
{
	const char *x = hp_die_name(a), *y = hp_die_name(b);
	return x && y ? strcmp(x, y) == 0 : x == y;
}

/* The arguments of a C++ template are spelt in different ways (Box<long>, Box<long int>); what they change is layout.
 */
static bool same_tag_name(const Dwarf_Die *a, const Dwarf_Die *b)
{
	const char *x = hp_die_name(a), *y = hp_die_name(b);
	size_t length = x ? strcspn(x, "<") : 0;

	if (!x || !y || !x[length])
		return same_name(a, b);
	return strcspn(y, "<") == length && y[length] && strncmp(x, y, length) == 0;
}

/* -- Signatures ------------------------------------------------------------------------------------------------ */

enum part {
	PART_PROTOTYPE,
	PART_COUNT,
	PART_VARARGS,
	PART_RESULT,
	PART_PARAMETER,
};

/* What differs between two functions or function types. */
struct signature_difference {
	enum part part;
	unsigned number; /* of the parameter */
	Dwarf_Die old_parameter, new_parameter;
	bool in_patch; /* prototype, varargs: which side has it */
};

/* The type that the holders have. Qualifiers of a parameter or a result itself are no part of a function's type. */
static int compare_held(struct comparison *c, const struct spot *spot, const Dwarf_Die *old_holder,
                        const Dwarf_Die *new_holder)
{
	struct hp_type old_type, new_type;

	if (!hp_type_of(old_holder, &old_type) || !hp_type_of(new_holder, &new_type))
		return damaged(c);
	old_type.qualifiers = new_type.qualifiers = 0;
	return compare_types(c, spot, &old_type, &new_type);
}

static int compare_shape(struct comparison *c, const Dwarf_Die *old_function, const Dwarf_Die *new_function,
                         struct signature_difference *ret)
{
	bool old_varargs, new_varargs;
	bool old_prototype = hp_type_is_prototyped(old_function), new_prototype = hp_type_is_prototyped(new_function);
	size_t old_count, new_count;

	if (!hp_parameters_count(old_function, &old_count, &old_varargs) ||
	    !hp_parameters_count(new_function, &new_count, &new_varargs))
		return damaged(c);
	if (old_count != new_count)
		*ret = (struct signature_difference){.part = PART_COUNT};
	else if (old_prototype != new_prototype)
		*ret = (struct signature_difference){.part = PART_PROTOTYPE, .in_patch = new_prototype};
	else if (old_varargs != new_varargs)
		*ret = (struct signature_difference){.part = PART_VARARGS, .in_patch = new_varargs};
	else
		return 0;
	return DIFFERS;
}

/* Of a function itself (not of a type of functions) each part is a place of its own. */
static int compare_signatures(struct comparison *c, const struct spot *spot, bool is_function,
                              const Dwarf_Die *old_function, const Dwarf_Die *new_function,
                              struct signature_difference *ret)
{
	struct spot here = *spot;
	Dwarf_Die a, b;
	bool ignored;
	unsigned number = 0;

	int r = compare_shape(c, old_function, new_function, ret);
	if (r)
		return r;
	*ret = (struct signature_difference){.part = PART_RESULT};
	if ((r = compare_held(c, &here, old_function, new_function)))
		return r;
	int old_more = hp_die_first(old_function, &a), new_more = hp_die_first(new_function, &b);
	while (hp_parameter_at(old_more, &a, &ignored) > 0 && hp_parameter_at(new_more, &b, &ignored) > 0) {
		*ret = (struct signature_difference){PART_PARAMETER, ++number, a, b, false};
		here.origin.parameter = is_function ? number : spot->origin.parameter;
		if ((r = compare_held(c, &here, &a, &b)))
			return r;
		old_more = hp_die_next(&a);
		new_more = hp_die_next(&b);
	}
	return 0;
}

static int say_signature(struct comparison *c, const struct signature_difference *s, const Dwarf_Die *old_function,
                         const Dwarf_Die *new_function)
{
	switch (s->part) {
	case PART_PROTOTYPE:
		return hp_difference_prototype(&c->difference, s->in_patch);
	case PART_COUNT:
		return hp_difference_count(&c->difference, old_function, new_function);
	case PART_VARARGS:
		return hp_difference_varargs(&c->difference, s->in_patch);
	case PART_RESULT:
		return hp_difference_result(&c->difference, old_function, new_function);
	case PART_PARAMETER:
		return hp_difference_parameter(&c->difference, s->number, &s->old_parameter, &s->new_parameter);
	}
	return HOTPATCH_ETYPE;
}

/* -- Structures, unions, enumerations --------------------------------------------------------------------------- */

/* Replaces a declaration by its definition, if there is one. */
static int complete(struct comparison *c, struct hp_debuginfo *info, Dwarf_Die *die, bool *ret_is_complete)
{
	Dwarf_Die definition;

	*ret_is_complete = true;
	if (!hp_die_flag(die, DW_AT_declaration))
		return 0;
	int r = hp_debuginfo_complete(info, die, &definition, ret_is_complete, c->err);
	if (r == 0 && *ret_is_complete)
		*die = definition;
	return r;
}

static int compare_tagged(struct comparison *c, const struct spot *spot, const struct hp_type *old_type,
                          const struct hp_type *new_type)
{
	struct hp_pair pair = {old_type->die, new_type->die, old_type->tag, old_type->alias, spot->origin, false};
	bool old_complete = false, new_complete = false;
	size_t index;

	if (!same_tag_name(&pair.old_die, &pair.new_die))
		return DIFFERS;
	int r = complete(c, c->old_info, &pair.old_die, &old_complete);
	if (r == 0)
		r = complete(c, c->new_info, &pair.new_die, &new_complete);
	if (r < 0 || !old_complete || !new_complete)
		return r;
	r = hp_pairs_add(&c->pairs, &pair, &index, c->err);
	/* By value now, although it may wait in the queue: the cause of a difference is to be named, not that all
	 * members behind it moved. */
	return r < 0 || spot->is_behind ? r : compare_pair(c, index, spot->depth);
}

static int compare_member(struct comparison *c, size_t pair, const struct hp_member *a, const struct hp_member *b,
                          int depth)
{
	struct spot spot = {{pair, a->name, c->pairs.items[pair].origin.parameter}, false, depth + 1};
	struct hp_type old_type, new_type;

	if (!hp_type_of(&a->die, &old_type) || !hp_type_of(&b->die, &new_type))
		return damaged(c);
	int r = compare_types(c, &spot, &old_type, &new_type);
	if (r == DIFFERS)
		return hp_difference_member_type(&c->difference, pair, a, b);
	if (r == 0 && a->at != b->at)
		return hp_difference_member_moved(&c->difference, pair, a, b);
	if (r == 0 && a->bits != b->bits)
		return hp_difference_member_bits(&c->difference, pair, a, b);
	return r;
}

/* The members a and b stand at the same index, or one side has no more; at least one is not on the other side. */
static int say_names(struct comparison *c, size_t pair, const struct hp_members *olds, const struct hp_members *news,
                     const struct hp_member *a, const struct hp_member *b)
{
	bool b_is_new = b && !hp_members_find(olds, b->name), a_is_gone = a && !hp_members_find(news, a->name);

	if (a_is_gone && b_is_new && a->at == b->at && olds->count == news->count)
		return hp_difference_member_name(&c->difference, pair, a, b);
	if (b_is_new)
		return hp_difference_member_only(&c->difference, pair, b, true);
	return hp_difference_member_only(&c->difference, pair, a, false);
}

/* In order of declaration, so that the cause is found before what it moved. Another order alone is no difference: of
 * a structure the members have moved then, which is said, and for a union it does not matter. */
static int compare_members(struct comparison *c, size_t pair, const struct hp_members *olds,
                           const struct hp_members *news, int depth)
{
	int r = 0;

	for (size_t i = 0; r == 0 && (i < olds->count || i < news->count); i++) {
		const struct hp_member *a = i < olds->count ? &olds->items[i] : NULL;
		const struct hp_member *b = i < news->count ? &news->items[i] : NULL;
		const struct hp_member *a_in_new = a ? hp_members_find(news, a->name) : NULL;
		if (a && b && strcmp(a->name, b->name) == 0)
			r = compare_member(c, pair, a, b, depth);
		else if (a_in_new && b && hp_members_find(olds, b->name))
			r = compare_member(c, pair, a, a_in_new, depth);
		else
			r = say_names(c, pair, olds, news, a, b);
	}
	return r;
}

/* The order does not matter, the names and values do. */
static int compare_enumerators(struct comparison *c, size_t pair, const struct hp_members *olds,
                               const struct hp_members *news)
{
	for (size_t i = 0; i < news->count; i++) {
		const struct hp_member *b = &news->items[i];
		const struct hp_member *a = i < olds->count && strcmp(olds->items[i].name, b->name) == 0
		                                    ? &olds->items[i]
		                                    : hp_members_find(olds, b->name);
		if (!a)
			return hp_difference_enumerator_only(&c->difference, pair, b, true);
		if (a->at != b->at)
			return hp_difference_enumerator(&c->difference, pair, a, b);
	}
	for (size_t i = 0; i < olds->count && olds->count > news->count; i++)
		if (!hp_members_find(news, olds->items[i].name))
			return hp_difference_enumerator_only(&c->difference, pair, &olds->items[i], false);
	return 0;
}

static int compare_sizes(struct comparison *c, size_t index)
{
	uint64_t a = 0, b = 0;

	hp_die_number(&c->pairs.items[index].old_die, DW_AT_byte_size, &a);
	hp_die_number(&c->pairs.items[index].new_die, DW_AT_byte_size, &b);
	return a == b ? 0 : hp_difference_size(&c->difference, index);
}

static bool is_allowed(const struct comparison *c, const struct hp_pair *pair)
{
	const char *name = hp_die_name(&pair->old_die);

	name = name ? name : pair->alias;
	for (size_t i = 0; name && c->allowed && i < c->allowed->count; i++)
		if (strcmp(c->allowed->names[i], name) == 0)
			return true;
	return false;
}

/* Compares each pair once. */
static int compare_pair(struct comparison *c, size_t index, int depth)
{
	struct hp_pair *pair = &c->pairs.items[index]; /* until the next pair is added */
	struct hp_members olds = {0}, news = {0};
	bool is_enumeration = pair->tag == DW_TAG_enumeration_type;

	if (pair->is_begun || is_allowed(c, pair))
		return 0;
	pair->is_begun = true;
	int r = hp_members_read(&pair->old_die, c->old_info->name, &olds, c->err);
	if (r == 0)
		r = hp_members_read(&pair->new_die, c->new_info->name, &news, c->err);
	if (r == 0)
		r = is_enumeration ? compare_enumerators(c, index, &olds, &news)
		                   : compare_members(c, index, &olds, &news, depth);
	if (r == 0)
		r = compare_sizes(c, index);
	hp_members_free(&olds);
	hp_members_free(&news);
	return r;
}

/* -- Types ----------------------------------------------------------------------------------------------------- */

static int compare_inner(struct comparison *c, const struct spot *spot, bool is_behind, const struct hp_type *old_type,
                         const struct hp_type *new_type)
{
	struct hp_type a, b;
	struct spot inner = {spot->origin, is_behind, spot->depth + 1};

	if (!hp_type_inner(old_type, &a) || !hp_type_inner(new_type, &b))
		return damaged(c);
	return compare_types(c, &inner, &a, &b);
}

static int compare_arrays(struct comparison *c, const struct spot *spot, const struct hp_type *old_type,
                          const struct hp_type *new_type)
{
	struct hp_bounds a, b;

	if (!hp_type_bounds(old_type, &a) || !hp_type_bounds(new_type, &b))
		return damaged(c);
	int r = compare_inner(c, spot, spot->is_behind, old_type, new_type);
	if (r)
		return r;
	/* A vector lies in other registers than an array of the same elements. */
	bool same = a.count == b.count && memcmp(a.lengths, b.lengths, a.count * sizeof(a.lengths[0])) == 0 &&
	            hp_die_flag(&old_type->die, DW_AT_GNU_vector) == hp_die_flag(&new_type->die, DW_AT_GNU_vector);
	return same ? 0 : DIFFERS;
}

static int compare_types(struct comparison *c, const struct spot *spot, const struct hp_type *old_type,
                         const struct hp_type *new_type)
{
	struct spot behind = {spot->origin, true, spot->depth + 1};
	struct signature_difference ignored;

	if (spot->depth > MAX_DEPTH)
		return hp_err_set(c->err, HOTPATCH_ENOTSUP, "types of '%s' are nested deeper than %d levels",
		                  c->old_info->name, MAX_DEPTH);
	if (old_type->tag != new_type->tag)
		return DIFFERS;
	/* Qualifiers of arrays are those of the elements, which may stand on either in DWARF. */
	if (old_type->tag != DW_TAG_array_type && hp_type_qualifier_difference(old_type, new_type))
		return DIFFERS;
	if (hp_type_is_pointer(old_type))
		return compare_inner(c, spot, true, old_type, new_type);
	if (hp_type_is_tagged(old_type))
		return compare_tagged(c, spot, old_type, new_type);
	switch (old_type->tag) {
	case 0:
		return 0;
	case DW_TAG_base_type:
		return hp_type_same_base(old_type, new_type) ? 0 : DIFFERS;
	case DW_TAG_array_type:
		return compare_arrays(c, spot, old_type, new_type);
	case DW_TAG_subroutine_type:
		return compare_signatures(c, &behind, false, &old_type->die, &new_type->die, &ignored);
	case DW_TAG_ptr_to_member_type:
		return compare_inner(c, spot, true, old_type, new_type);
	default:
		return same_name(&old_type->die, &new_type->die) && hp_type_size(old_type) == hp_type_size(new_type)
		               ? 0
		               : DIFFERS;
	}
}

static int compare_queue(struct comparison *c)
{
	int r = 0;

	for (size_t i = 0; i < c->pairs.count && r == 0; i++)
		r = compare_pair(c, i, 0);
	return r;
}

static int find_entry(const struct hp_typed *function, Dwarf_Die *ret_die, struct hp_err *err)
{
	return hp_debuginfo_function(function->info, function->value, function->name, function->is_static, ret_die,
	                             err);
}

int hp_compare_functions_but(const struct hp_typed *old_function, const struct hp_typed *new_function,
                             const struct hp_allowed *allowed, struct hp_err *err)
{
	struct comparison c = {.old_info = old_function->info,
	                       .new_info = new_function->info,
	                       .allowed = allowed,
	                       .err = err};
	struct spot top = {{HP_NO_PAIR, "", 0}, false, 0};
	struct signature_difference difference;
	Dwarf_Die a, b;

	c.difference = (struct hp_difference){old_function->name, &c.pairs, err};
	int r = find_entry(old_function, &a, err);
	if (r == 0)
		r = find_entry(new_function, &b, err);
	if (r < 0)
		return r;
	a = hp_die_origin(&a);
	b = hp_die_origin(&b);
	r = compare_signatures(&c, &top, true, &a, &b, &difference);
	if (r == DIFFERS)
		r = say_signature(&c, &difference, &a, &b);
	if (r == 0)
		r = compare_queue(&c);
	hp_pairs_free(&c.pairs);
	return r;
}

int hp_compare_functions(const struct hp_typed *old_function, const struct hp_typed *new_function, struct hp_err *err)
{
	return hp_compare_functions_but(old_function, new_function, NULL, err);
}

/* -- Layouts and variables ------------------------------------------------------------------------------------- */

/* A structure, union or enumeration of the old module, with the typedef that names it where it has no tag. */
static int compare_defined(struct hp_debuginfo *old_info, const Dwarf_Die *old_die, const char *alias, void *arg,
                           struct hp_err *err)
{
	struct comparison *c = arg;
	struct hp_type old_type, new_type;
	struct spot top = {{HP_NO_PAIR, "", 0}, true, 0};
	Dwarf_Die new_die;
	bool found;

	(void)old_info;
	int r = hp_debuginfo_defined(c->new_info, old_die, alias, &new_die, &found, err);
	if (r < 0 || !found)
		return r;
	if (!hp_type_from(old_die, &old_type) || !hp_type_from(&new_die, &new_type))
		return damaged(c);
	old_type.alias = new_type.alias = alias;
	r = compare_types(c, &top, &old_type, &new_type);
	if (r == DIFFERS)
		r = hp_err_set(err, HOTPATCH_ETYPE, "%s is another kind of type in the patch", alias);
	return r;
}

int hp_compare_layouts(struct hp_debuginfo *old_info, struct hp_debuginfo *new_info, const struct hp_allowed *allowed,
                       struct hp_err *err)
{
	struct comparison c = {.old_info = old_info, .new_info = new_info, .allowed = allowed, .err = err};

	c.difference = (struct hp_difference){NULL, &c.pairs, err};
	int r = hp_debuginfo_each_defined(old_info, compare_defined, &c, err);
	if (r == 0)
		r = compare_queue(&c);
	hp_pairs_free(&c.pairs);
	return r;
}

int hp_compare_variables(struct hp_debuginfo *old_info, const Dwarf_Die *old_variable, struct hp_debuginfo *new_info,
                         const Dwarf_Die *new_variable, const struct hp_allowed *allowed, struct hp_err *err)
{
	struct comparison c = {.old_info = old_info, .new_info = new_info, .allowed = allowed, .err = err};
	struct spot top = {{HP_NO_PAIR, "", 0}, false, 0};
	struct hp_type old_type, new_type;

	c.difference = (struct hp_difference){NULL, &c.pairs, err};
	if (!hp_type_of(old_variable, &old_type) || !hp_type_of(new_variable, &new_type))
		return damaged(&c);
	old_type.qualifiers = new_type.qualifiers = 0; /* const or not, what lies there is the same */
	int r = compare_types(&c, &top, &old_type, &new_type);
	if (r == DIFFERS)
		r = hp_difference_variable(&c.difference, old_variable, new_variable);
	if (r == 0)
		r = compare_queue(&c);
	hp_pairs_free(&c.pairs);
	return r;
}
