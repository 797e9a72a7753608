#include "make/targets.h"

#include <stdlib.h>
#include <string.h>

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

enum {
	UNDECODED = UINT8_MAX, /* instead of a tail */
	LOOK_AHEAD = 64,
};

struct reading {
	const struct hp_object *object;
	const struct hp_decoded *like; /* NULL */
	size_t next_like;              /* behind the section of it that was found last */
	struct hp_targets targets;
	struct hp_err *err;
};

struct code {
	const struct hp_object_section *section;
	struct hp_target *next, *end; /* those not met yet */
	uint8_t *tail;                /* of the next one */
	const struct hp_object_relocation *unknown;
};

static bool is_relative(uint32_t type)
{
	struct hp_field field;
	return hp_field_of(type, &field) && field.is_relative;
}

static void add_tail(struct hp_target *target, uint8_t tail)
{
	target->tail = tail;
	target->offset += tail;
}

/* Relocations are in order of their offsets, as instructions are. */
static void meet_instruction(struct code *code, size_t begin, size_t end)
{
	size_t reach = end ? end : begin + 1;

	for (; code->next < code->end && code->next->reloc->offset < reach; code->next++, code->tail++) {
		struct hp_target *target = code->next;
		if (!is_relative(target->reloc->type))
			continue;
		if (!end && target->section)
			code->unknown = target->reloc;
		*code->tail = end ? (uint8_t)(end - target->reloc->offset) : UNDECODED;
		add_tail(target, end ? *code->tail : 4);
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
	for (size_t at = 0; at < size && code->next < code->end;) {
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
static int decode(const struct reading *r, const struct hp_object_section *section, struct hp_target *first,
                  uint8_t *tails)
{
	struct code code = {section, first, first + section->n_relocs, tails, NULL};

	walk_code(&code);
	if (!code.unknown)
		return 0;
	return hp_err_set(r->err, HOTPATCH_EBUILD, "cannot decode the code at %#llx of section '%s' in '%s'",
	                  (unsigned long long)code.unknown->offset, section->name, r->object->name);
}

/* -- Code that was decoded before ------------------------------------------------------------------------------- */

static bool is_same_code(const struct hp_object_section *a, const struct hp_object_section *b)
{
	if (!a->bytes || a->size != b->size || a->n_relocs != b->n_relocs || memcmp(a->bytes, b->bytes, a->size) != 0)
		return false;
	for (size_t i = 0; i < a->n_relocs; i++)
		if (a->relocs[i].offset != b->relocs[i].offset || a->relocs[i].type != b->relocs[i].type)
			return false;
	return true;
}

/* The section of that name, which most often is the next one. */
static const struct hp_object_section *find_like(struct reading *r, const char *name)
{
	const struct hp_object *object = r->like ? r->like->object : NULL;
	const uint64_t code = SHF_ALLOC | SHF_EXECINSTR;

	for (size_t i = r->next_like; object && i < object->n_sections && i < r->next_like + LOOK_AHEAD; i++)
		if ((object->sections[i].flags & code) == code && strcmp(object->sections[i].name, name) == 0) {
			r->next_like = i + 1;
			return &object->sections[i];
		}
	return NULL;
}

/* The tails of the same code, if all of it could be decoded; NULL. */
static const uint8_t *known_tails(struct reading *r, const struct hp_object_section *section)
{
	const struct hp_object_section *like = find_like(r, section->name);

	if (!like || !is_same_code(like, section))
		return NULL;
	const uint8_t *tails = r->like->tails + (like->relocs - r->like->object->relocs);
	for (size_t i = 0; i < like->n_relocs; i++)
		if (tails[i] == UNDECODED)
			return NULL;
	return tails;
}

static int read_code(struct reading *r, const struct hp_object_section *section, struct hp_target *first)
{
	uint8_t *tails = r->targets.tails + (section->relocs - r->object->relocs);
	const uint8_t *known = known_tails(r, section);

	if (!known)
		return decode(r, section, first, tails);
	memcpy(tails, known, section->n_relocs);
	for (size_t i = 0; i < section->n_relocs; i++)
		add_tail(&first[i], tails[i]);
	return 0;
}

/* -- All ------------------------------------------------------------------------------------------------------- */

static int read_section(struct reading *r, uint32_t index)
{
	const struct hp_object_section *section = &r->object->sections[index];
	struct hp_target *first = r->targets.items + r->targets.count;

	if (!(section->flags & SHF_ALLOC) || !section->n_relocs)
		return 0;
	for (size_t k = 0; k < section->n_relocs; k++) {
		first[k] = hp_target_of(r->object, &section->relocs[k]);
		first[k].from = index;
	}
	r->targets.count += section->n_relocs;
	return section->flags & SHF_EXECINSTR && section->bytes ? read_code(r, section, first) : 0;
}

int hp_targets_read(const struct hp_object *object, const struct hp_decoded *like, struct hp_targets *ret_targets,
                    struct hp_err *err)
{
	size_t n = object->n_relocs;
	struct reading reading = {
		.object = object,
		.like = like,
		.targets = {calloc(n + 1, sizeof(struct hp_target)), 0, calloc(n + 1, sizeof(uint8_t))},
		.err = err,
	};
	int r = 0;

	if (!reading.targets.items || !reading.targets.tails)
		r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory to take '%s' apart", object->name);
	for (uint32_t i = 1; i < object->n_sections && r == 0; i++)
		r = read_section(&reading, i);
	if (r < 0) {
		free(reading.targets.items);
		free(reading.targets.tails);
	} else {
		*ret_targets = reading.targets;
	}
	return r;
}
