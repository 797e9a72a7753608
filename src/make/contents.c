#include "make/contents.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 1000 }; /* of constants that refer to constants: beyond, they are the patch's own */

/* NEW: not looked at; OPEN: being looked at, so that who comes here again has gone round in a circle. */
enum state { NEW, OPEN, DONE };

struct reading {
	const struct hp_diff *diff;
	struct hp_contents *contents;
	uint8_t *states; /* enum state, per new atom */
};

/* FNV-1a: nobody would want to cheat here. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t mix_number(uint64_t hash, uint64_t number)
{
	return mix(hash, &number, sizeof(number));
}

static uint64_t mix_name(uint64_t hash, const char *name)
{
	return mix(hash, name, strlen(name) + 1);
}

static bool is_constant(const struct hp_atom *atom)
{
	return atom->kind == HP_ATOM_CONSTANT || atom->kind == HP_ATOM_PIECE;
}

/* Zeros behind a nameless constant may be padding; and those of a section without bytes are zeros as well. */
static uint64_t mix_bytes(const struct hp_atoms *atoms, const struct hp_atom *atom, uint64_t hash)
{
	const uint8_t *bytes = hp_atom_bytes(atoms, atom);
	uint64_t size = bytes ? atom->size : 0;

	while (size && !bytes[size - 1])
		size--;
	hash = mix_name(hash, hp_atom_is_named(atom) ? atom->scope : "");
	if (hp_atom_is_named(atom))
		hash = mix_number(hash, atom->size);
	return bytes ? mix(hash, bytes, size) : hash;
}

/* A function that is new is each patch's own; so is all that lies inside of one. */
static bool leads_into_patch(const struct hp_diff *diff, const struct hp_ref *ref)
{
	const struct hp_atom *atom = &diff->new_atoms->items[ref->atom];

	if (atom->kind == HP_ATOM_PART)
		return true;
	return (atom->kind == HP_ATOM_FUNCTION || atom->kind == HP_ATOM_IFUNC) &&
	       (ref->at != 0 || diff->old_of[ref->atom] == HP_NO_ATOM);
}

static void read_one(struct reading *r, uint32_t index, unsigned depth);

static void add_ref(struct reading *r, uint32_t index, const struct hp_ref *ref, unsigned depth)
{
	struct hp_contents *contents = &r->contents[index];

	contents->hash = mix_number(contents->hash, ref->offset);
	contents->hash = mix_number(contents->hash, (uint64_t)ref->at);
	if (ref->atom == HP_NO_ATOM) {
		contents->hash = mix_name(contents->hash, ref->name);
		return;
	}
	const struct hp_atom *atom = &r->diff->new_atoms->items[ref->atom];
	if (!is_constant(atom)) {
		contents->hash = mix_name(contents->hash, hp_atom_is_named(atom) ? atom->scope : atom->name);
		contents->is_own |= leads_into_patch(r->diff, ref);
		return;
	}
	read_one(r, ref->atom, depth + 1);
	contents->hash = mix_number(contents->hash, r->contents[ref->atom].hash);
	contents->is_own |= r->states[ref->atom] != DONE || r->contents[ref->atom].is_own;
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as constants refer to constants, and no deeper than DEPTH_MAX */
static void read_one(struct reading *r, uint32_t index, unsigned depth)
{
	const struct hp_atom *atom = &r->diff->new_atoms->items[index];
	struct hp_contents *contents = &r->contents[index];

	if (r->states[index] != NEW || depth > DEPTH_MAX)
		return;
	r->states[index] = OPEN;
	contents->hash = mix_bytes(r->diff->new_atoms, atom, UINT64_C(0xcbf29ce484222325));
	for (size_t i = 0; i < atom->n_refs; i++)
		add_ref(r, index, &atom->refs[i], depth);
	contents->hash += !contents->hash;
	r->states[index] = DONE;
}

struct hp_contents *hp_contents_read(const struct hp_diff *diff)
{
	struct reading r = {
		.diff = diff,
		.contents = calloc(diff->new_atoms->count + 1, sizeof(*r.contents)),
		.states = calloc(diff->new_atoms->count + 1, sizeof(*r.states)),
	};

	for (uint32_t i = 0; r.contents && r.states && i < diff->new_atoms->count; i++)
		if (is_constant(&diff->new_atoms->items[i]))
			read_one(&r, i, 0);
	if (!r.states) {
		free(r.contents);
		r.contents = NULL;
	}
	free(r.states);
	return r.contents;
}
