/* pack - the patch file of the units that were compared (doc/format.md).
 *
 *     unit 0: new object  .text.serve  .rodata.str1.1+12    ---.
 *     unit 1: new object  .text.parse                       ---+--->  sections, symbols, bindings, notes  --->  .hp
 *
 * In two rounds: what is packed gets its section and symbol first, then relocations are written, and for each thing
 * they refer to that is not packed a binding.
 */
#ifndef HP_MAKE_PACK_H
#define HP_MAKE_PACK_H

#include "elf/patchwriter.h"
#include "make/contents.h"
#include "make/select.h"

/* *ret_bytes is the caller's to free. HOTPATCH_ENOMEM, HOTPATCH_EBUILD. */
int hp_pack(struct hp_make_unit *units, size_t n_units, const struct hp_make_options *options,
            const struct hp_findings *findings, uint8_t **ret_bytes, size_t *ret_size,
            struct hp_err *err) HP_MUST_CHECK;

/* -- What pack.c, frames.c and notes.c share ---------------------------------------------------------------------- */

/* Where an atom lies in the patch. */
struct hp_packed_place {
	uint32_t section, symbol;
	uint64_t offset;  /* of the atom in that section */
	uint32_t binding; /* symbol of the binding of its old atom; 0: none yet */
	bool is_used;     /* something packed refers to it */
};

/* Something of the program that the patch refers to. */
struct hp_packed_binding {
	uint32_t symbol, unit;
	enum hp_patch_kind kind;
	unsigned flags;
	const char *name, *scope;
	uint64_t size, contents;
};

/* Where a debug section of a unit lies in the patch: those of one name are one, one unit's behind the other's. */
struct hp_packed_debug {
	uint32_t section, symbol; /* 0: it is left out */
	uint64_t offset;
};

struct hp_packing {
	struct hp_make_unit *units;
	size_t n_units;
	const struct hp_make_options *options;
	struct hp_patchwriter *writer;
	struct hp_packed_place **places; /* per unit, per new atom */
	struct hp_contents **contents;   /* per unit, per new atom */
	struct hp_packed_debug **debug;  /* per unit, per section of the new object */
	uint32_t **whole;                /* per unit, per section of the new object: its section in the patch */
	void *globals, *bound;           /* trees of struct named: new global ones; bindings that are global */
	struct hp_packed_binding *bindings;
	size_t n_bindings;
	struct hp_err *err;
};

static inline const struct hp_atoms *hp_packing_atoms(const struct hp_packing *p, size_t unit)
{
	return p->units[unit].diff->new_atoms;
}

static inline int hp_packing_no_memory(const struct hp_packing *p)
{
	return hp_err_set(p->err, HOTPATCH_ENOMEM, "no memory for the patch file");
}

/* pack.c: the symbol of what another file has, new in the patch or in the program; 0 where memory is out. */
uint32_t hp_packing_name(struct hp_packing *p, const struct hp_ref *ref);

/* What the binding or the definition of an atom is. */
enum hp_patch_kind hp_packing_kind(const struct hp_atom *atom);

/* A live variable that is packed is packed for its new initial value. */
bool hp_packing_is_reinit(const struct hp_packing *p, size_t unit, uint32_t index);

/* frames.c: .eh_frame, with the entries of what is packed. */
int hp_packing_frames(struct hp_packing *p) HP_MUST_CHECK;

/* frames.c: the debug information of units that have some, in the first round and in the second. */
int hp_packing_debug_place(struct hp_packing *p) HP_MUST_CHECK;
void hp_packing_debug_relocate(struct hp_packing *p);

/* pack.c: the symbol of a name that is bound or new already; 0. */
uint32_t hp_packing_known_name(const struct hp_packing *p, const char *name);

/* notes.c: .note.hotpatch, and the old code. */
int hp_packing_notes(struct hp_packing *p, const struct hp_findings *findings) HP_MUST_CHECK;

#endif
