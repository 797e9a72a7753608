#include "make/pack.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/field.h"
#include "types/array.h"
#include "make/spoken.h"

/* Something of the program that the patch refers to, or something global that it brings. */
struct named {
	const char *name;
	uint32_t symbol;
};

static int compare_named(const void *a, const void *b)
{
	const struct named *first = a, *second = b;
	return strcmp(first->name, second->name);
}

/* The one of that name in a tree; made with symbol 0 where there is none. */
static struct named *find_named(void **tree, const char *name)
{
	struct named key = {.name = name}, **found = tfind(&key, tree, compare_named);

	if (found)
		return *found;
	struct named *made = malloc(sizeof(*made));
	if (!made)
		return NULL;
	*made = key;
	if (tsearch(made, tree, compare_named))
		return made;
	free(made);
	return NULL;
}

/* -- First round: sections and symbols ------------------------------------------------------------------------- */

static uint64_t flags_of(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	if (atom->section >= atoms->object->n_sections)
		return SHF_ALLOC | SHF_WRITE;
	return atoms->object->sections[atom->section].flags & (SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR);
}

/* A common variable's value is its alignment (ELF, "Symbol Values"). */
static uint64_t align_of(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	if (atom->section >= atoms->object->n_sections)
		return atoms->object->symbols[atom->offset].value;
	uint64_t align = atoms->object->sections[atom->section].align;
	while (atom->offset & (align - 1))
		align /= 2;
	return align;
}

static const char *section_name(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	return atom->section < atoms->object->n_sections ? atoms->object->sections[atom->section].name : ".bss";
}

static uint32_t add_section(const struct hp_packing *p, const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	const uint8_t *bytes = hp_atom_bytes(atoms, atom);

	return hp_patchwriter_section(p->writer, section_name(atoms, atom), bytes ? SHT_PROGBITS : SHT_NOBITS,
	                              flags_of(atoms, atom), align_of(atoms, atom), bytes, atom->size);
}

static void place_section(const struct hp_packing *p, size_t unit, const struct hp_atom *atom,
                          struct hp_packed_place *place)
{
	const struct hp_atoms *atoms = hp_packing_atoms(p, unit);
	bool is_whole = atom->section < atoms->object->n_sections && p->units[unit].whole[atom->section];

	if (!is_whole) {
		place->section = add_section(p, atoms, atom);
		return;
	}
	const struct hp_object_section *section = &atoms->object->sections[atom->section];
	if (!p->whole[unit][atom->section])
		p->whole[unit][atom->section] =
			hp_patchwriter_section(p->writer, section->name, section->bytes ? SHT_PROGBITS : SHT_NOBITS,
		                               flags_of(atoms, atom), section->align, section->bytes, section->size);
	place->section = p->whole[unit][atom->section];
	place->offset = atom->offset;
}

static uint8_t symbol_type(const struct hp_atom *atom)
{
	return atom->kind == HP_ATOM_FUNCTION || atom->kind == HP_ATOM_PART ? STT_FUNC : STT_OBJECT;
}

/* The strings of a file that stand beside the one that is meant have no use for one, and may be thousands. */
static bool needs_symbol(const struct hp_atom *atom, const struct hp_packed_place *place)
{
	return place->is_used || atom->kind != HP_ATOM_PIECE || *atom->name;
}

static int place_atom(struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_atom *atom = &hp_packing_atoms(p, unit)->items[index];
	struct hp_packed_place *place = &p->places[unit][index];
	char name[32];

	place_section(p, unit, atom, place);
	if (!needs_symbol(atom, place))
		return 0;
	snprintf(name, sizeof(name), ".const.%u", index);
	place->symbol = hp_patchwriter_define(p->writer, *atom->name ? atom->name : name, place->section, place->offset,
	                                      atom->size, symbol_type(atom));
	bool is_new = p->units[unit].diff->old_of[index] == HP_NO_ATOM;
	if (!atom->is_global || !is_new || atom->is_generated)
		return 0;
	struct named *global = find_named(&p->globals, atom->name);
	if (!global)
		return hp_packing_no_memory(p);
	global->symbol = global->symbol ? global->symbol : place->symbol;
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the tree has it */
}

static void mark_used(const struct hp_packing *p, size_t unit)
{
	const struct hp_atoms *atoms = hp_packing_atoms(p, unit);

	for (uint32_t i = 0; i < atoms->count; i++)
		for (size_t k = 0; p->units[unit].packed[i] && k < atoms->items[i].n_refs; k++)
			if (atoms->items[i].refs[k].atom != HP_NO_ATOM)
				p->places[unit][atoms->items[i].refs[k].atom].is_used = true;
}

static int place_unit(struct hp_packing *p, size_t unit)
{
	const struct hp_atoms *atoms = hp_packing_atoms(p, unit);
	int r = 0;

	p->places[unit] = calloc(atoms->count + 1, sizeof(**p->places));
	p->whole[unit] = calloc(atoms->object->n_sections, sizeof(**p->whole));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): free_packing frees what the packing has */
	if (!p->places[unit] || !p->whole[unit])
		return hp_packing_no_memory(p); /* NOLINT(-Wanalyzer-malloc-leak): as above */
	mark_used(p, unit);
	for (uint32_t i = 0; i < atoms->count && r == 0; i++)
		if (p->units[unit].packed[i])
			r = place_atom(p, unit, i);
	return r;
}

/* -- Bindings -------------------------------------------------------------------------------------------------- */

static uint32_t add_binding(struct hp_packing *p, struct hp_packed_binding binding)
{
	static const uint8_t types[] = {STT_NOTYPE, STT_FUNC, STT_OBJECT, STT_TLS, STT_FUNC};
	struct hp_packed_binding *bindings = hp_array_grow(p->bindings, p->n_bindings, sizeof(*bindings));

	if (!bindings)
		return 0;
	binding.symbol =
		hp_patchwriter_undefined(p->writer, binding.name, types[binding.kind], binding.flags & HP_BINDING_WEAK);
	p->bindings = bindings;
	bindings[p->n_bindings++] = binding;
	return binding.symbol;
}

enum hp_patch_kind hp_packing_kind(const struct hp_atom *atom)
{
	switch (atom->kind) {
	case HP_ATOM_FUNCTION:
		return HP_PATCH_FUNCTION;
	case HP_ATOM_IFUNC:
		return HP_PATCH_IFUNC;
	default:
		return atom->is_thread_local ? HP_PATCH_THREAD_LOCAL : HP_PATCH_VARIABLE;
	}
}

/* Of a live atom, whose name is the old object's. */
static uint32_t bind_atom(struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_diff *diff = p->units[unit].diff;
	const struct hp_atom *old = &diff->old_atoms->items[diff->old_of[index]];
	struct hp_packed_place *place = &p->places[unit][index];
	struct named *global = old->is_global ? find_named(&p->bound, old->name) : NULL;

	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the tree has what global is */
	if (place->binding || (old->is_global && !global))
		return place->binding;
	if (global && global->symbol)
		return place->binding = global->symbol;
	place->binding = add_binding(p, (struct hp_packed_binding){
						.unit = old->is_global ? HP_NO_UNIT : (uint32_t)unit,
						.kind = hp_packing_kind(old),
						.flags = old->kind == HP_ATOM_CONSTANT ? HP_BINDING_CONSTANT : 0,
						.name = old->name,
						.scope = old->scope,
						.size = old->size,
						.contents = p->contents[unit][index].hash,
					});
	if (global) /* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the tree has it */
		global->symbol = place->binding;
	return place->binding;
}

static bool is_tls_type(uint32_t type)
{
	const char *name = hp_field_name(type);
	return name && (strstr(name, "TPOFF") || strstr(name, "TLS") || strstr(name, "DTPMOD"));
}

uint32_t hp_packing_known_name(const struct hp_packing *p, const char *name)
{
	struct named key = {.name = name}, **found = tfind(&key, &p->globals, compare_named);

	if (!found)
		found = tfind(&key, &p->bound, compare_named);
	return found ? (*found)->symbol : 0;
}

/* Of what another file has: new in the patch, or in the program. _GLOBAL_OFFSET_TABLE_ too is whoever links' to know.
 */
uint32_t hp_packing_name(struct hp_packing *p, const struct hp_ref *ref)
{
	struct named key = {.name = ref->name}, **global = tfind(&key, &p->globals, compare_named);

	if (global)
		return (*global)->symbol;
	struct named *bound = find_named(&p->bound, ref->name);
	if (!bound || bound->symbol)
		return bound ? bound->symbol : 0;
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the tree has it */
	return bound->symbol =
	               add_binding(p, (struct hp_packed_binding){
					      .unit = HP_NO_UNIT,
					      .kind = is_tls_type(ref->type) ? HP_PATCH_THREAD_LOCAL : HP_PATCH_UNKNOWN,
					      .flags = ref->is_weak ? HP_BINDING_WEAK : 0,
					      .name = ref->name,
					      .scope = ref->name,
				      });
}

/* -- Second round: relocations --------------------------------------------------------------------------------- */

static int symbol_of(struct hp_packing *p, size_t unit, const struct hp_atom *from, const struct hp_ref *ref,
                     uint32_t *ret_symbol)
{
	const struct hp_make_unit *u = &p->units[unit];

	if (ref->atom == HP_NO_ATOM && !*ref->name)
		*ret_symbol = 0; /* an absolute address */
	else if (ref->atom == HP_NO_ATOM)
		*ret_symbol = hp_packing_name(p, ref);
	else if (hp_ref_is_own(u, from, ref))
		*ret_symbol = p->places[unit][ref->atom].symbol;
	else if (hp_diff_is_live(u->diff, ref->atom))
		*ret_symbol = bind_atom(p, unit, ref->atom);
	else
		return hp_err_set(p->err, HOTPATCH_EBUILD, "%s in '%s' is referred to and not packed",
		                  hp_atom_describe(u->diff->new_atoms, &u->diff->new_atoms->items[ref->atom]).text,
		                  u->source);
	if (!*ret_symbol && (ref->atom != HP_NO_ATOM || *ref->name))
		return hp_packing_no_memory(p);
	if (ref->atom != HP_NO_ATOM && ref->at != 0 && !hp_ref_is_own(u, from, ref) &&
	    u->diff->new_atoms->items[ref->atom].kind == HP_ATOM_FUNCTION)
		return hp_err_set(p->err, HOTPATCH_EREFUSED,
		                  "%s of '%s' refers to the middle of %s, which is not in the patch",
		                  hp_atom_describe(u->diff->new_atoms, from).text, u->source,
		                  hp_atom_describe(u->diff->new_atoms, &u->diff->new_atoms->items[ref->atom]).text);
	return 0;
}

static int write_reloc(struct hp_packing *p, size_t unit, const struct hp_atom *from, const struct hp_ref *ref,
                       uint32_t section, uint64_t offset)
{
	struct hp_patch_reloc reloc = {.offset = offset, .type = ref->type, .addend = ref->at - ref->tail};
	int r = symbol_of(p, unit, from, ref, &reloc.symbol);

	if (r == 0)
		hp_patchwriter_reloc(p->writer, section, &reloc);
	return r;
}

static int write_relocs(struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_atom *atom = &hp_packing_atoms(p, unit)->items[index];
	const struct hp_packed_place *place = &p->places[unit][index];
	int r = 0;

	for (size_t i = 0; i < atom->n_refs && r == 0; i++)
		if (atom->refs[i].offset != HP_REF_OUTSIDE)
			r = write_reloc(p, unit, atom, &atom->refs[i], place->section,
			                place->offset + atom->refs[i].offset);
	return r;
}

/* A live variable that is packed is packed for its new initial value. */
bool hp_packing_is_reinit(const struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_make_unit *u = &p->units[unit];
	return u->packed[index] && u->diff->differs[index] && hp_diff_is_live(u->diff, index) &&
	       u->diff->new_atoms->items[index].kind == HP_ATOM_VARIABLE;
}

/* -- The file -------------------------------------------------------------------------------------------------- */

/* A new initial value needs the variable bound, whether code refers to it or not. */
static int bind_reinits(struct hp_packing *p, size_t unit)
{
	for (uint32_t i = 0; i < hp_packing_atoms(p, unit)->count; i++)
		if (hp_packing_is_reinit(p, unit, i) && !bind_atom(p, unit, i))
			return hp_packing_no_memory(p);
	return 0;
}

static int pack_units(struct hp_packing *p, const struct hp_findings *findings)
{
	int r = 0;

	for (size_t unit = 0; unit < p->n_units && r == 0; unit++) {
		r = place_unit(p, unit);
		p->contents[unit] = hp_contents_read(p->units[unit].diff);
		if (r == 0 && !p->contents[unit])
			r = hp_packing_no_memory(p);
	}
	if (r == 0)
		r = hp_packing_debug_place(p);
	for (size_t unit = 0; unit < p->n_units && r == 0; unit++) {
		r = bind_reinits(p, unit);
		for (uint32_t i = 0; i < hp_packing_atoms(p, unit)->count && r == 0; i++)
			if (p->units[unit].packed[i])
				r = write_relocs(p, unit, i);
	}
	if (r == 0)
		r = hp_packing_frames(p);
	if (r == 0)
		hp_packing_debug_relocate(p);
	return r < 0 ? r : hp_packing_notes(p, findings);
}

static void free_packing(struct hp_packing *p)
{
	for (size_t i = 0; i < p->n_units; i++) {
		free(p->places ? p->places[i] : NULL);
		free(p->whole ? p->whole[i] : NULL);
		free(p->contents ? p->contents[i] : NULL);
		free(p->debug ? p->debug[i] : NULL);
	}
	free(p->places);
	free(p->whole);
	free(p->contents);
	free(p->debug);
	free(p->bindings);
	tdestroy(p->globals, free);
	tdestroy(p->bound, free);
	hp_patchwriter_free(p->writer);
}

int hp_pack(struct hp_make_unit *units, size_t n_units, const struct hp_make_options *options,
            const struct hp_findings *findings, uint8_t **ret_bytes, size_t *ret_size, struct hp_err *err)
{
	struct hp_packing p = {
		.units = units,
		.n_units = n_units,
		.options = options,
		.writer = hp_patchwriter_new(),
		.places = calloc(n_units, sizeof(struct hp_packed_place *)),
		.whole = calloc(n_units, sizeof(*p.whole)),
		.contents = calloc(n_units, sizeof(struct hp_contents *)),
		.debug = calloc(n_units, sizeof(struct hp_packed_debug *)),
		.err = err,
	};
	int r = HOTPATCH_ENOMEM;

	if (!p.writer || !p.places || !p.whole || !p.contents || !p.debug)
		hp_packing_no_memory(&p);
	else if ((r = pack_units(&p, findings)) == 0)
		r = hp_patchwriter_finish(p.writer, ret_bytes, ret_size, err);
	free_packing(&p);
	return r;
}
