#include "types/difference.h"

#include <stdio.h>
#include <string.h>

#include "types/spelling.h"

#define MAX_NESTING 4

struct text {
	char text[256];
};

/* -- Parts of sentences ---------------------------------------------------------------------------------------- */

static const char *word_of(int tag)
{
	return tag == DW_TAG_structure_type ? "struct" : tag == DW_TAG_union_type ? "union" : "enum";
}

/* "struct conn"; one without a tag by its typedef, or by the member it is the type of: "union u of struct conn". */
static struct text name_of(const struct hp_difference *d, size_t index, int nesting)
{
	const struct hp_pair *pair = &d->pairs->items[index];
	const char *name = hp_die_name(&pair->old_die), *word = word_of(pair->tag);
	struct text text;

	if (name) {
		snprintf(text.text, sizeof(text.text), "%s %s", word, name);
	} else if (pair->alias) {
		snprintf(text.text, sizeof(text.text), "%s", pair->alias);
	} else if (pair->origin.pair != HP_NO_PAIR && nesting < MAX_NESTING) {
		struct text parent = name_of(d, pair->origin.pair, nesting + 1);
		const char *member = pair->origin.member;
		if (*member)
			snprintf(text.text, sizeof(text.text), "%s %s of %.180s", word, member, parent.text);
		else
			snprintf(text.text, sizeof(text.text), "unnamed %s of %.180s", word, parent.text);
	} else {
		snprintf(text.text, sizeof(text.text), "unnamed %s", word);
	}
	return text;
}

/* By which part of the function's type the pair was reached; a reader may not know that it is in it at all. */
static struct text reached(const struct hp_difference *d, size_t index)
{
	unsigned parameter = d->pairs->items[index].origin.parameter;
	struct text text = {""};

	if (!d->function)
		return text;
	if (parameter)
		snprintf(text.text, sizeof(text.text), ", reached from parameter %u of %.160s", parameter, d->function);
	else
		snprintf(text.text, sizeof(text.text), ", reached from the return type of %.160s", d->function);
	return text;
}

/* " (size 48, was 40)", "" where it is the same. */
static struct text sizes(const struct hp_difference *d, size_t index)
{
	const struct hp_pair *pair = &d->pairs->items[index];
	uint64_t old_size = 0, new_size = 0;
	struct text text = {""};

	hp_die_number(&pair->old_die, DW_AT_byte_size, &old_size);
	hp_die_number(&pair->new_die, DW_AT_byte_size, &new_size);
	if (old_size != new_size)
		snprintf(text.text, sizeof(text.text), " (size %llu, was %llu)", (unsigned long long)new_size,
		         (unsigned long long)old_size);
	return text;
}

/* "16", or "16 bit 3" */
static struct text position(const struct hp_member *member)
{
	struct text text;
	unsigned long long at = member->at;

	if (member->bits || at % 8)
		snprintf(text.text, sizeof(text.text), "%llu bit %llu", at / 8, at % 8);
	else
		snprintf(text.text, sizeof(text.text), "%llu", at / 8);
	return text;
}

static const char *called(const struct hp_member *member)
{
	return *member->name ? member->name : "without a name";
}

/* "len_t (long)": the typedef alone may be the same on both sides. */
static void spell_both(const Dwarf_Die *holder, char *buffer, size_t room)
{
	struct hp_spelling alias, resolved;

	hp_spell_type_of(holder, HP_SPELL_ALIASES, &alias);
	hp_spell_type_of(holder, HP_SPELL_RESOLVED, &resolved);
	if (strcmp(alias.text, resolved.text) == 0 || strstr(resolved.text, "{...}"))
		snprintf(buffer, room, "%s", alias.text);
	else
		snprintf(buffer, room, "%s (%s)", alias.text, resolved.text);
}

struct types {
	char old_type[2 * HP_SPELLING_MAX + 4], new_type[2 * HP_SPELLING_MAX + 4];
};

static struct types spell(const Dwarf_Die *old_holder, const Dwarf_Die *new_holder)
{
	struct types types;
	spell_both(old_holder, types.old_type, sizeof(types.old_type));
	spell_both(new_holder, types.new_type, sizeof(types.new_type));
	return types; /* cppcheck-suppress uninitvar; both are filled */
}

static const char *side(bool in_patch)
{
	return in_patch ? "patch" : "program";
}

/* -- Of the function ------------------------------------------------------------------------------------------- */

int hp_difference_result(const struct hp_difference *d, const Dwarf_Die *old_function, const Dwarf_Die *new_function)
{
	struct types types = spell(old_function, new_function);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: return type is %s in the patch, was %s", d->function,
	                  types.new_type, types.old_type);
}

int hp_difference_parameter(const struct hp_difference *d, unsigned number, const Dwarf_Die *old_parameter,
                            const Dwarf_Die *new_parameter)
{
	struct types types = spell(old_parameter, new_parameter);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: parameter %u is %s in the patch, was %s", d->function, number,
	                  types.new_type, types.old_type);
}

int hp_difference_variable(const struct hp_difference *d, const Dwarf_Die *old_variable, const Dwarf_Die *new_variable)
{
	struct types types = spell(old_variable, new_variable);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "variable %s is %s in the patch, was %s", hp_die_name(old_variable),
	                  types.new_type, types.old_type);
}

int hp_difference_count(const struct hp_difference *d, const Dwarf_Die *old_function, const Dwarf_Die *new_function)
{
	struct hp_spelling old_type, new_type;

	hp_spell_function(old_function, HP_SPELL_ALIASES, &old_type);
	hp_spell_function(new_function, HP_SPELL_ALIASES, &new_type);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: number of parameters differs: %s in the patch, was %s",
	                  d->function, new_type.text, old_type.text);
}

int hp_difference_varargs(const struct hp_difference *d, bool in_patch)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: takes variable arguments (...) only in the %s", d->function,
	                  side(in_patch));
}

int hp_difference_prototype(const struct hp_difference *d, bool in_patch)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: is defined with a prototype only in the %s", d->function,
	                  side(in_patch));
}

/* -- Of members ------------------------------------------------------------------------------------------------ */

int hp_difference_member_type(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member)
{
	struct types types = spell(&old_member->die, &new_member->die);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: member %s at offset %s is %s in the patch, was %s%s%s",
	                  name_of(d, pair, 0).text, called(old_member), position(old_member).text, types.new_type,
	                  types.old_type, sizes(d, pair).text, reached(d, pair).text);
}

int hp_difference_member_moved(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                               const struct hp_member *new_member)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: member %s is at offset %s in the patch, was %s%s%s",
	                  name_of(d, pair, 0).text, called(old_member), position(new_member).text,
	                  position(old_member).text, sizes(d, pair).text, reached(d, pair).text);
}

int hp_difference_member_bits(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member)
{
	struct text name = name_of(d, pair, 0), end = reached(d, pair);

	if (!old_member->bits || !new_member->bits)
		return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: member %s at offset %s is a bit field only in the %s%s",
		                  name.text, called(old_member), position(old_member).text, side(new_member->bits),
		                  end.text);
	return hp_err_set(d->err, HOTPATCH_ETYPE,
	                  "%s: bit field %s at offset %s has %llu bits in the patch, was %llu%s%s", name.text,
	                  called(old_member), position(old_member).text, (unsigned long long)new_member->bits,
	                  (unsigned long long)old_member->bits, sizes(d, pair).text, end.text);
}

int hp_difference_member_name(const struct hp_difference *d, size_t pair, const struct hp_member *old_member,
                              const struct hp_member *new_member)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: the member at offset %s is %s in the patch, was %s%s",
	                  name_of(d, pair, 0).text, position(old_member).text, called(new_member), called(old_member),
	                  reached(d, pair).text);
}

int hp_difference_member_only(const struct hp_difference *d, size_t pair, const struct hp_member *member, bool in_patch)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: member %s at offset %s only in the %s%s%s",
	                  name_of(d, pair, 0).text, called(member), position(member).text, side(in_patch),
	                  sizes(d, pair).text, reached(d, pair).text);
}

int hp_difference_enumerator(const struct hp_difference *d, size_t pair, const struct hp_member *old_enumerator,
                             const struct hp_member *new_enumerator)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: %s is %lld in the patch, was %lld%s", name_of(d, pair, 0).text,
	                  new_enumerator->name, (long long)new_enumerator->at, (long long)old_enumerator->at,
	                  reached(d, pair).text);
}

int hp_difference_enumerator_only(const struct hp_difference *d, size_t pair, const struct hp_member *enumerator,
                                  bool in_patch)
{
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: %s (%lld) only in the %s%s", name_of(d, pair, 0).text,
	                  enumerator->name, (long long)enumerator->at, side(in_patch), reached(d, pair).text);
}

int hp_difference_size(const struct hp_difference *d, size_t index)
{
	const struct hp_pair *pair = &d->pairs->items[index];
	uint64_t old_size = 0, new_size = 0;

	hp_die_number(&pair->old_die, DW_AT_byte_size, &old_size);
	hp_die_number(&pair->new_die, DW_AT_byte_size, &new_size);
	return hp_err_set(d->err, HOTPATCH_ETYPE, "%s: size is %llu in the patch, was %llu%s",
	                  name_of(d, index, 0).text, (unsigned long long)new_size, (unsigned long long)old_size,
	                  reached(d, index).text);
}
