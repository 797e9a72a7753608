#include "make/atoms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/field.h"
#include "make/generated.h"
#include "make/refs.h"
#include "make/targets.h"
#include "types/array.h"
#include "types/objdwarf.h"

static int no_memory(const struct hp_atoms *atoms, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to take '%s' apart", atoms->object->name);
}

/* -- Named atoms: one for each place that has a symbol ---------------------------------------------------------- */

static enum hp_atom_kind kind_of(const struct hp_object *object, const struct hp_object_symbol *symbol)
{
	const struct hp_object_section *section =
		symbol->section < object->n_sections ? &object->sections[symbol->section] : NULL;

	if (symbol->type == STT_GNU_IFUNC)
		return HP_ATOM_IFUNC;
	if (section && section->flags & SHF_EXECINSTR)
		return symbol->bind == STB_LOCAL && hp_is_part_name(symbol->name) ? HP_ATOM_PART : HP_ATOM_FUNCTION;
	if (symbol->type == STT_TLS || !section)
		return HP_ATOM_VARIABLE;
	if (strcmp(section->name, "hotpatch_marks") == 0)
		return HP_ATOM_MARK;
	if (hp_is_generated_name(symbol->name))
		return HP_ATOM_PIECE;
	/* Constants that hold addresses are written to by the dynamic linker only. */
	bool is_written = section->flags & SHF_WRITE && strncmp(section->name, ".data.rel.ro", 12) != 0;
	return is_written ? HP_ATOM_VARIABLE : HP_ATOM_CONSTANT;
}

/* Strings and constants that are merged are pieces by their offset, whatever labels they have. */
static bool has_atom(const struct hp_object *object, const struct hp_object_symbol *symbol)
{
	if (symbol->section == HP_SECTION_COMMON)
		return true;
	if (!symbol->section || symbol->section >= object->n_sections || symbol->type == STT_SECTION ||
	    symbol->type == STT_FILE)
		return false;
	const struct hp_object_section *section = &object->sections[symbol->section];
	if (!(section->flags & SHF_ALLOC) || section->flags & SHF_MERGE)
		return false;
	return symbol->type != STT_NOTYPE || symbol->bind != STB_LOCAL || section->flags & SHF_EXECINSTR;
}

static int add_atom(struct hp_atoms *atoms, const struct hp_atom *atom, struct hp_err *err)
{
	struct hp_atom *items = hp_array_grow(atoms->items, atoms->count, sizeof(*items));

	if (!items)
		return no_memory(atoms, err);
	atoms->items = items;
	items[atoms->count++] = *atom;
	return 0;
}

static int add_symbols(struct hp_atoms *atoms, struct hp_err *err)
{
	const struct hp_object *object = atoms->object;
	int r = 0;

	for (size_t i = 1; i < object->n_symbols && r == 0; i++) {
		const struct hp_object_symbol *symbol = &object->symbols[i];
		if (symbol->type == STT_FILE && !*atoms->unit)
			atoms->unit = symbol->name;
		if (!has_atom(object, symbol))
			continue;
		bool is_common = symbol->section == HP_SECTION_COMMON;
		r = add_atom(atoms,
		             &(struct hp_atom){
				     .kind = kind_of(object, symbol),
				     .name = symbol->name,
				     .section = symbol->section,
				     .offset = is_common ? i : symbol->value,
				     .size = symbol->size,
				     .is_global = symbol->bind != STB_LOCAL,
				     .is_weak = symbol->bind == STB_WEAK,
				     .is_thread_local = symbol->type == STT_TLS,
				     .is_generated = hp_is_generated_name(symbol->name),
			     },
		             err);
	}
	return r;
}

/* Of several names of one place the global one first, then one with a size. */
static int compare_atoms(const void *a, const void *b)
{
	const struct hp_atom *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->is_global != y->is_global)
		return y->is_global - x->is_global;
	if (!x->size != !y->size)
		return !x->size - !y->size;
	return strcmp(x->name, y->name);
}

static void index_sections(struct hp_atoms *atoms)
{
	uint32_t atom = 0;

	for (uint32_t section = 0; section <= atoms->object->n_sections; section++) {
		while (atom < atoms->count && atoms->items[atom].section < section)
			atom++;
		atoms->first[section] = atom;
	}
}

static void sort_atoms(struct hp_atoms *atoms)
{
	size_t kept = 0;

	if (atoms->count)
		qsort(atoms->items, atoms->count, sizeof(*atoms->items), compare_atoms);
	for (size_t i = 0; i < atoms->count; i++) {
		struct hp_atom *atom = &atoms->items[i], *last = kept ? &atoms->items[kept - 1] : NULL;
		if (last && last->section == atom->section && last->offset == atom->offset)
			continue;
		atoms->items[kept++] = *atom;
	}
	atoms->count = kept;
	index_sections(atoms);
}

/* -- Pieces: what is referred to and has no symbol -------------------------------------------------------------- */

static uint64_t end_of_string(const struct hp_object_section *section, uint64_t offset)
{
	uint64_t unit = section->entsize ? section->entsize : 1;
	static const uint8_t zeroes[8];

	for (uint64_t at = offset; at + unit <= section->size; at += unit)
		if (unit <= sizeof(zeroes) && memcmp(section->bytes + at, zeroes, unit) == 0)
			return at + unit;
	return section->size;
}

/* A piece of a section that is not merged reaches to the next atom; filled in when all are there. */
static int add_piece(struct hp_atoms *atoms, uint32_t index, uint64_t offset, struct hp_err *err)
{
	const struct hp_object_section *section = &atoms->object->sections[index];
	struct hp_atom piece = {.kind = HP_ATOM_PIECE,
	                        .name = "",
	                        .section = index,
	                        .offset = offset,
	                        .is_generated = true};
	bool is_string = section->flags & SHF_STRINGS && section->bytes;

	if (section->flags & SHF_EXECINSTR)
		piece.kind = HP_ATOM_PART;
	else if (section->flags & SHF_WRITE && strncmp(section->name, ".data.rel.ro", 12) != 0 &&
	         !hp_is_generated_section(section->name))
		piece.kind = HP_ATOM_VARIABLE;
	if (section->flags & SHF_MERGE && section->entsize && !is_string)
		piece.offset -= offset % section->entsize;
	if (section->flags & SHF_MERGE) {
		uint64_t left = section->size - piece.offset;
		piece.size = is_string ? end_of_string(section, offset) - offset : section->entsize;
		piece.size = piece.size > left ? left : piece.size;
	}
	return add_atom(atoms, &piece, err);
}

static bool is_alone(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	return (atom == atoms->items || atom[-1].section != atom->section) &&
	       (atom + 1 == atoms->items + atoms->count || atom[1].section != atom->section);
}

/* What is not covered by a symbol with a size. Parts of one constant are referred to in the middle, too (a vector at a
 * time): those are told from its begin by their alignment, and at worst two pieces are taken for one. */
static bool needs_piece(const struct hp_atoms *atoms, const struct hp_target *target)
{
	const struct hp_object_section *section = &atoms->object->sections[target->section];
	const struct hp_atom *atom = hp_atoms_find(atoms, target->section, (uint64_t)target->offset);

	if (target->offset < 0 || (uint64_t)target->offset > section->size || !(section->flags & SHF_ALLOC))
		return false;
	if (section->flags & SHF_MERGE)
		return (uint64_t)target->offset < section->size;
	if (atom && (uint64_t)target->offset - atom->offset < atom->size)
		return false;
	if (atom && (uint64_t)target->offset == section->size)
		return false;
	if (atom && is_alone(atoms, atom) && atom->size && *atom->name)
		return false;
	if (section->flags & SHF_EXECINSTR) /* assembler code without .type; a prefix of NOPs is no piece */
		return !hp_atoms_find(atoms, target->section, UINT64_MAX);
	return !atom || target->offset % 16 == 0 || *atom->name;
}

static int compare_targets(const void *a, const void *b)
{
	const struct hp_target *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* One for each place, though many may refer to it. */
static int add_pieces(struct hp_atoms *atoms, const struct hp_targets *targets, struct hp_err *err)
{
	struct hp_target *places = calloc(targets->count + 1, sizeof(*places));
	size_t n = 0;
	int r = places ? 0 : no_memory(atoms, err);

	for (size_t i = 0; places && i < targets->count; i++)
		if (targets->items[i].section && needs_piece(atoms, &targets->items[i]))
			places[n++] = targets->items[i];
	if (n)
		qsort(places, n, sizeof(*places), compare_targets);
	for (size_t i = 0; i < n && r == 0; i++)
		if (!i || compare_targets(&places[i - 1], &places[i]) != 0)
			r = add_piece(atoms, places[i].section, (uint64_t)places[i].offset, err);
	free(places);
	if (r == 0)
		sort_atoms(atoms);
	return r;
}

/* Everything in a section belongs to some atom: what has no size of its own reaches to the next. The bytes before the
 * first function (a prefix of NOPs) and the gaps between are padding. */
static void fill_sizes(struct hp_atoms *atoms)
{
	for (size_t i = 0; i < atoms->count; i++) {
		struct hp_atom *atom = &atoms->items[i];
		const struct hp_atom *next = i + 1 < atoms->count ? atom + 1 : NULL;
		if (atom->size || atom->section == HP_SECTION_COMMON)
			continue;
		uint64_t end = atoms->object->sections[atom->section].size;
		if (next && next->section == atom->section)
			end = next->offset;
		if (end > atom->offset)
			atom->size = end - atom->offset;
	}
}

/* Tables of distances, of labels in code (jump tables) or of strings (clang): an entry is relative to the begin of its
 * table, its relocation to the entry itself, and the addend makes up for that. */
static int64_t table_tail(const struct hp_atoms *atoms, const struct hp_target *target, uint64_t in_table)
{
	const struct hp_object_symbol *symbol = &atoms->object->symbols[target->reloc->symbol];
	int64_t distance = (int64_t)in_table, addend = target->reloc->addend;
	bool is_whole = symbol->type == STT_SECTION ? addend >= distance : addend == distance;

	return is_whole ? -distance : 0; /* else the entry is relative to itself: assembler code */
}

static void adjust_tables(const struct hp_atoms *atoms, const struct hp_targets *targets)
{
	struct hp_field field;

	for (size_t i = 0; i < targets->count; i++) {
		struct hp_target *target = &targets->items[i];
		const struct hp_object_section *from = &atoms->object->sections[target->from];
		const struct hp_atom *atom = hp_atoms_find(atoms, target->from, target->reloc->offset);
		if (from->flags & SHF_EXECINSTR || target->from == atoms->eh_frame || target->tail || !atom ||
		    !target->section || !hp_field_of(target->reloc->type, &field) || !field.is_relative)
			continue;
		target->tail = table_tail(atoms, target, target->reloc->offset - atom->offset);
		target->offset += target->tail;
	}
}

static void map_symbols(struct hp_atoms *atoms)
{
	for (size_t i = 0; i < atoms->object->n_symbols; i++) {
		const struct hp_object_symbol *symbol = &atoms->object->symbols[i];
		const struct hp_atom *atom = NULL;
		if (symbol->section == HP_SECTION_COMMON)
			atom = hp_atoms_find(atoms, HP_SECTION_COMMON, i);
		else if (has_atom(atoms->object, symbol))
			atom = hp_atoms_find(atoms, symbol->section, symbol->value);
		atoms->of_symbol[i] = atom ? (uint32_t)(atom - atoms->items) : HP_NO_ATOM;
	}
}

/* -- Scopes ---------------------------------------------------------------------------------------------------- */

static void name_scope(struct hp_atoms *atoms, struct hp_atom *atom)
{
	if (atom->section != HP_SECTION_COMMON)
		atom->variable = hp_statics_at(&atoms->statics, hp_objdwarf_address(atom->section, atom->offset),
		                               atom->is_thread_local);
	atom->scope = atom->name;
	if (!atom->variable || atom->is_global)
		return;
	atom->scope = atom->variable->scope;
	if (*atom->scope == '/' && (atom->own_scope = hp_static_complete(atom->scope, atom->name)))
		atom->scope = atom->own_scope;
}

static int read_scopes(struct hp_atoms *atoms, const char *path, struct hp_err *err)
{
	int r = hp_debuginfo_open_object(path, &atoms->info, err);

	if (r == HOTPATCH_ENOTYPE && !atoms->info)
		r = 0; /* without -g: symbols have to do */
	else if (r == 0)
		r = hp_statics_read(atoms->info, &atoms->statics, err);
	for (size_t i = 0; i < atoms->count && r == 0; i++)
		name_scope(atoms, &atoms->items[i]);
	return r;
}

/* -- The object ------------------------------------------------------------------------------------------------ */

static int check_object(const struct hp_object *object, struct hp_err *err)
{
	for (size_t i = 0; i < object->n_sections; i++)
		if (strncmp(object->sections[i].name, ".gnu.lto_", 9) == 0)
			return hp_err_set(err, HOTPATCH_EREFUSED,
			                  "'%s' is compiled for link-time optimisation (-flto): what its functions "
			                  "become is decided when the program is linked; build the program without "
			                  "-flto to patch it",
			                  object->name);
	return 0;
}

static uint32_t find_eh_frame(const struct hp_object *object)
{
	for (uint32_t i = 1; i < object->n_sections; i++)
		if (strcmp(object->sections[i].name, ".eh_frame") == 0)
			return i;
	return 0;
}

static int read_parts(struct hp_atoms *atoms, const struct hp_targets *targets, struct hp_err *err)
{
	int r;

	adjust_tables(atoms, targets);
	if ((r = add_pieces(atoms, targets, err)) < 0)
		return r;
	adjust_tables(atoms, targets); /* those without a name */
	fill_sizes(atoms);
	map_symbols(atoms);
	return hp_refs_read(atoms, targets, err);
}

static int read_atoms(struct hp_atoms *atoms, const char *path, const struct hp_atoms *like, struct hp_err *err)
{
	const struct hp_decoded decoded =
		like ? (struct hp_decoded){like->object, like->tails} : (struct hp_decoded){0};
	struct hp_targets targets = {0};
	int r = hp_object_read(path, &atoms->object, err);

	if (r < 0 || (r = check_object(atoms->object, err)) < 0)
		return r;
	atoms->unit = "";
	atoms->eh_frame = find_eh_frame(atoms->object);
	atoms->of_symbol = calloc(atoms->object->n_symbols, sizeof(*atoms->of_symbol));
	atoms->first = calloc(atoms->object->n_sections + 1, sizeof(*atoms->first));
	if (!atoms->of_symbol || !atoms->first)
		return no_memory(atoms, err);
	if ((r = add_symbols(atoms, err)) < 0)
		return r;
	sort_atoms(atoms);
	if ((r = hp_targets_read(atoms->object, like ? &decoded : NULL, &targets, err)) == 0)
		r = read_parts(atoms, &targets, err);
	free(targets.items);
	atoms->tails = targets.tails;
	return r < 0 ? r : read_scopes(atoms, path, err);
}

int hp_atoms_read(const char *path, const struct hp_atoms *like, struct hp_atoms **ret_atoms, struct hp_err *err)
{
	struct hp_atoms *atoms = calloc(1, sizeof(*atoms));

	if (!atoms)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to take '%s' apart", path);
	int r = read_atoms(atoms, path, like, err);
	if (r < 0)
		hp_atoms_free(atoms);
	else
		*ret_atoms = atoms;
	return r;
}

struct hp_atoms *hp_atoms_share(struct hp_atoms *atoms)
{
	atoms->n_more++;
	return atoms;
}

void hp_atoms_free(struct hp_atoms *atoms)
{
	if (!atoms || (atoms->n_more && atoms->n_more--))
		return;
	for (size_t i = 0; i < atoms->count; i++) {
		free(atoms->items[i].refs);
		free(atoms->items[i].own_scope);
	}
	free(atoms->items);
	free(atoms->first);
	free(atoms->of_symbol);
	free(atoms->tails);
	hp_statics_free(&atoms->statics);
	hp_debuginfo_close(atoms->info);
	hp_object_free(atoms->object);
	free(atoms);
}

/* -- Questions ------------------------------------------------------------------------------------------------- */

bool hp_atom_is_named(const struct hp_atom *atom)
{
	return atom->kind != HP_ATOM_PART && atom->kind != HP_ATOM_PIECE && *atom->name;
}

const uint8_t *hp_atom_bytes(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	const uint8_t *bytes =
		atom->section < atoms->object->n_sections ? atoms->object->sections[atom->section].bytes : NULL;
	return bytes ? bytes + atom->offset : NULL;
}

/* Common variables, which are in no section of the file, come last. */
const struct hp_atom *hp_atoms_find(const struct hp_atoms *atoms, uint32_t section, uint64_t offset)
{
	bool is_common = section >= atoms->object->n_sections;
	size_t first = atoms->first[is_common ? atoms->object->n_sections : section];
	size_t low = first, high = is_common ? atoms->count : atoms->first[section + 1];

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (atoms->items[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low > first && atoms->items[low - 1].section == section ? &atoms->items[low - 1] : NULL;
}

uint32_t hp_atoms_first_in(const struct hp_atoms *atoms, uint32_t section)
{
	return atoms->first[section < atoms->object->n_sections ? section : atoms->object->n_sections];
}

size_t hp_atoms_functions_in(const struct hp_atoms *atoms, uint32_t section)
{
	const struct hp_atom *atom = hp_atoms_find(atoms, section, UINT64_MAX);
	size_t count = 0;

	for (; atom && atom >= atoms->items && atom->section == section; atom--)
		count += atom->kind <= HP_ATOM_PART;
	return count;
}
