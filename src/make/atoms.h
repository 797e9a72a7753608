/* atoms - an object taken apart into what can be compared, packed or bound to: functions, variables, constants.
 *
 *     .text.serve            serve        function   calls, refers to --->  .rodata.serve   (its jump table)
 *     .text.unlikely.serve   serve.cold   part       jumps back into  --->  serve + 0x40
 *     .text.hash.isra.0      hash.isra.0  part       (a clone: only the compiler's own code calls it)
 *     .bss.count.2           count.2      variable   serve/count
 *     .rodata.table          table        constant
 *     .rodata.str1.1 + 12    "hello"      piece
 *
 * An atom is *named* when it is one and the same thing before and after a change: functions, variables and constants of
 * the source. Parts and pieces are what they contain. What refers to what is known exactly: a relocation against a
 * section that is relative to the instruction's end is read together with the instruction (tails.h).
 */
#ifndef HP_MAKE_ATOMS_H
#define HP_MAKE_ATOMS_H

#include "elf/object.h"
#include "types/statics.h"

#define HP_NO_ATOM UINT32_MAX
#define HP_REF_OUTSIDE UINT64_MAX /* offset of what .eh_frame refers to for the atom's sake */

enum hp_atom_kind {
	HP_ATOM_FUNCTION,
	HP_ATOM_IFUNC,    /* its resolver */
	HP_ATOM_PART,     /* of a function: .cold, or a clone: .part, .isra, .constprop */
	HP_ATOM_VARIABLE, /* may be written to */
	HP_ATOM_CONSTANT, /* named by the source */
	HP_ATOM_PIECE,    /* constant data named by the compiler, or not at all */
	HP_ATOM_MARK,     /* HOTPATCH_PRE_APPLY and its like: for marks.h alone */
};

struct hp_ref {
	uint64_t offset;  /* in the atom */
	uint32_t type;    /* R_* */
	int64_t addend;   /* as it stands in the relocation */
	int64_t tail;     /* target = symbol + addend + tail */
	uint32_t atom;    /* HP_NO_ATOM: an undefined symbol */
	int64_t at;       /* offset in that atom */
	const char *name; /* of the undefined symbol, else NULL */
	bool is_weak;
};

struct hp_atom {
	enum hp_atom_kind kind;
	const char *name;  /* of its symbol, "" */
	const char *scope; /* of a named one: the same before and after; see types/statics.h */
	uint32_t section;  /* index, or HP_SECTION_COMMON */
	uint64_t offset, size;
	bool is_global, is_weak, is_thread_local;
	bool is_generated;                /* has its symbol from the compiler */
	bool is_labels;                   /* a table of labels that is not const, and is taken for it */
	const struct hp_static *variable; /* what DWARF says; NULL */
	struct hp_ref *refs;              /* by offset; behind them that of .eh_frame to its exception table */
	size_t n_refs;
	uint64_t fde; /* offset in .eh_frame + 1; 0: none */
	char *own_scope;
};

struct hp_atoms {
	struct hp_object *object;
	struct hp_debuginfo *info; /* NULL: it has no DWARF */
	struct hp_statics statics;
	struct hp_atom *items; /* by section and offset */
	size_t count;
	uint32_t *first;     /* per section of the object, and one more: its first atom, or the first behind it */
	uint32_t *of_symbol; /* per symbol of the object, HP_NO_ATOM */
	uint8_t *tails;      /* per relocation of the object, see make/targets.h */
	uint32_t eh_frame;   /* index of that section, 0 */
	const char *unit;    /* STT_FILE */
	unsigned n_more;     /* who has it beside the one that read it */
};

/* Reads the object at path; like: NULL, or those of an object that may have much of the same code, which saves decoding
 * it. HOTPATCH_ENOTELF, HOTPATCH_ENOMEM, HOTPATCH_EREFUSED (link-time optimised). */
int hp_atoms_read(const char *path, const struct hp_atoms *like, struct hp_atoms **ret_atoms,
                  struct hp_err *err) HP_MUST_CHECK;

/* Somebody else has them too, and frees them. They are the same for all: nothing is written to them once they are read.
 */
struct hp_atoms *hp_atoms_share(struct hp_atoms *atoms);

/* NULL is fine. */
void hp_atoms_free(struct hp_atoms *atoms);

/* Whether the atom is one and the same before and after. */
bool hp_atom_is_named(const struct hp_atom *atom);

/* The bytes of the atom; NULL where they are all zero. */
const uint8_t *hp_atom_bytes(const struct hp_atoms *atoms, const struct hp_atom *atom);

/* The last atom of the section that begins at that offset or before it; NULL. */
const struct hp_atom *hp_atoms_find(const struct hp_atoms *atoms, uint32_t section, uint64_t offset);

/* The first atom of that section or one behind it, as an index; count where there is none. */
uint32_t hp_atoms_first_in(const struct hp_atoms *atoms, uint32_t section);

/* How many functions (not counting other names of one) the section has. */
size_t hp_atoms_functions_in(const struct hp_atoms *atoms, uint32_t section);

#endif
