#include "code/jump.h"

#include <string.h>

static size_t part_at(enum hp_part part)
{
	return part == HP_HEAD ? 0 : HP_JUMP_HEAD;
}

static size_t part_size(const struct hp_entry *plan, enum hp_part part)
{
	return part == HP_HEAD ? HP_JUMP_HEAD : plan->jump_len - (size_t)HP_JUMP_HEAD;
}

bool hp_jump_has_tail(const struct hp_entry *plan)
{
	return part_size(plan, HP_TAIL) > 0;
}

bool hp_jump_agrees(const struct hp_entry *plan, enum hp_part part, const uint8_t *code, const uint8_t *jump)
{
	return memcmp(code + part_at(part), jump + part_at(part), part_size(plan, part)) == 0;
}

int hp_jump_write(const struct hp_entry *plan, enum hp_part part, uintptr_t address, const uint8_t *jump,
                  struct hp_text *text, struct hp_err *err)
{
	size_t at = part_at(part), size = part_size(plan, part);
	return size ? hp_text_write(text, address + at, jump + at, size, err) : 0;
}
