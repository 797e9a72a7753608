#include "watch/part.h"

#include <stdlib.h>
#include <string.h>

#include "types/array.h"
#include "watch/depends.h"

/* -- Commands -------------------------------------------------------------------------------------------------- */

static bool begins(const char *word, const char *with)
{
	return strncmp(word, with, strlen(with)) == 0;
}

/* What the whole refuses, or does to every function, has to be seen before anything is applied. */
static bool is_telling(const char *word)
{
	static const char *const words[] = {"-Werror",   "-pedantic-errors", "-fsanitize",
	                                    "-fprofile", "--coverage",       "-fplugin",
	                                    "-fipa",     "-finline",         "-fwhole-program"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (begins(word, words[i]))
			return true;
	return *word == '@';
}

const char *hp_part_unfit(const struct hp_compile *compile)
{
	bool has_source = false;

	for (size_t i = 1; i < compile->n_words; i++) {
		const char *word = compile->words[i];
		has_source |= strcmp(word, compile->source) == 0;
		if (is_telling(word))
			return "an option of its command has to see all of it";
	}
	return has_source ? NULL : "its command does not name it";
}

bool hp_part_is_optimised(const struct hp_compile *compile)
{
	bool is_optimised = false;

	for (size_t i = 1; i < compile->n_words; i++)
		if (begins(compile->words[i], "-O"))
			is_optimised = strcmp(compile->words[i], "-O0") != 0;
	return is_optimised;
}

/* A variable that is written to only by what was left out is no constant, and two functions that happen to do the same
 * are two. */
static size_t add_options(char **words, size_t n)
{
	words[n++] = (char *)(uintptr_t) "-fno-ipa-reference-addressable";
	words[n++] = (char *)(uintptr_t) "-fno-ipa-icf";
	return n;
}

struct hp_compile *hp_part_compile(const struct hp_compile *compile, const char *text_path)
{
	struct hp_compile *made = malloc(sizeof(*made));
	char **words = calloc(compile->n_words + 5, sizeof(*words));
	size_t n = 0;

	if (!made || !words) {
		free(made);
		free(words);
		return NULL;
	}
	for (size_t i = 0; i < compile->n_words; i++) {
		bool is_source = i && strcmp(compile->words[i], compile->source) == 0;
		if (is_source) {
			words[n++] = (char *)(uintptr_t) "-x";
			words[n++] = (char *)(uintptr_t) "cpp-output";
		}
		words[n++] = is_source ? (char *)(uintptr_t)text_path : compile->words[i];
	}
	if (hp_part_is_optimised(compile))
		n = add_options(words, n);
	*made = *compile;
	made->words = words;
	made->n_words = n;
	return made;
}

void hp_part_compile_free(struct hp_compile *compile)
{
	free(compile->words);
	free(compile);
}

/* -- Texts ----------------------------------------------------------------------------------------------------- */

int hp_part_take_text(struct hp_part *part, char *text, size_t size, struct hp_err *err)
{
	hp_bodies_free(&part->now);
	int r = hp_bodies_read(text, size, &part->last, &part->now, err);
	part->has_now = r == 0;
	return r;
}

void hp_part_keep_text(struct hp_part *part, const struct hp_compile *compile)
{
	hp_bodies_free(&part->last);
	part->last = part->now;
	part->with = compile;
	part->now = (struct hp_bodies){0};
	part->has_now = false;
}

void hp_part_forget_text(struct hp_part *part)
{
	hp_bodies_free(&part->now);
	part->has_now = false;
}

bool hp_part_has_edit(const struct hp_part *part, const char *name)
{
	for (size_t i = 0; i < part->n_edits; i++)
		if (strcmp(part->edits[i], name) == 0)
			return true;
	return false;
}

static bool add_edit(struct hp_part *part, const char *name)
{
	if (hp_part_has_edit(part, name))
		return true;
	char **edits = hp_array_grow(part->edits, part->n_edits, sizeof(*edits));
	if (!edits)
		return false;
	part->edits = edits;
	edits[part->n_edits] = strdup(name);
	if (!edits[part->n_edits]) /* NOLINT(-Wanalyzer-malloc-leak): the part has it */
		return false;
	part->n_edits++;
	return true;
}

static bool add_body(struct hp_part *part, const struct hp_body *body)
{
	char *name = hp_body_name(&part->now, body);
	bool ok = name && add_edit(part, name);

	free(name);
	return ok;
}

/* What the last object has that the base has not, or has otherwise. */
static bool add_of_object(struct hp_part *part, const struct hp_diff *diff)
{
	const struct hp_atoms *atoms = diff->new_atoms;
	bool ok = true;

	for (uint32_t i = 0; i < atoms->count && ok; i++)
		if (atoms->items[i].kind == HP_ATOM_FUNCTION &&
		    (diff->old_of[i] == HP_NO_ATOM || hp_diff_is_changed(diff, i)))
			ok = add_edit(part, atoms->items[i].name);
	return ok;
}

/* -- Who has to be compiled with an edit ----------------------------------------------------------------------- */

static uint32_t find_function(const struct hp_atoms *atoms, const char *name)
{
	for (uint32_t i = 0; i < atoms->count; i++)
		if (atoms->items[i].kind == HP_ATOM_FUNCTION && strcmp(atoms->items[i].name, name) == 0)
			return i;
	return HP_NO_ATOM;
}

/* gcc aligns the stack for a call only as far as it has seen the callee to need it, at -O0 too (calls.cc, rtl_info).
 * One that calls into another file needs all there is, so that its callers do not depend on what it does. */
static bool is_independent(const struct hp_atom *atom)
{
	static const char *const helpers[] = {"__stack_chk", "__tls_", "__fentry__", "mcount", "_mcount", "__cyg_"};

	for (size_t i = 0; i < atom->n_refs; i++) {
		const struct hp_ref *ref = &atom->refs[i];
		bool is_helper = false;
		for (size_t k = 0; k < sizeof(helpers) / sizeof(helpers[0]) && ref->name; k++)
			is_helper |= begins(ref->name, helpers[k]);
		if (ref->atom == HP_NO_ATOM && ref->type == R_X86_64_PLT32 && ref->name && *ref->name && !is_helper)
			return true;
	}
	return false;
}

static bool refers_to(const struct hp_atom *atom, uint32_t to)
{
	for (size_t i = 0; i < atom->n_refs; i++)
		if (atom->refs[i].atom == to)
			return true;
	return false;
}

/* Callers of edits that depend on them are edits, too, and so on: the list grows while it is walked. */
static bool add_callers(struct hp_part *part, const struct hp_atoms *base)
{
	bool ok = true;

	for (size_t i = 0; i < part->n_edits && ok; i++) {
		uint32_t edit = find_function(base, part->edits[i]);
		if (edit == HP_NO_ATOM || is_independent(&base->items[edit]))
			continue;
		for (uint32_t k = 0; k < base->count && ok; k++)
			if (base->items[k].kind == HP_ATOM_FUNCTION && refers_to(&base->items[k], edit))
				ok = add_edit(part, base->items[k].name);
	}
	return ok;
}

/* What this text has otherwise than the last one. */
static bool add_of_text(struct hp_part *part, size_t *ret_n)
{
	bool ok = true;

	*ret_n = 0;
	for (size_t i = 0; i < part->now.n && ok; i++) {
		const struct hp_body *body = &part->now.v[i];
		if (body->hash == part->last.v[i].hash)
			continue;
		ok = add_body(part, body);
		*ret_n += 1;
	}
	return ok;
}

static char *stub_others(struct hp_part *part, const struct hp_atoms *base, size_t *ret_size)
{
	return add_callers(part, base) ? hp_bodies_reduce(&part->now, part->edits, part->n_edits, ret_size) : NULL;
}

/* What clang makes of a static function keeps its name and has other arguments, and what a static variable can be it
 * knows of all that write to it (DeadArgumentElimination, IPSCCP). */
static bool is_by_gcc(const struct hp_atoms *atoms)
{
	for (size_t i = 0; i < atoms->object->n_sections; i++) {
		const struct hp_object_section *section = &atoms->object->sections[i];
		if (strcmp(section->name, ".comment") == 0)
			return section->bytes && memmem(section->bytes, section->size, "GCC: (", 6) &&
			       !memmem(section->bytes, section->size, "clang", 5);
	}
	return false;
}

static char *declare_others(struct hp_part *part, const struct hp_atoms *base, size_t *ret_size)
{
	struct hp_depends depends;
	struct hp_err ignored;
	bool ok = true;

	if (!is_by_gcc(base)) {
		part->why = "it is compiled with optimisation, where clang's functions depend on each other";
		return NULL;
	}
	if (hp_depends_read(&part->now, part->edits, part->n_edits, base, &depends, &ignored) < 0)
		return NULL;
	for (size_t i = 0; i < part->now.n && ok && !depends.why; i++)
		if (depends.kept[i] >= HP_KEPT_EDIT)
			ok = add_body(part, &part->now.v[i]);
	if (depends.why)
		part->why = depends.why;
	char *text = ok && !depends.why ? hp_bodies_declare(&part->now, depends.kept, ret_size) : NULL;
	hp_depends_free(&depends);
	return text;
}

static void forget_edits(struct hp_part *part)
{
	for (size_t i = 0; i < part->n_edits; i++)
		free(part->edits[i]);
	free(part->edits);
	part->edits = NULL;
	part->n_edits = 0;
}

char *hp_part_reduce(struct hp_part *part, const struct hp_diff *diff, size_t *ret_size)
{
	size_t n = 0;

	part->why = hp_bodies_differ(&part->last, &part->now);
	if (part->why)
		return NULL;
	part->why = "memory was out";
	forget_edits(part);
	if (!add_of_object(part, diff) || !add_of_text(part, &n))
		return NULL;
	if (n == 0) {
		part->why = "no function's text changed";
		return NULL;
	}
	char *text = part->is_optimised ? declare_others(part, diff->old_atoms, ret_size)
	                                : stub_others(part, diff->old_atoms, ret_size);
	if (text)
		part->why = NULL;
	return text;
}

void hp_part_free(struct hp_part *part)
{
	hp_bodies_free(&part->last);
	hp_bodies_free(&part->now);
	forget_edits(part);
	free(part->object);
	*part = (struct hp_part){0};
}
