#include "make/refs.h"

#include <stdlib.h>

#include "elf/field.h"
#include "elf/unwind.h"
#include "types/array.h"

static int no_memory(const struct hp_atoms *atoms, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to take '%s' apart", atoms->object->name);
}

/* -- What atoms hold -------------------------------------------------------------------------------------------- */

/* The atom that a reference to this place means: a section with one atom is that, even for references before or behind
 * it (an array's end). */
static const struct hp_atom *atom_at(const struct hp_atoms *atoms, uint32_t section, int64_t offset)
{
	const struct hp_atom *atom = hp_atoms_find(atoms, section, offset < 0 ? 0 : (uint64_t)offset);

	if (!atom && offset < (int64_t)atoms->object->sections[section].size)
		atom = hp_atoms_find(atoms, section, UINT64_MAX);
	return atom;
}

static void fill_ref(struct hp_atoms *atoms, const struct hp_target *target, const struct hp_object_relocation *reloc,
                     struct hp_ref *ref)
{
	const struct hp_object_symbol *symbol = &atoms->object->symbols[reloc->symbol];
	const struct hp_atom *atom = NULL;

	ref->type = reloc->type;
	ref->addend = reloc->addend;
	ref->tail = target->tail;
	ref->atom = atoms->of_symbol[reloc->symbol];
	if (ref->atom != HP_NO_ATOM) {
		ref->at = reloc->addend + target->tail;
		/* Another name of the place, or one inside of it. */
		if (symbol->section < atoms->object->n_sections)
			ref->at += (int64_t)(symbol->value - atoms->items[ref->atom].offset);
		return;
	}
	if (!target->section) {
		ref->name = symbol->section == HP_SECTION_ABSOLUTE ? "" : symbol->name;
		ref->is_weak = symbol->bind == STB_WEAK;
		ref->at = reloc->addend + target->tail;
		return;
	}
	atom = atom_at(atoms, target->section, target->offset);
	if (atom) {
		ref->atom = (uint32_t)(atom - atoms->items);
		ref->at = target->offset - (int64_t)atom->offset;
	}
}

/* Labels of a function and nothing else, in a static table: it may be written to, and yet nothing can be kept in it but
 * what leads into this very code. A single one is a state, whose value is to be kept. */
static bool is_label_table(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	struct hp_field field;

	if (atom->kind != HP_ATOM_VARIABLE || !*atom->name || atom->is_global || atom->is_thread_local ||
	    atom->n_refs < 2 || atom->n_refs * sizeof(uint64_t) != atom->size)
		return false;
	for (size_t i = 0; i < atom->n_refs; i++) {
		const struct hp_ref *ref = &atom->refs[i];
		if (ref->atom == HP_NO_ATOM || atoms->items[ref->atom].kind > HP_ATOM_PART || ref->at == 0 ||
		    !hp_field_of(ref->type, &field) || field.is_relative)
			return false;
	}
	return true;
}

static void find_label_tables(struct hp_atoms *atoms)
{
	for (size_t i = 0; i < atoms->count; i++)
		if ((atoms->items[i].is_labels = is_label_table(atoms, &atoms->items[i])))
			atoms->items[i].kind = HP_ATOM_CONSTANT;
}

/* Of a reference that leads to no atom the name is told. */
static int check_ref(const struct hp_atoms *atoms, const struct hp_ref *ref, uint32_t section,
                     const struct hp_object_relocation *reloc, struct hp_err *err)
{
	if (ref->atom != HP_NO_ATOM || ref->name)
		return 0;
	return hp_err_set(err, HOTPATCH_EBUILD,
	                  "cannot tell what the relocation at %#llx of section '%s' in '%s' refers to",
	                  (unsigned long long)reloc->offset, atoms->object->sections[section].name,
	                  atoms->object->name);
}

static struct hp_ref *append_ref(struct hp_atom *atom)
{
	struct hp_ref *refs = hp_array_grow(atom->refs, atom->n_refs, sizeof(*refs));

	if (!refs)
		return NULL;
	atom->refs = refs;
	refs[atom->n_refs] = (struct hp_ref){.atom = HP_NO_ATOM};
	return &refs[atom->n_refs++];
}

static int add_refs(struct hp_atoms *atoms, const struct hp_targets *targets, struct hp_err *err)
{
	for (size_t i = 0; i < targets->count; i++) {
		const struct hp_target *target = &targets->items[i];
		const struct hp_atom *found = hp_atoms_find(atoms, target->from, target->reloc->offset);
		if (!found || target->from == atoms->eh_frame)
			continue;
		struct hp_atom *atom = &atoms->items[found - atoms->items];
		struct hp_ref *ref = append_ref(atom);
		if (!ref)
			return no_memory(atoms, err);
		ref->offset = target->reloc->offset - atom->offset;
		fill_ref(atoms, target, target->reloc, ref);
		int r = check_ref(atoms, ref, target->from, target->reloc, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- Unwind entries: which one is of which function, and its exception table ------------------------------------ */

/* What is referred to from .eh_frame for the atom's sake: by a reference that is not in its bytes. */
static int note_outside(struct hp_atoms *atoms, struct hp_atom *atom, const struct hp_object_relocation *reloc,
                        struct hp_err *err)
{
	struct hp_target target = hp_target_of(atoms->object, reloc);
	struct hp_ref *ref = append_ref(atom); /* NOLINT(-Wanalyzer-malloc-leak): the atom has it */

	if (!ref)
		return no_memory(atoms, err);
	ref->offset = HP_REF_OUTSIDE;
	fill_ref(atoms, &target, reloc, ref);
	return check_ref(atoms, ref, atoms->eh_frame, reloc, err);
}

static int note_fde(void *arg, const struct hp_fde_record *fde, struct hp_err *err)
{
	struct hp_atoms *atoms = arg;
	const struct hp_object_section *section = &atoms->object->sections[atoms->eh_frame];
	const struct hp_target begin = hp_target_of(atoms->object, fde->begin);
	const struct hp_atom *found = begin.section ? atom_at(atoms, begin.section, begin.offset) : NULL;
	int r = 0;

	if (!found)
		return 0;
	struct hp_atom *atom = &atoms->items[found - atoms->items];
	atom->fde = fde->offset + 1;
	if (fde->lsda)
		r = note_outside(atoms, atom, fde->lsda, err);
	size_t end = hp_object_reloc_at(section, fde->cie + fde->cie_size);
	for (size_t i = hp_object_reloc_at(section, fde->cie); i < end && r == 0; i++) /* the personality routine */
		r = note_outside(atoms, atom, &section->relocs[i], err);
	return r;
}

int hp_refs_read(struct hp_atoms *atoms, const struct hp_targets *targets, struct hp_err *err)
{
	int r = add_refs(atoms, targets, err);

	if (r < 0)
		return r;
	find_label_tables(atoms);
	return atoms->eh_frame ? hp_unwind_each(atoms->object, atoms->eh_frame, note_fde, atoms, err) : 0;
}
