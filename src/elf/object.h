/* object - a relocatable object as plain arrays: sections, symbols, relocations; every index and offset checked.
 *
 *     sections[0], symbols[0]   are those of the file: SHN_UNDEF and the empty symbol
 *     relocations               of one section together, by offset
 *
 * A copy: no file stays open. What refers to what is checked when it is read, so that users need not: a relocation's
 * field lies within its section, its symbol is one, a symbol's section is one, a symbol's extent lies within it.
 */
#ifndef HP_ELF_OBJECT_H
#define HP_ELF_OBJECT_H

#include "elf/image.h"

struct hp_object_relocation {
	uint64_t offset;
	uint32_t type; /* R_*, known to elf/field.h unless the section is not loaded */
	uint32_t symbol;
	int64_t addend; /* within HP_ADDEND_MAX of 0: a section's size or two can be added */
};

#define HP_ADDEND_MAX (INT64_C(1) << 62)

struct hp_object_section {
	const char *name;
	uint32_t type;  /* SHT_* */
	uint64_t flags; /* SHF_* */
	uint64_t align; /* a power of two, at least 1 */
	uint64_t size;
	uint64_t entsize;
	uint32_t link, info;
	const uint8_t *bytes; /* NULL where it has none in the file (SHT_NOBITS), or is empty */
	const struct hp_object_relocation *relocs;
	size_t n_relocs;
};

/* Sections of symbols that are in none; above every index of one. */
#define HP_SECTION_ABSOLUTE 0xfffffff1u
#define HP_SECTION_COMMON 0xfffffff2u

struct hp_object_symbol {
	const char *name; /* "" where it has none */
	const char *unit; /* of a local one: what its STT_FILE says, else "" */
	uint64_t value, size;
	uint32_t section; /* 0: undefined */
	uint8_t type;     /* STT_* */
	uint8_t bind;     /* STB_* */
	uint8_t other;
};

struct hp_object {
	char *name; /* to say in sentences */
	struct hp_object_section *sections;
	struct hp_object_symbol *symbols;
	struct hp_object_relocation *relocs;
	size_t n_sections, n_symbols, n_relocs;
	uint8_t *bytes;  /* of the sections */
	char *strings;   /* of sections and symbols */
	unsigned n_more; /* who has it beside the one that read it */
};

/* HOTPATCH_ENOFILE, HOTPATCH_ENOTELF with the reason. */
int hp_object_read(const char *path, struct hp_object **ret_object, struct hp_err *err) HP_MUST_CHECK;

/* Somebody else has it too, and frees it. */
struct hp_object *hp_object_share(struct hp_object *object);

/* The first relocation of the section at that offset or behind it, as an index; n_relocs where there is none. */
size_t hp_object_reloc_at(const struct hp_object_section *section, uint64_t offset);

/* NULL is fine. */
void hp_object_free(struct hp_object *object);

#endif
