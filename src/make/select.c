#include "make/select.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "types/array.h"
#include "make/spoken.h"

/* -- Findings -------------------------------------------------------------------------------------------------- */

int hp_findings_add(struct hp_findings *findings, enum hp_finding_kind kind, const char *unit, const char *name,
                    struct hp_err *err, const char *format, ...)
{
	struct hp_finding *items = hp_array_grow(findings->items, findings->count, sizeof(*items));
	char *sentence = NULL, *copy = strdup(name);
	va_list args;

	va_start(args, format);
	if (vasprintf(&sentence, format, args) < 0)
		sentence = NULL;
	va_end(args);
	if (items)
		findings->items = items;
	if (!items || !sentence || !copy) {
		free(sentence);
		free(copy);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to say what was found");
	}
	items[findings->count++] = (struct hp_finding){kind, unit, copy, sentence};
	/* cppcheck-suppress memleak; the finding has the copy */
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the finding has the copy */
}

void hp_findings_free(struct hp_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++) {
		free(findings->items[i].name);
		free(findings->items[i].sentence);
	}
	free(findings->items);
	*findings = (struct hp_findings){0};
}

/* -- Packing what is referred to -------------------------------------------------------------------------------- */

struct selection {
	struct hp_make_unit *unit;
	const struct hp_make_options *options;
	uint32_t *stack; /* packed atoms whose references were not followed yet */
	size_t n_stack;
	struct hp_err *err;
};

static const struct hp_atom *atom_of(const struct selection *s, uint32_t index)
{
	return &s->unit->diff->new_atoms->items[index];
}

/* What has a name and a section of its own can be taken out of it. Code is taken with what lies before its entry. */
static bool is_whole(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	if (atom->section >= atoms->object->n_sections)
		return false;
	uint64_t flags = atoms->object->sections[atom->section].flags;
	return flags & SHF_EXECINSTR || (!(flags & SHF_MERGE) && !*atom->name);
}

static int check_packable(const struct selection *s, const struct hp_atom *atom)
{
	const struct hp_atoms *atoms = s->unit->diff->new_atoms;
	const struct hp_object_section *section =
		atom->section < atoms->object->n_sections ? &atoms->object->sections[atom->section] : NULL;

	if (section && section->flags & SHF_EXECINSTR && hp_atoms_functions_in(atoms, atom->section) > 1)
		return hp_err_set(s->err, HOTPATCH_EREFUSED,
		                  "%s in '%s' shares its section '%s' with other functions and cannot be taken out: "
		                  "compile with -ffunction-sections, or do not give it a section",
		                  hp_atom_describe(atoms, atom).text, s->unit->source, section->name);
	if (atom->kind == HP_ATOM_VARIABLE && !*atom->name)
		return hp_err_set(s->err, HOTPATCH_EREFUSED,
		                  "code in '%s' refers to data in '%s' that has no name and may be written to: "
		                  "compile with -fdata-sections",
		                  s->unit->source, section ? section->name : "");
	return 0;
}

static int pack_one(struct selection *s, uint32_t index)
{
	if (s->unit->packed[index])
		return 0;
	int r = check_packable(s, atom_of(s, index));
	if (r < 0)
		return r;
	s->unit->packed[index] = true;
	s->stack[s->n_stack++] = index;
	return 0;
}

/* With an atom of a section that is packed as it is go all others of it, which stand beside it. */
static int pack(struct selection *s, uint32_t index)
{
	const struct hp_atoms *atoms = s->unit->diff->new_atoms;
	const struct hp_atom *atom = atom_of(s, index);
	int r = 0;

	if (!is_whole(atoms, atom))
		return pack_one(s, index);
	if (s->unit->whole[atom->section])
		return 0;
	s->unit->whole[atom->section] = true;
	while (index && atoms->items[index - 1].section == atom->section)
		index--;
	for (; index < atoms->count && atoms->items[index].section == atom->section && r == 0; index++)
		r = pack_one(s, index);
	return r;
}

/* Offsets in a jump table are distances from the table, so 0 says nothing there. */
bool hp_ref_is_own(const struct hp_make_unit *unit, const struct hp_atom *from, const struct hp_ref *ref)
{
	const struct hp_atom *atom;

	if (ref->atom == HP_NO_ATOM || !unit->packed[ref->atom])
		return false;
	atom = &unit->diff->new_atoms->items[ref->atom];
	if (atom->kind != HP_ATOM_FUNCTION || unit->diff->old_of[ref->atom] == HP_NO_ATOM)
		return !hp_diff_is_live(unit->diff, ref->atom);
	return ref->at != 0 || ref->offset == HP_REF_OUTSIDE ||
	       (from->kind == HP_ATOM_PIECE && ref->type == R_X86_64_PC32);
}

static int follow(struct selection *s, uint32_t index)
{
	const struct hp_atom *atom = atom_of(s, index);
	int r = 0;

	for (size_t i = 0; i < atom->n_refs && r == 0; i++) {
		const struct hp_ref *ref = &atom->refs[i];
		if (ref->atom != HP_NO_ATOM && !hp_diff_is_live(s->unit->diff, ref->atom))
			r = pack(s, ref->atom);
	}
	return r;
}

static bool is_root(const struct selection *s, uint32_t index)
{
	const struct hp_diff *diff = s->unit->diff;
	const struct hp_atom *atom = atom_of(s, index);

	if (hp_diff_is_changed(diff, index))
		return true;
	if (diff->old_of[index] == HP_NO_ATOM)
		return hp_atom_is_named(atom) && atom->is_global && !atom->is_generated;
	return diff->differs[index] && atom->kind == HP_ATOM_VARIABLE && hp_is_reinit(s->options, atom);
}

/* Also one that the program has: what runs is the patch's own copy. */
static int pack_marked(struct selection *s, const struct hp_source_mark *mark)
{
	int r = pack(s, mark->function);
	return r == 0 && mark->back != HP_NO_ATOM ? pack(s, mark->back) : r;
}

static int pack_all(struct selection *s)
{
	const struct hp_atoms *atoms = s->unit->diff->new_atoms;
	int r = 0;

	for (uint32_t i = 0; i < atoms->count && r == 0; i++)
		if (is_root(s, i))
			r = pack(s, i);
	for (size_t i = 0; i < s->unit->marks.count && r == 0; i++)
		r = pack_marked(s, &s->unit->marks.items[i]);
	while (s->n_stack && r == 0)
		r = follow(s, s->stack[--s->n_stack]);
	return r;
}

/* -- Saying it ------------------------------------------------------------------------------------------------- */

bool hp_is_called(const char *scope, const char *name)
{
	const char *slash = strrchr(scope, '/');

	return strcmp(scope, name) == 0 || (slash && strcmp(slash + 1, name) == 0);
}

bool hp_is_reinit(const struct hp_make_options *options, const struct hp_atom *atom)
{
	for (size_t i = 0; i < options->n_reinit; i++)
		if (hp_is_called(atom->scope, options->reinit[i]))
			return true;
	return false;
}

static int say_changed(const struct selection *s, uint32_t index, struct hp_findings *findings)
{
	const struct hp_diff *diff = s->unit->diff;
	const struct hp_atom *atom = atom_of(s, index);
	uint32_t because = diff->because[index];

	if (because == HP_NO_ATOM)
		return hp_findings_add(findings, HP_FOUND_CHANGED, s->unit->source, atom->name, s->err,
		                       "function '%s' changed", atom->name);
	return hp_findings_add(findings, HP_FOUND_CHANGED, s->unit->source, atom->name, s->err,
	                       "function '%s' changed: it refers to %s, which changed", atom->name,
	                       hp_atom_describe(diff->new_atoms, atom_of(s, because)).text);
}

static int say_variable(const struct selection *s, const struct hp_atom *atom, struct hp_findings *findings)
{
	if (hp_is_reinit(s->options, atom))
		return hp_findings_add(findings, HP_FOUND_REINIT, s->unit->source, atom->scope, s->err,
		                       "variable '%s' gets its new initial value", atom->scope);
	return hp_findings_add(
		findings, HP_FOUND_KEPT, s->unit->source, atom->scope, s->err,
		"the initialiser of '%s' changed, its live value is kept (--reinit %s applies the new one)",
		atom->scope, atom->scope);
}

/* That labels moved with the code is nothing to tell; but one may have counted on the table's being a variable. */
static int say_labels(const struct selection *s, const struct hp_atom *atom, struct hp_findings *findings)
{
	if (!atom->is_labels)
		return 0;
	return hp_findings_add(findings, HP_FOUND_CONSTANT, s->unit->source, atom->scope, s->err,
	                       "'%s' holds labels, and is not const: the new code has a new one, with its initialiser",
	                       atom->scope);
}

static int say_constant(const struct selection *s, uint32_t index, struct hp_findings *findings)
{
	const struct hp_atom *atom = atom_of(s, index);

	if (atom->is_labels || s->unit->diff->is_moved[index])
		return say_labels(s, atom, findings);
	if (!atom->is_global)
		return hp_findings_add(
			findings, HP_FOUND_CONSTANT, s->unit->source, atom->scope, s->err,
			"constant '%s' changed: what refers to it uses the new one; addresses of the old one "
			"that were stored stay",
			atom->scope);
	return hp_findings_add(
		findings, HP_FOUND_SHARED, s->unit->source, atom->name, s->err,
		"constant '%s' changed and is global: the functions of '%s' use the new one, other files "
		"keep the old one",
		atom->name, s->unit->source);
}

static int say_new(const struct selection *s, uint32_t index, struct hp_findings *findings)
{
	const struct hp_atom *atom = atom_of(s, index);

	if (!s->unit->packed[index] || (s->unit->diff->has_copies && !atom->is_global))
		return 0;
	if (atom->kind == HP_ATOM_FUNCTION)
		return hp_findings_add(findings, HP_FOUND_NEW_FUNCTION, s->unit->source, atom->name, s->err,
		                       "function '%s' is new", atom->name);
	if (atom->kind == HP_ATOM_VARIABLE)
		return hp_findings_add(findings, HP_FOUND_NEW_VARIABLE, s->unit->source, atom->scope, s->err,
		                       "variable '%s' is new, with its initialiser", atom->scope);
	return 0;
}

static int say_one(const struct selection *s, uint32_t index, struct hp_findings *findings)
{
	const struct hp_diff *diff = s->unit->diff;
	const struct hp_atom *atom = atom_of(s, index);

	if (!hp_atom_is_named(atom))
		return 0;
	if (diff->old_of[index] == HP_NO_ATOM || (atom->kind == HP_ATOM_VARIABLE && !hp_diff_is_live(diff, index)))
		return say_new(s, index, findings);
	if (!diff->differs[index])
		return 0;
	if (atom->kind == HP_ATOM_FUNCTION)
		return say_changed(s, index, findings);
	if (atom->kind == HP_ATOM_CONSTANT)
		return say_constant(s, index, findings);
	return atom->kind == HP_ATOM_VARIABLE ? say_variable(s, atom, findings) : 0;
}

static int say_removed(const struct selection *s, struct hp_findings *findings)
{
	const struct hp_diff *diff = s->unit->diff;
	int r = 0;

	for (uint32_t i = 0; i < diff->old_atoms->count && r == 0 && !diff->is_partial; i++) {
		const struct hp_atom *atom = &diff->old_atoms->items[i];
		if (atom->kind == HP_ATOM_FUNCTION && diff->new_of[i] == HP_NO_ATOM)
			r = hp_findings_add(
				findings, HP_FOUND_REMOVED, s->unit->source, atom->name, s->err,
				"function '%s' has no code of its own any more (removed, or put into its callers); "
				"it stays for old code",
				atom->name);
	}
	return r;
}

static int say_mark(const struct selection *s, const struct hp_source_mark *mark, struct hp_findings *findings)
{
	static const char *const when[] = {"before the patch is applied", "after it was applied",
	                                   "before it is reverted", "after it was reverted"};
	const struct hp_atom *function = atom_of(s, mark->function);

	if (mark->kind != HP_MARK_MIGRATE)
		return hp_findings_add(findings, HP_FOUND_CALLBACK, s->unit->source, function->name, s->err,
		                       "'%s' runs %s", function->name, when[mark->kind]);
	return hp_findings_add(findings, HP_FOUND_CALLBACK, s->unit->source, function->name, s->err,
	                       "'%s' gives live '%s' their new layout; %s%s", function->name, mark->type,
	                       mark->back == HP_NO_ATOM ? "the patch cannot be reverted, as no function gives the old "
	                                                  "one back"
	                                                : "back by ",
	                       mark->back == HP_NO_ATOM ? "" : atom_of(s, mark->back)->name);
}

int hp_select(struct hp_make_unit *unit, const struct hp_make_options *options, struct hp_findings *findings,
              struct hp_err *err)
{
	const struct hp_atoms *atoms = unit->diff->new_atoms;
	struct selection s = {.unit = unit, .options = options, .err = err};

	unit->packed = calloc(atoms->count + 1, sizeof(*unit->packed));
	unit->whole = calloc(atoms->object->n_sections, sizeof(*unit->whole));
	s.stack = calloc(atoms->count + 1, sizeof(*s.stack));
	if (!unit->packed || !unit->whole || !s.stack) {
		free(s.stack);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to choose what to pack");
	}
	int r = hp_marks_read(unit->diff, &unit->marks, err);
	if (r == 0)
		r = pack_all(&s);
	for (uint32_t i = 0; i < atoms->count && r == 0; i++)
		r = say_one(&s, i, findings);
	if (r == 0)
		r = say_removed(&s, findings);
	for (size_t i = 0; i < unit->marks.count && r == 0; i++)
		r = say_mark(&s, &unit->marks.items[i], findings);
	free(s.stack);
	return r;
}
