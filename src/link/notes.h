/* notes - what the tool wants to know later about a patch that it applied: kept by the agent, which does not read it.
 *
 *     u32 version (2), str file name, str description, str producer
 *     u32 n, n times str     the patches it requires
 *     u32 n, n times         changes: u64 entry, u64 size, str name, str unit, str image
 *     u32 n, n times         definitions: u8 kind, u8 flags, u64 address, u64 size, u64 contents,
 *                            str name, str unit, str source, str scope
 *
 * str: u32 length and that many bytes. A definition is a function or variable that is new in the patch: a later patch
 * of the same unit finds it here by unit, source and scope, one that is not static by its name.
 */
#ifndef HP_LINK_NOTES_H
#define HP_LINK_NOTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hp_note_change {
	uint64_t entry, size;
	const char *name, *unit, *image; /* unit: "" of a global function */
};

struct hp_note_define {
	unsigned kind, flags; /* elf/patchfile.h: enum hp_patch_kind, HP_DEFINE_STATIC, HP_DEFINE_OWN */
	uint64_t address, size;
	uint64_t contents;                        /* of a constant, else 0 */
	const char *name, *unit, *source, *scope; /* unit and source: "" where it is of none */
};

struct hp_notes {
	const char *file, *description, *producer;
	const char **requires;
	size_t n_requires;
	struct hp_note_change *changes;
	size_t n_changes;
	struct hp_note_define *defines;
	size_t n_defines;
	char *strings; /* private */
};

/* *ret_bytes is the caller's to free. HOTPATCH_ENOMEM. */
int hp_notes_write(const struct hp_notes *notes, void **ret_bytes, size_t *ret_size, struct hp_err *err) HP_MUST_CHECK;

/* HOTPATCH_EINVAL: they are not ours. Everything in it lives until hp_notes_free. */
int hp_notes_read(const void *bytes, size_t size, struct hp_notes **ret_notes, struct hp_err *err) HP_MUST_CHECK;
void hp_notes_free(struct hp_notes *notes); /* NULL is fine */

#endif
