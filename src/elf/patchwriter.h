/* patchwriter - puts a patch file together (doc/format.md).
 *
 *     sections, symbols, relocations, notes, in that order  --->  bytes  --->  a file, whole or not at all
 *
 * What cannot fail but for memory returns no error: hp_patchwriter_finish tells whether memory was out at any time.
 */
#ifndef HP_ELF_PATCHWRITER_H
#define HP_ELF_PATCHWRITER_H

#include "elf/patchfile.h"
#include "elf/patchnote.h"

struct hp_patchwriter;

struct hp_patchwriter *hp_patchwriter_new(void);

/* NULL is fine. */
void hp_patchwriter_free(struct hp_patchwriter *writer);

/* Bytes are copied (NULL for SHT_NOBITS). Returns the index of the section. */
uint32_t hp_patchwriter_section(struct hp_patchwriter *writer, const char *name, uint32_t type, uint64_t flags,
                                uint64_t align, const uint8_t *bytes, uint64_t size);

/* Returns the index of the symbol. Defined symbols are local and come before all undefined ones, which are global. */
uint32_t hp_patchwriter_define(struct hp_patchwriter *writer, const char *name, uint32_t section, uint64_t value,
                               uint64_t size, uint8_t type);
uint32_t hp_patchwriter_undefined(struct hp_patchwriter *writer, const char *name, uint8_t type, bool is_weak);

void hp_patchwriter_reloc(struct hp_patchwriter *writer, uint32_t section, const struct hp_patch_reloc *reloc);

/* A note is begun, filled, and ended by the next one or by finish. */
void hp_patchwriter_note(struct hp_patchwriter *writer, enum hp_note_type type);
void hp_patchwriter_number(struct hp_patchwriter *writer, uint64_t value, size_t size);
void hp_patchwriter_string(struct hp_patchwriter *writer, const char *string);
void hp_patchwriter_bytes(struct hp_patchwriter *writer, const uint8_t *bytes, size_t size);

/* *ret_bytes is the caller's to free; they have no digest, which is for what lies in files. HOTPATCH_ENOMEM,
 * HOTPATCH_ENOTSUP (more sections than a file can have). */
int hp_patchwriter_finish(struct hp_patchwriter *writer, uint8_t **ret_bytes, size_t *ret_size,
                          struct hp_err *err) HP_MUST_CHECK;

/* Writes what finish has made, with its digest, beside path and renames, so that nobody finds half a file.
 * HOTPATCH_ENOFILE. */
int hp_patchwriter_save(const char *path, const uint8_t *bytes, size_t size, struct hp_err *err) HP_MUST_CHECK;

#endif
