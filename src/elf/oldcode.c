#include "elf/oldcode.h"

#include <stdlib.h>
#include <string.h>

#include "elf/field.h"

static const struct hp_object_symbol *find_function(const struct hp_object *object, const char *name)
{
	for (size_t i = 1; i < object->n_symbols; i++) {
		const struct hp_object_symbol *symbol = &object->symbols[i];
		if (symbol->type == STT_FUNC && symbol->section && symbol->section < object->n_sections &&
		    symbol->size && object->sections[symbol->section].bytes && strcmp(symbol->name, name) == 0)
			return symbol;
	}
	return NULL;
}

/* The bytes of one relocation, cut to the function: false where it touches none of it. */
static bool mask_of(const struct hp_object_relocation *reloc, const struct hp_object_symbol *symbol,
                    struct hp_mask *ret)
{
	struct hp_field field;
	uint64_t low = symbol->value, high = symbol->value + symbol->size;

	if (!hp_field_of(reloc->type, &field))
		return false;
	uint64_t begin = reloc->offset > field.before ? reloc->offset - field.before : 0;
	uint64_t end = reloc->offset + field.size + field.after;
	begin = begin < low ? low : begin;
	end = end > high ? high : end;
	if (end <= begin)
		return false;
	*ret = (struct hp_mask){(uint32_t)(begin - low), (uint32_t)(end - begin)};
	return true;
}

/* Ascending, and joined where they touch: a call behind a thread-local's address has a relocation of its own. */
static void add_mask(struct hp_old_code *code, struct hp_mask mask)
{
	while (code->n_masks && code->masks[code->n_masks - 1].offset >= mask.offset) {
		struct hp_mask last = code->masks[--code->n_masks];
		uint32_t end = mask.offset + mask.length, last_end = last.offset + last.length;
		mask.length = (end > last_end ? end : last_end) - mask.offset;
	}
	struct hp_mask *last = code->n_masks ? &code->masks[code->n_masks - 1] : NULL;
	if (!last || last->offset + last->length < mask.offset) {
		code->masks[code->n_masks++] = mask;
		return;
	}
	if (mask.offset + mask.length > last->offset + last->length)
		last->length = mask.offset + mask.length - last->offset;
}

int hp_old_code_find(const struct hp_object *object, const char *function, struct hp_old_code *ret_code,
                     struct hp_err *err)
{
	const struct hp_object_symbol *symbol = find_function(object, function);
	struct hp_mask mask;

	if (!symbol)
		return hp_err_set(err, HOTPATCH_EBUILD,
		                  "compiled as the program was, '%s' has no function '%s': -ffunction-sections changes "
		                  "what the compiler makes of it",
		                  object->name, function);
	const struct hp_object_section *section = &object->sections[symbol->section];
	struct hp_old_code code = {section->bytes + symbol->value, symbol->size, {0}, NULL, 0};
	uint64_t low = symbol->value, high = low + symbol->size;
	size_t first = hp_object_reloc_at(section, low > HP_FIELD_REACH ? low - HP_FIELD_REACH : 0);
	size_t end = hp_object_reloc_at(section, high + HP_FIELD_REACH);
	code.masks = calloc(end - first + 1, sizeof(*code.masks));
	if (!code.masks)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the old code of '%s'", function);
	for (size_t i = first; i < end; i++)
		if (mask_of(&section->relocs[i], symbol, &mask))
			add_mask(&code, mask);
	hp_code_hash(code.bytes, code.size, code.masks, code.n_masks, code.hash);
	*ret_code = code; /* NOLINT(clang-analyzer-unix.Malloc): the caller has the masks */
	return 0;
}
