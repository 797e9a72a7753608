#include "elf/unwind.h"

#include <string.h>

struct record {
	uint64_t offset, size;
	uint32_t id; /* 0: a CIE, else the distance back to it */
};

static int damaged(const struct hp_object *object, uint64_t offset, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_EBUILD, "the unwind table of '%s' is damaged at %#llx", object->name,
	                  (unsigned long long)offset);
}

/* 1, 0 at the end, -1. Lengths of 64 bits do not occur in objects of this size. */
static int read_record(const struct hp_object_section *section, uint64_t offset, struct record *ret)
{
	uint32_t length;

	if (section->size - offset < 4)
		return section->size == offset ? 0 : -1;
	memcpy(&length, section->bytes + offset, 4);
	if (!length)
		return 0;
	if (length < 8 || length >= 0xfffffff0u || length > section->size - offset - 4)
		return -1;
	*ret = (struct record){.offset = offset, .size = length + 4u};
	memcpy(&ret->id, section->bytes + offset + 4, 4);
	return 1;
}

/* Every relocation of an entry but that of its first field is of its exception table: the length of the code is a
 * number, and the personality routine is the CIE's. */
static void find_relocations(const struct hp_object_section *section, struct hp_fde_record *fde)
{
	size_t end = hp_object_reloc_at(section, fde->offset + fde->size);

	for (size_t i = hp_object_reloc_at(section, fde->offset); i < end; i++) {
		const struct hp_object_relocation *reloc = &section->relocs[i];
		if (reloc->offset == fde->offset + 8)
			fde->begin = reloc;
		else if (!fde->lsda)
			fde->lsda = reloc;
	}
}

int hp_unwind_each(const struct hp_object *object, uint32_t section_index, hp_unwind_visit visit, void *arg,
                   struct hp_err *err)
{
	const struct hp_object_section *section = &object->sections[section_index];
	struct record record, cie;
	int more = 1;

	for (uint64_t at = 0; section->bytes && (more = read_record(section, at, &record)) > 0; at += record.size) {
		if (!record.id)
			continue;
		uint64_t where = at + 4 - record.id;
		if (record.id > at + 4 || read_record(section, where, &cie) <= 0 || cie.id)
			return damaged(object, at, err);
		struct hp_fde_record fde = {.offset = at, .size = record.size, .cie = cie.offset, .cie_size = cie.size};
		find_relocations(section, &fde);
		if (!fde.begin)
			continue;
		int r = visit(arg, &fde, err);
		if (r)
			return r;
	}
	return more < 0 ? damaged(object, section->size, err) : 0;
}
