#include "make/marks.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hotpatch.h"
#include "make/select.h"
#include "types/array.h"

static const char *const names[] = {"HOTPATCH_PRE_APPLY", "HOTPATCH_POST_APPLY", "HOTPATCH_PRE_REVERT",
                                    "HOTPATCH_POST_REVERT", "HOTPATCH_MIGRATE"};

static const struct hp_ref *ref_at(const struct hp_atom *atom, size_t offset)
{
	for (size_t i = 0; i < atom->n_refs; i++)
		if (atom->refs[i].offset == offset)
			return &atom->refs[i];
	return NULL;
}

/* The function that a field names; HP_NO_ATOM where it holds NULL. */
static int take_function(const struct hp_atoms *atoms, const struct hp_atom *atom, size_t field, const char *what,
                         uint32_t *ret_function, struct hp_err *err)
{
	const struct hp_ref *ref = ref_at(atom, field);

	*ret_function = HP_NO_ATOM;
	if (!ref)
		return 0;
	if (ref->atom == HP_NO_ATOM || ref->at != 0 || atoms->items[ref->atom].kind != HP_ATOM_FUNCTION)
		return hp_err_set(err, HOTPATCH_EREFUSED,
		                  "%s in '%s' names '%s', which is no function of that file: define it there", what,
		                  atoms->unit, ref->atom == HP_NO_ATOM ? ref->name : atoms->items[ref->atom].name);
	*ret_function = ref->atom;
	return 0;
}

static bool is_new_or_differs(const struct hp_diff *diff, uint32_t function)
{
	return function != HP_NO_ATOM && (diff->old_of[function] == HP_NO_ATOM || diff->differs[function]);
}

/* Whether both marks name the same function in a field. */
static bool names_same(const struct hp_diff *diff, const struct hp_atom *old, const struct hp_atom *new, size_t field)
{
	const struct hp_ref *a = ref_at(old, field), *b = ref_at(new, field);
	if (!a || !b)
		return a == b;
	return b->atom != HP_NO_ATOM && diff->old_of[b->atom] == a->atom;
}

/* The line may be another one. */
static bool counts(const struct hp_diff *diff, uint32_t index, const struct hp_source_mark *mark)
{
	const struct hp_atom *atom = &diff->new_atoms->items[index], *old;

	if (diff->old_of[index] == HP_NO_ATOM || is_new_or_differs(diff, mark->function) ||
	    is_new_or_differs(diff, mark->back))
		return true;
	old = &diff->old_atoms->items[diff->old_of[index]];
	return !names_same(diff, old, atom, offsetof(struct hotpatch_mark, callback)) ||
	       !names_same(diff, old, atom, offsetof(struct hotpatch_mark, forward)) ||
	       !names_same(diff, old, atom, offsetof(struct hotpatch_mark, back));
}

static int read_mark(const struct hp_diff *diff, const struct hp_atom *atom, struct hp_source_mark *mark,
                     struct hp_err *err)
{
	const struct hp_atoms *atoms = diff->new_atoms;
	const struct hotpatch_mark *bytes = (const void *)hp_atom_bytes(atoms, atom);
	uint32_t kind = 0, callback;
	int r;

	if (bytes && atom->size == sizeof(*bytes)) {
		memcpy(&kind, &bytes->kind, sizeof(kind));
		memcpy(&mark->line, &bytes->line, sizeof(mark->line));
	}
	if (!bytes || atom->size != sizeof(*bytes) || kind > HP_MARK_MIGRATE ||
	    !memchr(bytes->type, 0, sizeof(bytes->type)))
		return hp_err_set(err, HOTPATCH_EREFUSED,
		                  "'%s' in '%s' was not made by this version of hotpatch.h: compile with that of this "
		                  "command",
		                  atom->name, atoms->unit);
	mark->kind = (enum hp_mark_kind)kind;
	mark->type = bytes->type;
	if ((r = take_function(atoms, atom, offsetof(struct hotpatch_mark, callback), names[kind], &callback, err)) <
	            0 ||
	    (r = take_function(atoms, atom, offsetof(struct hotpatch_mark, forward), names[kind], &mark->function,
	                       err)) < 0 ||
	    (r = take_function(atoms, atom, offsetof(struct hotpatch_mark, back), names[kind], &mark->back, err)) < 0)
		return r;
	if (kind != HP_MARK_MIGRATE)
		mark->function = callback;
	return mark->function != HP_NO_ATOM
	               ? 0
	               : hp_err_set(err, HOTPATCH_EREFUSED, "%s in '%s', line %u, names no function", names[kind],
	                            atoms->unit, mark->line);
}

static int compare_lines(const void *a, const void *b)
{
	uint32_t left = ((const struct hp_source_mark *)a)->line, right = ((const struct hp_source_mark *)b)->line;
	return left < right ? -1 : left > right;
}

int hp_marks_read(const struct hp_diff *diff, struct hp_source_marks *ret_marks, struct hp_err *err)
{
	const struct hp_atoms *atoms = diff->new_atoms;
	struct hp_source_marks marks = {0};
	int r = 0;

	for (uint32_t i = 0; i < atoms->count && r == 0; i++) {
		struct hp_source_mark mark = {.back = HP_NO_ATOM};
		if (atoms->items[i].kind != HP_ATOM_MARK)
			continue;
		r = read_mark(diff, &atoms->items[i], &mark, err);
		if (r < 0 || !counts(diff, i, &mark))
			continue;
		struct hp_source_mark *items = hp_array_grow(marks.items, marks.count, sizeof(*items));
		if (!items) {
			r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the marks of '%s'", atoms->unit);
			break;
		}
		marks.items = items;
		items[marks.count++] = mark;
	}
	if (marks.count)
		qsort(marks.items, marks.count, sizeof(*marks.items), compare_lines);
	if (r < 0)
		hp_marks_free(&marks);
	else
		*ret_marks = marks;
	return r;
}

void hp_marks_free(struct hp_source_marks *marks)
{
	free(marks->items);
	*marks = (struct hp_source_marks){0};
}

int hp_marks_collect(const struct hp_make_unit *units, size_t n_units, struct hp_make_options *options,
                     const char ***ret_names, struct hp_err *err)
{
	size_t count = 0, n = 0;

	for (size_t i = 0; i < n_units; i++)
		count += units[i].marks.count;
	*ret_names = calloc(count + 1, sizeof(**ret_names));
	if (!*ret_names)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the types that are migrated");
	for (size_t i = 0; i < n_units; i++)
		for (size_t k = 0; k < units[i].marks.count; k++)
			if (units[i].marks.items[k].kind == HP_MARK_MIGRATE)
				(*ret_names)[n++] = units[i].marks.items[k].type;
	options->migrated = (struct hp_allowed){*ret_names, n};
	return 0;
}
