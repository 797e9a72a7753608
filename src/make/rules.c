#include "make/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "make/callers.h"
#include "types/objdwarf.h"
#include "make/spoken.h"

struct check {
	const struct hp_make_unit *unit;
	const struct hp_make_options *options;
	struct hp_findings *findings;
	struct hp_err *err;
	struct hp_allowed allowed; /* layouts that may differ, for either reason */
	const char **names;        /* its own */
};

static const struct hp_atom *new_atom(const struct check *c, uint32_t index)
{
	return &c->unit->diff->new_atoms->items[index];
}

/* NULL: it is new. */
static const struct hp_atom *old_atom(const struct check *c, uint32_t index)
{
	uint32_t old = c->unit->diff->old_of[index];
	return old == HP_NO_ATOM ? NULL : &c->unit->diff->old_atoms->items[old];
}

/* -- Variables ------------------------------------------------------------------------------------------------- */

static int check_new_variable(const struct check *c, const struct hp_atom *atom)
{
	if (!atom->is_thread_local)
		return 0;
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"'%s' in '%s' is a new thread-local variable: the threads that run have no room for it; use an "
		"ordinary variable, or pthread_getspecific",
		atom->scope, c->unit->source);
}

/* Not what it is, but what the compiler made of it when nobody used the rest. */
static bool is_reduced(const struct hp_atom *atom)
{
	return atom->variable && atom->variable->is_partial;
}

static int check_size(const struct check *c, const struct hp_atom *old, const struct hp_atom *new)
{
	if (old->size == new->size && old->is_thread_local == new->is_thread_local &&is_reduced(old) == is_reduced(new))
		return 0;
	if (old->is_thread_local != new->is_thread_local)
		return hp_err_set(
			c->err, HOTPATCH_EREFUSED,
			"variable '%s' in '%s' is thread-local only in the %s source: its live value has another "
			"place; give the new one another name",
			new->scope, c->unit->source, new->is_thread_local ? "new" : "old");
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"variable '%s' in '%s' has %llu bytes in the new source, the live one has %llu: it cannot grow or "
		"shrink in its place; give the new one another name",
		new->scope, c->unit->source, (unsigned long long)new->size, (unsigned long long)old->size);
}

static int check_variable_type(const struct check *c, const struct hp_atom *old, const struct hp_atom *new)
{
	const struct hp_diff *diff = c->unit->diff;
	struct hp_err found;

	if (!old->variable || !new->variable)
		return 0;
	int r = hp_compare_variables(diff->old_atoms->info, &old->variable->die, diff->new_atoms->info,
	                             &new->variable->die, &c->allowed, &found);
	if (r == HOTPATCH_ETYPE)
		return hp_err_set(c->err, HOTPATCH_ETYPE,
		                  "%s; the live one in '%s' keeps its bytes: give the new one another name", found.text,
		                  c->unit->source);
	return r == HOTPATCH_ENOMEM ? hp_err_set(c->err, r, "%s", found.text) : 0;
}

/* What lies inside of a function that changed: NULL where there is none. */
static const struct hp_atom *changed_inside(const struct check *c, const struct hp_ref *ref, bool is_old)
{
	const struct hp_diff *diff = c->unit->diff;
	const struct hp_atoms *atoms = is_old ? diff->old_atoms : diff->new_atoms;

	if (ref->atom == HP_NO_ATOM || ref->at == 0 || atoms->items[ref->atom].kind != HP_ATOM_FUNCTION)
		return NULL;
	uint32_t function = is_old ? diff->new_of[ref->atom] : ref->atom;
	return function != HP_NO_ATOM && hp_diff_is_changed(diff, function) ? &diff->new_atoms->items[function] : NULL;
}

/* The live value is kept, and leads into the old code, where the new code would go on with another frame. A new initial
 * value is no way out: it stays when the patch is reverted. */
static int check_labels(const struct check *c, const struct hp_atom *atom, bool is_old)
{
	for (size_t i = 0; i < atom->n_refs; i++) {
		const struct hp_atom *function = changed_inside(c, &atom->refs[i], is_old);
		if (function)
			return hp_err_set(
				c->err, HOTPATCH_EREFUSED,
				"variable '%s' in '%s' holds a label of '%s', which changed: its live value leads into "
				"the old code; make it const, or leave the function as it is",
				atom->scope, c->unit->source, function->name);
	}
	return 0;
}

static int check_variable(const struct check *c, uint32_t index)
{
	const struct hp_atom *new = new_atom(c, index), *old = old_atom(c, index);

	if (!old)
		return check_new_variable(c, new);
	if (old->kind != HP_ATOM_VARIABLE)
		return 0;
	int r = check_size(c, old, new);
	if (r == 0 && new->kind == HP_ATOM_VARIABLE) /* else nobody writes to the live one any more */
		r = check_variable_type(c, old, new);
	if (r == 0)
		r = check_labels(c, old, true);
	return r < 0 ? r : check_labels(c, new, false);
}

/* -- Functions ------------------------------------------------------------------------------------------------- */

static int check_ifunc(const struct check *c, uint32_t index)
{
	const struct hp_atom *new = new_atom(c, index), *old = old_atom(c, index);

	if (old && old->kind == HP_ATOM_IFUNC && !c->unit->diff->differs[index])
		return 0;
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"'%s' in '%s' is %s IFUNC: the dynamic linker has asked its resolver already and will not ask "
		"again; change the functions it chooses from",
		new->name, c->unit->source, old ? "a changed" : "a new");
}

static bool is_called_from(const struct hp_atom *atom, uint32_t callee)
{
	for (size_t i = 0; i < atom->n_refs; i++)
		if (atom->refs[i].atom == callee && atom->refs[i].offset != HP_REF_OUTSIDE && atom->refs[i].at == 0)
			return true;
	return false;
}

/* A function of this unit, or a constant or variable, that refers to it and is not in the patch. */
static const struct hp_atom *find_other_caller(const struct check *c, uint32_t callee)
{
	const struct hp_atoms *atoms = c->unit->diff->new_atoms;

	for (uint32_t i = 0; i < atoms->count; i++)
		if (i != callee && !c->unit->packed[i] && is_called_from(&atoms->items[i], callee))
			return &atoms->items[i];
	return NULL;
}

/* What says so is the difference, what is added is who would be wrong. */
static int refuse_signature(const struct check *c, uint32_t index, const struct hp_err *found)
{
	const struct hp_atom *atom = new_atom(c, index), *caller = find_other_caller(c, index);

	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"the type of '%s' in '%s' changed (%s), and %s refers to it and is not in the patch; change all "
		"that call it together",
		atom->name, c->unit->source, found->text,
		caller ? hp_atom_describe(c->unit->diff->new_atoms, caller).text : "something");
}

/* Who else calls it is seen in the linked program alone. */
static int check_global(const struct check *c, const struct hp_atom *atom, const struct hp_err *found)
{
	struct hp_err why;
	int r = hp_callers_check(c->options, atom->name, &why);

	if (r == HOTPATCH_EREFUSED)
		return hp_err_set(c->err, r,
		                  "the type of '%s' in '%s' changed (%s), and %s; change all that call it together, or "
		                  "keep its type and add a function with the new one",
		                  atom->name, c->unit->source, found->text, why.text);
	if (r < 0)
		return hp_err_set(c->err, r, "%s", why.text);
	return hp_findings_add(c->findings, HP_FOUND_SIGNATURE, c->unit->source, atom->name, c->err,
	                       "the type of '%s' changed (%s): all that refer to it were compiled anew", atom->name,
	                       found->text);
}

static int check_signature(const struct check *c, uint32_t index)
{
	const struct hp_diff *diff = c->unit->diff;
	const struct hp_atom *new = new_atom(c, index), *old = old_atom(c, index);
	struct hp_err found;

	if (!old || !diff->old_atoms->info || !diff->new_atoms->info)
		return 0;
	struct hp_typed a = {diff->old_atoms->info, hp_objdwarf_address(old->section, old->offset), old->name,
	                     !old->is_global};
	struct hp_typed b = {diff->new_atoms->info, hp_objdwarf_address(new->section, new->offset), new->name,
	                     !new->is_global};
	int r = hp_compare_functions_but(&a, &b, &c->allowed, &found);
	if (r == HOTPATCH_ENOMEM)
		return hp_err_set(c->err, r, "%s", found.text);
	if (r == HOTPATCH_ETYPE && new->is_global)
		return check_global(c, new, &found);
	if (r != HOTPATCH_ETYPE)
		return 0;
	if (find_other_caller(c, index))
		return refuse_signature(c, index, &found);
	return hp_findings_add(c->findings, HP_FOUND_SIGNATURE, c->unit->source, new->name, c->err,
	                       "the type of '%s' changed (%s), with all that refer to it", new->name, found.text);
}

/* -- Constructors ---------------------------------------------------------------------------------------------- */

static const struct {
	const char *section, *what, *when;
} tables[] = {
	{".init_array", "constructor", "the program has started already"},
	{".preinit_array", "constructor", "the program has started already"},
	{".ctors", "constructor", "the program has started already"},
	{".fini_array", "destructor", "what the program runs when it ends was fixed when it started"},
	{".dtors", "destructor", "what the program runs when it ends was fixed when it started"},
};

static size_t table_of(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	size_t i = 0;

	for (; i < sizeof(tables) / sizeof(tables[0]); i++)
		if (atom->section < atoms->object->n_sections &&
		    strncmp(atoms->object->sections[atom->section].name, tables[i].section,
		            strlen(tables[i].section)) == 0)
			break;
	return i;
}

/* Whether a function of that name stands in a table of that kind. */
static bool is_listed(const struct hp_object *object, const char *table, const char *function,
                      const struct hp_atoms *atoms)
{
	for (size_t i = 1; i < object->n_sections; i++) {
		const struct hp_object_section *section = &object->sections[i];
		if (strncmp(section->name, table, strlen(table)) != 0 || section->type == SHT_RELA)
			continue;
		for (size_t k = 0; k < section->n_relocs; k++) {
			uint32_t symbol = section->relocs[k].symbol;
			for (size_t n = 0; n < atoms->count; n++)
				if (strcmp(atoms->items[n].name, function) == 0 &&
				    object->symbols[symbol].section == atoms->items[n].section)
					return true;
		}
	}
	return false;
}

static int check_table(const struct check *c, const struct hp_object_section *section, size_t table)
{
	const struct hp_diff *diff = c->unit->diff;
	const struct hp_atoms *atoms = diff->new_atoms;

	for (size_t k = 0; k < section->n_relocs; k++) {
		uint32_t in = atoms->object->symbols[section->relocs[k].symbol].section;
		for (size_t n = 0; n < atoms->count; n++) {
			const struct hp_atom *atom = &atoms->items[n];
			if (atom->section != in || atom->kind != HP_ATOM_FUNCTION ||
			    is_listed(diff->old_atoms->object, tables[table].section, atom->name, diff->old_atoms))
				continue;
			return hp_err_set(c->err, HOTPATCH_EREFUSED,
			                  "'%s' in '%s' is a new %s: %s; call it from a function that is in the patch",
			                  atom->name, c->unit->source, tables[table].what, tables[table].when);
		}
	}
	return 0;
}

static int check_tables(const struct check *c)
{
	const struct hp_atoms *atoms = c->unit->diff->new_atoms;

	for (uint32_t i = 1; i < atoms->object->n_sections; i++) {
		struct hp_atom place = {.section = i};
		size_t table = table_of(atoms, &place);
		if (table == sizeof(tables) / sizeof(tables[0]) || !(atoms->object->sections[i].flags & SHF_ALLOC))
			continue;
		int r = check_table(c, &atoms->object->sections[i], table);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- Layouts --------------------------------------------------------------------------------------------------- */

static int check_layouts(const struct check *c)
{
	const struct hp_diff *diff = c->unit->diff;
	struct hp_err found;

	if (!diff->old_atoms->info || !diff->new_atoms->info)
		return 0;
	int r = hp_compare_layouts(diff->old_atoms->info, diff->new_atoms->info, &c->allowed, &found);
	if (r != HOTPATCH_ETYPE)
		return r == HOTPATCH_ENOMEM ? hp_err_set(c->err, r, "%s", found.text) : 0;
	return hp_err_set(
		c->err, HOTPATCH_EREFUSED,
		"%s, in '%s': objects that live have the old layout; keep it and put new fields elsewhere "
		"(hotpatch_shadow_attach), write a HOTPATCH_MIGRATE for it, or say --allow-layout NAME where no such "
		"object lives on",
		found.text, c->unit->source);
}

/* The first layout that differs but for the others that may; `name`: which of the command's it is, or "". */
static int say_different(const struct check *c, const struct hp_allowed *others, enum hp_finding_kind kind,
                         const char *name, const char *why)
{
	struct hp_err found;
	const struct hp_diff *diff = c->unit->diff;

	if (hp_compare_layouts(diff->old_atoms->info, diff->new_atoms->info, others, &found) != HOTPATCH_ETYPE)
		return 0;
	return hp_findings_add(c->findings, kind, c->unit->source, name, c->err, "%s; %s", found.text, why);
}

/* Each of the command's names by itself: with all others allowed, what differs is what it allows. c->allowed has the
 * command's names first. */
static int say_allowed(struct check *c)
{
	const struct hp_allowed *asked = &c->options->allowed;
	int r = 0;

	if (!c->unit->diff->old_atoms->info || !c->unit->diff->new_atoms->info)
		return 0;
	for (size_t i = 0; i < asked->count && r == 0; i++) {
		const char **name = &c->names[i], *kept = *name;
		*name = "";
		r = say_different(c, &c->allowed, HP_FOUND_ALLOWED, kept, "allowed by --allow-layout");
		*name = kept;
	}
	if (r == 0 && c->options->migrated.count)
		r = say_different(c, asked, HP_FOUND_MIGRATED, "", "HOTPATCH_MIGRATE gives it to live objects");
	return r;
}

/* -- All of them ----------------------------------------------------------------------------------------------- */

static int check_atom(const struct check *c, uint32_t index)
{
	const struct hp_atom *atom = new_atom(c, index);

	if (!hp_atom_is_named(atom))
		return 0;
	switch (atom->kind) {
	case HP_ATOM_VARIABLE:
	case HP_ATOM_CONSTANT:
		return check_variable(c, index);
	case HP_ATOM_IFUNC:
		return check_ifunc(c, index);
	case HP_ATOM_FUNCTION:
		return check_signature(c, index);
	default:
		return 0;
	}
}

static int check_all(struct check *c)
{
	int r = check_layouts(c);

	if (r == 0)
		r = check_tables(c);
	for (uint32_t i = 0; i < c->unit->diff->new_atoms->count && r == 0; i++)
		r = check_atom(c, i);
	return r < 0 ? r : say_allowed(c);
}

int hp_rules_check(const struct hp_make_unit *unit, const struct hp_make_options *options, struct hp_findings *findings,
                   struct hp_err *err)
{
	struct check c = {unit, options, findings, err, {0}, NULL};
	const struct hp_allowed *a = &options->allowed, *b = &options->migrated;
	const char **names = calloc(a->count + b->count + 1, sizeof(*names));
	int r = HOTPATCH_ENOMEM;

	if (!names)
		return hp_err_set(err, r, "no memory to check '%s'", unit->source);
	for (size_t i = 0; i < a->count + b->count; i++)
		names[i] = i < a->count ? a->names[i] : b->names[i - a->count];
	c.allowed = (struct hp_allowed){names, a->count + b->count};
	c.names = names;
	r = check_all(&c);
	free(names);
	return r;
}
