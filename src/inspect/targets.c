#include "inspect/targets.h"

#include <stdlib.h>
#include <string.h>

/* Of the image whose code lies in [low, high). */
static struct {
	uintptr_t low, high;
	uint64_t generation;
	uint8_t *bits; /* NULL: none */
} known;

void hp_targets_forget(void)
{
	free(known.bits);
	known.bits = NULL;
}

/* E8, E9, 0F 80 to 0F 8F: call, jmp and conditional jumps with 32-bit displacements (Intel SDM volume 2). Prefixes do
 * not change where they lead. What hotpatch wrote leads out of the image, and hides nothing but instructions that lead
 * there too. */
static void note_piece(uintptr_t base, const uint8_t *code, size_t size)
{
	for (size_t i = 0; i + 5 <= size; i++) {
		size_t operand = i + 1;
		if (code[i] == 0x0f && (code[i + 1] & 0xf0) == 0x80)
			operand = i + 2;
		else if ((code[i] & 0xfe) != 0xe8)
			continue;
		if (operand + 4 > size)
			return;
		int32_t offset;
		memcpy(&offset, code + operand, sizeof(offset));
		uintptr_t target = base + operand + 4 + (uintptr_t)(intptr_t)offset - known.low;
		if (target < known.high - known.low)
			known.bits[target / 8] |= (uint8_t)(1u << target % 8);
	}
}

/* Read with care: pages of a file that was cut short are not there. False: some of it cannot be read. */
static bool note_range(const struct hp_flow *flow, const struct hp_range *range)
{
	enum { PIECE = 4096, OVERLAP = 6 };
	uint8_t code[PIECE + OVERLAP];
	for (uintptr_t at = range->low; at < range->high; at += PIECE) {
		size_t n = range->high - at < sizeof(code) ? range->high - at : sizeof(code);
		if (!flow->memory(at, code, n))
			return false;
		note_piece(at, code, n);
	}
	return true;
}

static struct hp_range bounds(const struct hp_flow *flow)
{
	struct hp_range all = flow->text[0];
	for (size_t i = 1; i < flow->n_text; i++) {
		if (flow->text[i].low < all.low)
			all.low = flow->text[i].low;
		if (flow->text[i].high > all.high)
			all.high = flow->text[i].high;
	}
	return all;
}

static int learn(const struct hp_flow *flow, struct hp_range all, struct hp_err *err)
{
	hp_targets_forget();
	known.bits = calloc((all.high - all.low) / 8 + 1, 1);
	if (!known.bits)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to look for branches to '%s'", flow->name);
	known.low = all.low;
	known.high = all.high;
	known.generation = flow->generation;
	for (size_t i = 0; i < flow->n_text; i++)
		if (!note_range(flow, &flow->text[i])) {
			hp_targets_forget();
			return hp_err_set(
				err, HOTPATCH_ENOTPREPARED,
				"'%s' is not prepared for patching, and cannot be patched as it is: not all code "
				"of its image can be read",
				flow->name);
		}
	return 0;
}

int hp_targets_lead(const struct hp_flow *flow, uintptr_t address, bool *ret_leads, struct hp_err *err)
{
	struct hp_range all = bounds(flow);
	bool fresh =
		known.bits && known.low == all.low && known.high == all.high && known.generation == flow->generation;
	int error = fresh ? 0 : learn(flow, all, err);
	if (error)
		return error;
	size_t at = address - known.low;
	*ret_leads = known.bits[at / 8] >> at % 8 & 1;
	return 0;
}
