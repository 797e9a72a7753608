/* patchnote - the notes of a patch file: how they are laid out (doc/format.md), and reading them.
 *
 *     | 9 | n | type | "hotpatch\0..." | n bytes, padded to 4 |   one after another in .note.hotpatch
 */
#ifndef HP_ELF_PATCHNOTE_H
#define HP_ELF_PATCHNOTE_H

#include "elf/patchfile.h"

#define HP_PATCH_NOTES ".note.hotpatch"
#define HP_NOTE_NAME "hotpatch"

enum hp_note_type {
	HP_NOTE_HEADER = 1,
	HP_NOTE_TARGET,
	HP_NOTE_UNIT,
	HP_NOTE_CHANGE,
	HP_NOTE_BINDING,
	HP_NOTE_DEFINE,
	HP_NOTE_REINIT,
	HP_NOTE_CALLBACK,
	HP_NOTE_REQUIRES,
	HP_NOTE_REPLACES,
	HP_NOTE_MESSAGE,
	HP_NOTE_MIGRATE,
	HP_NOTE_DIGEST,
	HP_NOTE_CONTENTS,
	HP_NOTE_TYPES, /* how many, and HEADER */
	HP_NOTE_OPTIONAL = INT32_MIN,
};

/* Fills what the notes tell in file, whose sections and symbols are there; indexes are checked against those. */
int hp_patchnotes_read(struct hp_patchfile *file, const uint8_t *bytes, size_t size, struct hp_err *err) HP_MUST_CHECK;

#endif
