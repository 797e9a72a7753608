/* frames - what comes along with code: the unwind entries of what is packed, and the debug information of its units.
 */
#include "make/pack.h"

#include <stdlib.h>
#include <string.h>

#include "elf/unwind.h"
#include "types/array.h"

/* One section for all units: each CIE that is needed, once, and the entries of what is packed.
 */

struct frames {
	struct hp_packing *p;
	size_t unit;
	uint8_t *bytes;
	size_t size, room;
	uint64_t *packed; /* sorted: the entries of what is packed of the unit, as atoms have them */
	size_t n_packed;
	uint64_t last_cie, last_at; /* the CIE copied last, and where to; UINT64_MAX: none */
	struct hp_patch_reloc *relocs;
	size_t n_relocs;
};

static bool append_frames(struct frames *f, const uint8_t *bytes, size_t size)
{
	if (size > f->room - f->size) {
		size_t room = 2 * f->room + size + 256;
		uint8_t *grown = realloc(f->bytes, room);
		if (!grown)
			return false;
		f->bytes = grown;
		f->room = room;
	}
	if (size) /* NOLINTNEXTLINE(-Wanalyzer-null-argument): there is room for them, so there are bytes */
		memcpy(f->bytes + f->size, bytes, size);
	f->size += size;
	return true;
}

/* References of unwind entries: to code, exception tables and personality routines, always the packed ones. */
static int frame_symbol(struct frames *f, const struct hp_object_relocation *from, struct hp_patch_reloc *reloc)
{
	const struct hp_atoms *atoms = hp_packing_atoms(f->p, f->unit);
	const struct hp_object_symbol *symbol = &atoms->object->symbols[from->symbol];

	if (!symbol->section) {
		struct hp_ref ref = {.name = symbol->name, .atom = HP_NO_ATOM};
		reloc->symbol = hp_packing_name(f->p, &ref);
		return reloc->symbol ? 0 : hp_packing_no_memory(f->p);
	}
	int64_t offset = (int64_t)(symbol->value + (uint64_t)from->addend);
	for (uint32_t i = hp_atoms_first_in(atoms, symbol->section);
	     i < atoms->count && atoms->items[i].section == symbol->section; i++) {
		const struct hp_atom *atom = &atoms->items[i];
		if (!f->p->places[f->unit][i].symbol || offset < (int64_t)atom->offset ||
		    (uint64_t)offset >= atom->offset + atom->size)
			continue;
		reloc->symbol = f->p->places[f->unit][i].symbol;
		reloc->addend = offset - (int64_t)atom->offset;
		return 0;
	}
	return hp_err_set(f->p->err, HOTPATCH_EBUILD, "an unwind entry of '%s' refers to what is not packed",
	                  f->p->units[f->unit].source);
}

static int copy_record(struct frames *f, uint64_t offset, uint64_t size)
{
	const struct hp_atoms *atoms = hp_packing_atoms(f->p, f->unit);
	const struct hp_object_section *section = &atoms->object->sections[atoms->eh_frame];
	size_t at = f->size;
	int r = append_frames(f, section->bytes + offset, size) ? 0 : hp_packing_no_memory(f->p);

	size_t end = hp_object_reloc_at(section, offset + size);
	for (size_t i = hp_object_reloc_at(section, offset); i < end && r == 0; i++) {
		const struct hp_object_relocation *from = &section->relocs[i];
		struct hp_patch_reloc *relocs = hp_array_grow(f->relocs, f->n_relocs, sizeof(*relocs));
		if (!relocs)
			return hp_packing_no_memory(f->p);
		f->relocs = relocs;
		struct hp_patch_reloc *reloc = &relocs[f->n_relocs++];
		*reloc = (struct hp_patch_reloc){at + from->offset - offset, from->type, 0, from->addend};
		r = frame_symbol(f, from, reloc);
	}
	return r;
}

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static int find_packed(struct frames *f)
{
	const struct hp_atoms *atoms = hp_packing_atoms(f->p, f->unit);

	free(f->packed);
	f->n_packed = 0;
	f->packed = calloc(atoms->count + 1, sizeof(*f->packed));
	if (!f->packed)
		return hp_packing_no_memory(f->p);
	for (uint32_t i = 0; i < atoms->count; i++)
		if (f->p->units[f->unit].packed[i] && atoms->items[i].fde)
			f->packed[f->n_packed++] = atoms->items[i].fde;
	qsort(f->packed, f->n_packed, sizeof(*f->packed), compare_numbers);
	return 0;
}

static bool is_packed_fde(const struct frames *f, const struct hp_fde_record *fde)
{
	uint64_t key = fde->offset + 1;
	return bsearch(&key, f->packed, f->n_packed, sizeof(*f->packed), compare_numbers);
}

static int copy_fde(void *arg, const struct hp_fde_record *fde, struct hp_err *err)
{
	struct frames *f = arg;
	int r = 0;

	(void)err;
	if (!is_packed_fde(f, fde))
		return 0;
	if (f->last_cie != fde->cie) {
		f->last_at = f->size;
		f->last_cie = fde->cie;
		if ((r = copy_record(f, fde->cie, fde->cie_size)) < 0)
			return r;
	}
	size_t at = f->size;
	if ((r = copy_record(f, fde->offset, fde->size)) < 0)
		return r;
	uint32_t back = (uint32_t)(at + 4 - f->last_at);
	memcpy(f->bytes + at + 4, &back, sizeof(back));
	return 0;
}

/* The length 0 behind the last entry ends the table for __register_frame. */
int hp_packing_frames(struct hp_packing *p)
{
	struct frames f = {.p = p};
	int r = 0;

	for (; f.unit < p->n_units && r == 0; f.unit++) {
		const struct hp_atoms *atoms = hp_packing_atoms(p, f.unit);
		f.last_cie = UINT64_MAX;
		r = find_packed(&f);
		if (r == 0 && atoms->eh_frame)
			r = hp_unwind_each(atoms->object, atoms->eh_frame, copy_fde, &f, p->err);
	}
	if (r == 0 && f.size && !append_frames(&f, (const uint8_t[4]){0}, 4))
		r = hp_packing_no_memory(p);
	if (r == 0 && f.size) {
		uint32_t section =
			hp_patchwriter_section(p->writer, ".eh_frame", SHT_PROGBITS, SHF_ALLOC, 8, f.bytes, f.size);
		for (size_t i = 0; i < f.n_relocs; i++)
			hp_patchwriter_reloc(p->writer, section, &f.relocs[i]);
	}
	free(f.bytes);
	free(f.relocs);
	free(f.packed);
	return r;
}

/* -- Debug information -----------------------------------------------------------------------------------------
 *
 * As it is, also of what is not packed: addresses of that become 0 (or, in lists that 0 would end, 1), as a linker does
 * with what it drops. Sections of one name are one, since debuggers look for one.
 */

static bool is_debug(const struct hp_object_section *section)
{
	return strncmp(section->name, ".debug_", 7) == 0 && section->bytes && !(section->flags & SHF_ALLOC) &&
	       section->type == SHT_PROGBITS;
}

static const struct hp_object_section *debug_section(const struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_object *object = hp_packing_atoms(p, unit)->object;

	if (!p->units[unit].keep_debug || index >= object->n_sections || !is_debug(&object->sections[index]))
		return NULL;
	return &object->sections[index];
}

/* All sections called name, from this unit on, behind one another. */
static int place_name(struct hp_packing *p, size_t first_unit, const char *name)
{
	struct frames all = {.p = p};
	struct hp_packed_debug place = {0};
	bool ok = true;

	for (size_t unit = first_unit; unit < p->n_units && ok; unit++)
		for (uint32_t i = 1; i < hp_packing_atoms(p, unit)->object->n_sections && ok; i++) {
			const struct hp_object_section *section = debug_section(p, unit, i);
			if (section && strcmp(section->name, name) == 0)
				ok = append_frames(&all, section->bytes, section->size);
		}
	if (ok && all.size) {
		place.section = hp_patchwriter_section(p->writer, name, SHT_PROGBITS, 0, 1, all.bytes, all.size);
		place.symbol = hp_patchwriter_define(p->writer, name, place.section, 0, 0, STT_SECTION);
	}
	free(all.bytes);
	for (size_t unit = first_unit; unit < p->n_units && ok; unit++)
		for (uint32_t i = 1; i < hp_packing_atoms(p, unit)->object->n_sections; i++) {
			const struct hp_object_section *section = debug_section(p, unit, i);
			if (!section || strcmp(section->name, name) != 0)
				continue;
			p->debug[unit][i] = place;
			place.offset += section->size;
		}
	return ok ? 0 : hp_packing_no_memory(p);
}

int hp_packing_debug_place(struct hp_packing *p)
{
	int r = 0;

	for (size_t unit = 0; unit < p->n_units; unit++) {
		p->debug[unit] = calloc(hp_packing_atoms(p, unit)->object->n_sections, sizeof(**p->debug));
		if (!p->debug[unit]) /* NOLINT(-Wanalyzer-malloc-leak): free_packing frees what the packing has */
			return hp_packing_no_memory(p);
	}
	for (size_t unit = 0; unit < p->n_units; unit++)
		for (uint32_t i = 1; i < hp_packing_atoms(p, unit)->object->n_sections && r == 0; i++) {
			const struct hp_object_section *section = debug_section(p, unit, i);
			if (section && !p->debug[unit][i].symbol)
				r = place_name(p, unit, section->name);
		}
	return r;
}

/* The end of a function belongs to it here: ranges name it. */
static bool covers(const struct hp_atom *atom, int64_t offset)
{
	return offset >= (int64_t)atom->offset && (uint64_t)offset <= atom->offset + atom->size;
}

/* In a section that is packed as it is: what has no symbol has its distance from what has one. */
static bool find_beside(const struct hp_packing *p, size_t unit, uint32_t section, int64_t offset,
                        struct hp_patch_reloc *reloc)
{
	const struct hp_atoms *atoms = hp_packing_atoms(p, unit);
	uint32_t i = hp_atoms_first_in(atoms, section);

	while (p->whole[unit][section] && i < atoms->count && atoms->items[i].section == section &&
	       !p->places[unit][i].symbol)
		i++;
	if (!p->whole[unit][section] || i == atoms->count || atoms->items[i].section != section)
		return false;
	reloc->symbol = p->places[unit][i].symbol;
	reloc->addend = offset - (int64_t)atoms->items[i].offset;
	return true;
}

/* The packed copy, or what is live where the patch refers to it anyway; false: neither. */
static bool find_place(const struct hp_packing *p, size_t unit, uint32_t section, int64_t offset,
                       struct hp_patch_reloc *reloc)
{
	const struct hp_atoms *atoms = hp_packing_atoms(p, unit);

	for (uint32_t i = hp_atoms_first_in(atoms, section); i < atoms->count && atoms->items[i].section == section;
	     i++) {
		const struct hp_packed_place *place = &p->places[unit][i];
		if (!covers(&atoms->items[i], offset) || (!place->symbol && !place->binding))
			continue;
		reloc->symbol = place->symbol ? place->symbol : place->binding;
		reloc->addend = offset - (int64_t)atoms->items[i].offset;
		return true;
	}
	return find_beside(p, unit, section, offset, reloc);
}

static void relocate_debug(const struct hp_packing *p, size_t unit, uint32_t index,
                           const struct hp_object_relocation *from)
{
	const struct hp_object *object = hp_packing_atoms(p, unit)->object;
	const struct hp_object_symbol *symbol = &object->symbols[from->symbol];
	const struct hp_packed_debug *in = &p->debug[unit][index];
	struct hp_patch_reloc reloc = {.offset = in->offset + from->offset, .type = from->type};
	int64_t offset = (int64_t)(symbol->value + (uint64_t)from->addend);
	const char *name = object->sections[index].name;

	if (!symbol->section) {
		reloc.symbol = hp_packing_known_name(p, symbol->name);
		reloc.addend = reloc.symbol ? from->addend : 0;
	} else if (symbol->section < object->n_sections && p->debug[unit][symbol->section].symbol) {
		reloc.symbol = p->debug[unit][symbol->section].symbol;
		reloc.addend = offset + (int64_t)p->debug[unit][symbol->section].offset;
	} else if (symbol->section >= object->n_sections || !find_place(p, unit, symbol->section, offset, &reloc)) {
		reloc.addend = strcmp(name, ".debug_ranges") == 0 || strcmp(name, ".debug_loc") == 0;
	}
	hp_patchwriter_reloc(p->writer, in->section, &reloc);
}

void hp_packing_debug_relocate(struct hp_packing *p)
{
	for (size_t unit = 0; unit < p->n_units; unit++)
		for (uint32_t i = 1; i < hp_packing_atoms(p, unit)->object->n_sections; i++) {
			const struct hp_object_section *section = debug_section(p, unit, i);
			for (size_t k = 0; section && k < section->n_relocs; k++)
				relocate_debug(p, unit, i, &section->relocs[k]);
		}
}
