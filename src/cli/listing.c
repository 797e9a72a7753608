#include "cli/listing.h"

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN "..."

struct decoding {
	ZydisDecoder decoder;
	ZydisFormatter formatter;
	const uint8_t *code;
	size_t size;
	const struct hp_listing_field *fields;
	size_t n_fields;
};

static const struct hp_listing_field *field_in(const struct decoding *d, size_t begin, size_t end)
{
	for (size_t i = 0; i < d->n_fields; i++)
		if (d->fields[i].offset + d->fields[i].size > begin && d->fields[i].offset < end)
			return &d->fields[i];
	return NULL;
}

/* Puts name where the operand stands that the linker fills in: a place in memory, or a number. */
static void put_name(char *text, size_t room, const char *name)
{
	char *at = strstr(text, "[rip"), *end = at ? strchr(at, ']') : NULL;
	char copy[96], *number = strstr(text, "0x");

	snprintf(copy, sizeof(copy), "%s", text);
	if (at && end)
		snprintf(text, room, "%.*s[%.40s%.40s", (int)(at - text), copy, name, copy + (end - text));
	else if (number)
		snprintf(text, room, "%.*s%.40s%.40s", (int)(number - text), copy, name,
		         copy + (number - text) + 2 + strspn(number + 2, "0123456789ABCDEFabcdef"));
}

static bool is_branch(const ZydisDecodedInstruction *instruction)
{
	return instruction->meta.category == ZYDIS_CATEGORY_CALL ||
	       instruction->meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
	       instruction->meta.category == ZYDIS_CATEGORY_COND_BR;
}

/* Where a branch without a relocation leads to, when that is inside; addresses are offsets then. */
static bool leaves(const struct decoding *d, const ZydisDecodedInstruction *instruction, size_t at)
{
	int64_t target = (int64_t)at + instruction->length +
	                 (instruction->raw.imm[0].is_relative ? instruction->raw.imm[0].value.s : 0);
	return is_branch(instruction) && instruction->raw.imm[0].is_relative &&
	       (target < 0 || (uint64_t)target >= d->size);
}

static size_t decode(struct decoding *d, size_t at, struct hp_line *line)
{
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&d->decoder, d->code + at, d->size - at, &instruction, operands)) ||
	    ZYAN_FAILED(ZydisFormatterFormatInstruction(&d->formatter, &instruction, operands,
	                                                instruction.operand_count_visible, line->text,
	                                                sizeof(line->text), at, NULL))) {
		snprintf(line->text, sizeof(line->text), "(byte %02x)", d->code[at]);
		memcpy(line->key, line->text, sizeof(line->key));
		return 1;
	}
	const struct hp_listing_field *field = field_in(d, at, at + instruction.length);
	memcpy(line->key, line->text, sizeof(line->key));
	if (field || leaves(d, &instruction, at)) {
		put_name(line->key, sizeof(line->key), UNKNOWN);
		put_name(line->text, sizeof(line->text), field && field->name ? field->name : UNKNOWN);
	}
	return instruction.length;
}

bool hp_listing_make(const uint8_t *code, size_t size, const struct hp_listing_field *fields, size_t n_fields,
                     struct hp_listing *ret_listing)
{
	struct decoding d = {.code = code, .size = size, .fields = fields, .n_fields = n_fields};
	struct hp_listing listing = {calloc(size + 1, sizeof(*listing.lines)), 0};

	if (!listing.lines ||
	    ZYAN_FAILED(ZydisDecoderInit(&d.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
	    ZYAN_FAILED(ZydisFormatterInit(&d.formatter, ZYDIS_FORMATTER_STYLE_INTEL))) {
		free(listing.lines);
		return false;
	}
	ZydisFormatterSetProperty(&d.formatter, ZYDIS_FORMATTER_PROP_FORCE_RELATIVE_RIPREL, ZYAN_TRUE);
	for (size_t at = 0; at < size;)
		at += decode(&d, at, &listing.lines[listing.count++]);
	*ret_listing = listing;
	return true;
}

void hp_listing_free(struct hp_listing *listing)
{
	free(listing->lines);
	*listing = (struct hp_listing){0};
}

/* -- Side by side ---------------------------------------------------------------------------------------------- */

/* Lengths of the longest common subsequence of what is behind each pair of lines; too long ones go line by line. */
enum { CELLS_MAX = 1 << 24 };

static uint32_t *fill_lengths(const struct hp_listing *a, const struct hp_listing *b)
{
	size_t width = b->count + 1;
	uint32_t *lengths = calloc((a->count + 1) * width, sizeof(*lengths));

	for (size_t i = a->count; lengths && i-- > 0;)
		for (size_t k = b->count; k-- > 0;) {
			uint32_t down = lengths[(i + 1) * width + k], right = lengths[i * width + k + 1];
			bool same = strcmp(a->lines[i].key, b->lines[k].key) == 0;
			lengths[i * width + k] = same           ? lengths[(i + 1) * width + k + 1] + 1
			                         : down > right ? down
			                                        : right;
		}
	return lengths;
}

static void compare_by_line(const struct hp_listing *a, const struct hp_listing *b, hp_listing_row row, void *arg)
{
	for (size_t i = 0; i < a->count || i < b->count; i++) {
		const struct hp_line *x = i < a->count ? &a->lines[i] : NULL, *y = i < b->count ? &b->lines[i] : NULL;
		row(arg, x, y, x && y && strcmp(x->key, y->key) == 0);
	}
}

bool hp_listing_compare(const struct hp_listing *a, const struct hp_listing *b, hp_listing_row row, void *arg)
{
	size_t width = b->count + 1, i = 0, k = 0;

	if ((a->count + 1) * width > CELLS_MAX) {
		compare_by_line(a, b, row, arg);
		return true;
	}
	uint32_t *lengths = fill_lengths(a, b);
	if (!lengths)
		return false;
	while (i < a->count || k < b->count) {
		bool both = i < a->count && k < b->count;
		if (both && strcmp(a->lines[i].key, b->lines[k].key) == 0)
			row(arg, &a->lines[i++], &b->lines[k++], true);
		else if (both && lengths[(i + 1) * width + k] == lengths[i * width + k + 1])
			row(arg, &a->lines[i++], &b->lines[k++], false);
		else if (k == b->count || (both && lengths[(i + 1) * width + k] > lengths[i * width + k + 1]))
			row(arg, &a->lines[i++], NULL, false);
		else
			row(arg, NULL, &b->lines[k++], false);
	}
	free(lengths);
	return true;
}
