/* patchfile - a patch file (.hp) in memory: what it changes, what it binds to, its sections.
 *
 *     bytes of the file ----> sections, relocations, symbols     (ELF, checked)
 *                       ----> header, units, changes, bindings   (.note.hotpatch, checked)
 *
 * doc/format.md has it byte by byte. All that is read is checked before hp_patchfile_read returns: indexes lead
 * somewhere, offsets and sizes lie in their sections, relocation offsets lie in the section they are for, and no byte
 * is another than when the file was written (a digest of all of it). What they mean for a process is the business of
 * who links it. Nothing is mapped; the bytes are a private copy.
 */
#ifndef HP_ELF_PATCHFILE_H
#define HP_ELF_PATCHFILE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "elf/codehash.h"

#define HP_PATCH_VERSION 1
#define HP_NO_UNIT UINT32_MAX

enum hp_patch_kind {
	HP_PATCH_UNKNOWN,
	HP_PATCH_FUNCTION,
	HP_PATCH_VARIABLE,
	HP_PATCH_THREAD_LOCAL,
	HP_PATCH_IFUNC,
};

enum { HP_BINDING_WEAK = 1, HP_BINDING_CONSTANT = 2 };
enum { HP_DEFINE_STATIC = 1, HP_DEFINE_OWN = 2 };

/* Of the header: later patches of the same sources count on types or layouts that it brings. */
enum { HP_PATCH_GROUND = 1 };

enum hp_patch_callback_kind { HP_PRE_APPLY, HP_POST_APPLY, HP_PRE_REVERT, HP_POST_REVERT };

struct hp_patch_reloc {
	uint64_t offset; /* in its section; the 1, 2, 4 or 8 bytes of the field lie inside */
	uint32_t type;   /* R_X86_64_* */
	uint32_t symbol; /* index in symbols */
	int64_t addend;
};

/* Every section of the file, by its index; those to be loaded have SHF_ALLOC in flags. */
struct hp_patch_section {
	const char *name;
	uint32_t type;                 /* SHT_* */
	uint64_t flags;                /* SHF_* */
	uint64_t size, align;          /* align: power of two, 1 to 4096 */
	const uint8_t *bytes;          /* NULL for SHT_NOBITS */
	struct hp_patch_reloc *relocs; /* by offset */
	size_t n_relocs;
};

struct hp_patch_symbol {
	const char *name;
	uint32_t section;     /* index; 0: undefined, a binding */
	uint64_t value, size; /* value: offset in the section */
	uint8_t type, bind;   /* STT_*, STB_* */
	uint32_t binding;     /* of an undefined one: index in bindings, UINT32_MAX for symbol 0 */
};

struct hp_patch_local {
	const char *name;
	enum hp_patch_kind kind;
	uint64_t size;
};

struct hp_patch_unit {
	const char *file, *source, *folder, *command;
	struct hp_patch_local *locals;
	size_t n_locals;
};

struct hp_patch_change {
	uint32_t symbol; /* the new code */
	uint32_t unit;   /* HP_NO_UNIT: a global function */
	const char *name, *path;
	uint64_t old_size;
	uint8_t old_hash[HP_HASH_SIZE];
	struct hp_mask *masks;
	size_t n_masks;
	uint32_t old_section; /* to be shown; 0: none */
};

struct hp_patch_binding {
	uint32_t symbol;
	enum hp_patch_kind kind;
	unsigned flags;
	uint32_t unit;
	const char *name, *scope;
	uint64_t size;
	uint64_t contents; /* of a constant: equal where they hold the same; 0 */
};

struct hp_patch_define {
	uint32_t symbol;
	enum hp_patch_kind kind;
	unsigned flags;
	uint32_t unit;
	const char *name, *scope;
	uint64_t size;
	uint64_t contents; /* of a constant: equal where they hold the same; 0 */
};

struct hp_patch_reinit {
	uint32_t binding; /* index in bindings */
	uint32_t symbol;  /* the new initial value */
};

struct hp_patch_callback {
	enum hp_patch_callback_kind kind;
	uint32_t symbol;
};

struct hp_patch_migration {
	const char *type;       /* whose live objects get another layout */
	uint32_t forward, back; /* symbols; back 0: there is no way back */
};

struct hp_patch_target {
	const char *name;
	uint8_t build_id[64];
	size_t build_id_size;
};

struct hp_patch_message {
	uint32_t kind;
	const char *text;
};

struct hp_patchfile {
	char *path;
	uint32_t flags; /* HP_PATCH_GROUND */
	const char *name, *description, *producer;
	struct hp_patch_section *sections;
	size_t n_sections;
	struct hp_patch_symbol *symbols;
	size_t n_symbols;
	struct hp_patch_target *targets;
	size_t n_targets;
	struct hp_patch_unit *units;
	size_t n_units;
	struct hp_patch_change *changes;
	size_t n_changes;
	struct hp_patch_binding *bindings;
	size_t n_bindings;
	struct hp_patch_define *defines;
	size_t n_defines;
	struct hp_patch_reinit *reinits;
	size_t n_reinits;
	struct hp_patch_callback *callbacks;
	size_t n_callbacks;
	struct hp_patch_migration *migrations;
	size_t n_migrations;
	const char **requires;
	size_t n_requires;
	const char **replaces;
	size_t n_replaces;
	struct hp_patch_message *messages;
	size_t n_messages;
	/* private */
	uint8_t *bytes;
	size_t size;
	const uint8_t *digest; /* in bytes; NULL: it has none */
	char *strings;         /* NUL-terminated copies of what notes say */
};

/* HOTPATCH_ENOFILE where it cannot be read; HOTPATCH_ENOTELF where it is no patch file, is damaged, cut short, or of a
 * newer version. */
int hp_patchfile_read(const char *path, struct hp_patchfile **ret_file, struct hp_err *err) HP_MUST_CHECK;

/* The same of bytes in memory, which are copied, but that the digest is not looked at; name is for sentences. */
int hp_patchfile_parse(const uint8_t *bytes, size_t size, const char *name, struct hp_patchfile **ret_file,
                       struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_patchfile_free(struct hp_patchfile *file);

#endif
