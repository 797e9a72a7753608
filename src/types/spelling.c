#include "types/spelling.h"

#include <stdio.h>
#include <string.h>

/*     int (*(*)[3])(char)      a C type is read from the inside out: `inner` is what stands where the name would be;
 *         '-- inner --'        each step outwards writes around it and goes on with the type it is made of
 */

#define MAX_DEPTH 12
#define ROOM sizeof(((struct hp_spelling *)0)->text)

static void put(struct hp_spelling *to, const char *first, const char *second)
{
	int n = snprintf(to->text, ROOM, "%s%s", first, second);
	if (n >= (int)ROOM)
		memcpy(to->text + ROOM - 4, "...", 4);
}

static void append(struct hp_spelling *to, const char *text)
{
	size_t used = strlen(to->text);
	int n = snprintf(to->text + used, ROOM - used, "%s", text);
	if (n >= (int)(ROOM - used))
		memcpy(to->text + ROOM - 4, "...", 4);
}

static void put_qualifiers(char *buffer, size_t room, unsigned qualifiers)
{
	snprintf(buffer, room, "%s%s%s%s", qualifiers & HP_CONST ? "const " : "",
	         qualifiers & HP_VOLATILE ? "volatile " : "", qualifiers & HP_RESTRICT ? "restrict " : "",
	         qualifiers & HP_ATOMIC ? "_Atomic " : "");
}

static void spell(const struct hp_type *type, enum hp_spelling_mode mode, int depth, struct hp_spelling *inout);

/* The name of a type that is not made of others, with its qualifiers before it. */
static void spell_name(const char *word, const char *name, unsigned qualifiers, struct hp_spelling *inout)
{
	struct hp_spelling inner = *inout;
	char before[48];

	put_qualifiers(before, sizeof(before), qualifiers);
	put(inout, before, word);
	append(inout, name);
	if (inner.text[0] && inner.text[0] != '[')
		append(inout, " ");
	append(inout, inner.text);
}

static void spell_pointer(const struct hp_type *type, enum hp_spelling_mode mode, int depth, struct hp_spelling *inout)
{
	struct hp_type target;
	struct hp_spelling inner = *inout;
	char qualifiers[48];

	if (!hp_type_inner(type, &target)) {
		put(inout, "?", "");
		return;
	}
	bool by_name = target.alias && mode == HP_SPELL_ALIASES;
	bool parens = !by_name && (target.tag == DW_TAG_array_type || target.tag == DW_TAG_subroutine_type);
	put_qualifiers(qualifiers, sizeof(qualifiers), type->qualifiers);
	if (qualifiers[0] && !inner.text[0])
		qualifiers[strlen(qualifiers) - 1] = '\0';
	put(inout, parens ? "(" : "", type->tag == DW_TAG_pointer_type ? "*" : "&");
	append(inout, qualifiers);
	append(inout, inner.text);
	append(inout, parens ? ")" : "");
	spell(&target, mode, depth, inout);
}

static void spell_array(const struct hp_type *type, enum hp_spelling_mode mode, int depth, struct hp_spelling *inout)
{
	struct hp_type element;
	struct hp_bounds bounds = {0};
	char length[32];

	if (!hp_type_inner(type, &element)) {
		put(inout, "?", "");
		return;
	}
	hp_type_bounds(type, &bounds);
	for (size_t i = 0; i < bounds.count; i++) {
		snprintf(length, sizeof(length), bounds.lengths[i] ? "[%llu]" : "[]",
		         (unsigned long long)bounds.lengths[i]);
		append(inout, length);
	}
	spell(&element, mode, depth, inout);
}

static void append_parameters(const Dwarf_Die *function, enum hp_spelling_mode mode, int depth,
                              struct hp_spelling *inout)
{
	Dwarf_Die child;
	bool is_varargs = false;
	size_t count = 0;
	int more = hp_die_first(function, &child);

	append(inout, "(");
	for (; hp_parameter_at(more, &child, &is_varargs) > 0; more = hp_die_next(&child), count++) {
		struct hp_spelling parameter = {{0}};
		struct hp_type type;
		if (hp_type_of(&child, &type)) {
			type.qualifiers = type.on_alias = 0; /* of a parameter itself: no part of the type */
			spell(&type, mode, depth, &parameter);
		}
		append(inout, count ? ", " : "");
		append(inout, parameter.text);
	}
	if (hp_type_is_prototyped(function))
		append(inout, is_varargs ? count ? ", ..." : "..." : count ? "" : "void");
	append(inout, ")");
}

static void spell_function(const Dwarf_Die *function, enum hp_spelling_mode mode, int depth, struct hp_spelling *inout)
{
	struct hp_type result;

	append_parameters(function, mode, depth + 3, inout); /* they branch, so they may nest less */
	if (hp_type_of(function, &result))
		spell(&result, mode, depth, inout);
}

static const char *word_of(int tag)
{
	return tag == DW_TAG_structure_type ? "struct " : tag == DW_TAG_union_type ? "union " : "enum ";
}

/* Turns inner text into the whole. The depth keeps circles of damaged files from going on for ever. */
static void spell(const struct hp_type *type, enum hp_spelling_mode mode, int depth, struct hp_spelling *inout)
{
	if (depth > MAX_DEPTH) {
		put(inout, "...", "");
		return;
	}
	if (type->alias && mode == HP_SPELL_ALIASES) {
		spell_name("", type->alias, type->on_alias, inout);
		return;
	}
	const char *name = type->tag ? hp_die_name(&type->die) : "void";
	if (hp_type_is_pointer(type))
		spell_pointer(type, mode, depth + 1, inout);
	else if (type->tag == DW_TAG_array_type)
		spell_array(type, mode, depth + 1, inout);
	else if (type->tag == DW_TAG_subroutine_type)
		spell_function(&type->die, mode, depth + 1, inout);
	else if (hp_type_is_tagged(type))
		spell_name(word_of(type->tag), name ? name : "{...}", type->qualifiers, inout);
	else if (type->tag == DW_TAG_base_type)
		spell_name("", hp_type_base_name(type), type->qualifiers, inout);
	else
		spell_name("", name ? name : "?", type->qualifiers, inout);
}

void hp_spell_type_of(const Dwarf_Die *holder, enum hp_spelling_mode mode, struct hp_spelling *ret_spelling)
{
	struct hp_type type;

	ret_spelling->text[0] = '\0';
	if (hp_type_of(holder, &type))
		spell(&type, mode, 0, ret_spelling);
}

void hp_spell_function(const Dwarf_Die *function, enum hp_spelling_mode mode, struct hp_spelling *ret_spelling)
{
	ret_spelling->text[0] = '\0';
	spell_function(function, mode, 0, ret_spelling);
}
