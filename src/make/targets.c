#include "make/targets.h"

#include <stdlib.h>

#include <Zydis/Zydis.h>

#include "elf/field.h"

struct hp_target hp_target_of(const struct hp_object *object, const struct hp_object_relocation *reloc)
{
	const struct hp_object_symbol *symbol = &object->symbols[reloc->symbol];
	struct hp_target target = {.reloc = reloc};

	if (!symbol->section || symbol->section >= object->n_sections)
		return target;
	target.section = symbol->section;
	target.offset = (int64_t)symbol->value + reloc->addend;
	return target;
}

/* -- Code: which instruction each relocation lies in ------------------------------------------------------------ */

struct code {
	const struct hp_object_section *section;
	struct hp_target *next, *end; /* those not met yet */
	const struct hp_object_relocation *unknown;
};

static bool is_relative(uint32_t type)
{
	struct hp_field field;
	return hp_field_of(type, &field) && field.is_relative;
}

/* Relocations are in order of their offsets, as instructions are. */
static void meet_instruction(struct code *code, size_t begin, size_t end)
{
	size_t reach = end ? end : begin + 1;

	for (; code->next < code->end && code->next->reloc->offset < reach; code->next++) {
		struct hp_target *target = code->next;
		if (!is_relative(target->reloc->type))
			continue;
		if (!end && target->section)
			code->unknown = target->reloc;
		target->tail = end ? (int64_t)(end - target->reloc->offset) : 4;
		target->offset += target->tail;
	}
}

/* What cannot be decoded is passed over byte by byte. */
static void walk_code(struct code *code)
{
	const uint8_t *bytes = code->section->bytes;
	size_t size = code->section->size;
	ZydisDecoder decoder;
	ZydisDecodedInstruction instruction;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t at = 0; at < size;) {
		if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes + at, size - at, &instruction))) {
			meet_instruction(code, at, at + instruction.length);
			at += instruction.length;
		} else {
			meet_instruction(code, at, 0);
			at++;
		}
	}
}

/* A prefix of NOPs before an entry decodes like anything else; functions are aligned with whole instructions. */
static int read_code(const struct hp_object *object, const struct hp_object_section *section, struct hp_target *first,
                     struct hp_err *err)
{
	struct code code = {section, first, first + section->n_relocs, NULL};

	walk_code(&code);
	if (!code.unknown)
		return 0;
	return hp_err_set(err, HOTPATCH_EBUILD, "cannot decode the code at %#llx of section '%s' in '%s'",
	                  (unsigned long long)code.unknown->offset, section->name, object->name);
}

/* -- All ------------------------------------------------------------------------------------------------------- */

int hp_targets_read(const struct hp_object *object, struct hp_targets *ret_targets, struct hp_err *err)
{
	struct hp_targets targets = {calloc(object->n_relocs + 1, sizeof(*targets.items)), 0};
	int r = 0;

	if (!targets.items)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to take '%s' apart", object->name);
	for (uint32_t i = 1; i < object->n_sections && r == 0; i++) {
		const struct hp_object_section *section = &object->sections[i];
		struct hp_target *first = targets.items + targets.count;
		if (!(section->flags & SHF_ALLOC) || !section->n_relocs)
			continue;
		for (size_t k = 0; k < section->n_relocs; k++) {
			struct hp_target *target = &targets.items[targets.count++];
			*target = hp_target_of(object, &section->relocs[k]);
			target->from = i;
		}
		if (section->flags & SHF_EXECINSTR && section->bytes)
			r = read_code(object, section, first, err);
	}
	if (r < 0)
		free(targets.items);
	else
		*ret_targets = targets;
	return r;
}
