/* entry - prepared entries of aarch64 functions, before and after.
 *
 *     entry    [bti c]   [bti c]
 *              nop       b landing
 *              nop       nop
 *              body ...
 *
 * NOP and B are two of the few instructions that may be exchanged for one another while another processor executes
 * them: it executes the one or the other (Arm Architecture Reference Manual, B2.2.5 "Concurrent modification and
 * execution of instructions"). So there is one jump, written at once, and no prefix. It reaches 128 MiB, in which the
 * site's landing lies; that jumps anywhere.
 *
 * A thread between the two NOPs is on its way into the old body, and counts as active.
 */
#include <string.h>

#include "arch/aarch64/branch.h"
#include "arch/arch.h"

/* Arm Architecture Reference Manual, C6.2. */
enum {
	NOP = 0xd503201f,
	BTI_C = 0xd503245f,
	BTI_JC = 0xd50324df,
	B = 0x14000000,
	WORD = 4,
};

static uint32_t word_at(const uint8_t *code)
{
	uint32_t word;
	memcpy(&word, code, sizeof(word));
	return word;
}

static bool is_landing_pad(uint32_t word)
{
	return word == BTI_C || word == BTI_JC;
}

static bool is_breakpoint(uint32_t word)
{
	return (word & 0xffe0001f) == 0xd4200000; /* brk */
}

enum hp_entry_kind hp_arch_entry_read(const uint8_t *before, size_t n_before, const uint8_t *at,
                                      struct hp_entry *ret_entry)
{
	(void)before;
	(void)n_before;
	uint8_t jump_at = is_landing_pad(word_at(at)) ? WORD : 0;
	if (is_breakpoint(word_at(at)) || is_breakpoint(word_at(at + jump_at)))
		return HP_ENTRY_BREAKPOINT;
	if (word_at(at + jump_at) != NOP)
		return HP_ENTRY_UNPREPARED;
	struct hp_entry entry = {
		.prefix_at = (int8_t)jump_at,
		.jump_at = jump_at,
		.jump_len = WORD,
		.body_at = jump_at + WORD,
		.far = true,
		.guarded = jump_at != 0,
	};
	if (word_at(at + entry.body_at) == NOP)
		entry.body_at += WORD;
	memcpy(entry.old_jump, at + jump_at, WORD);
	*ret_entry = entry;
	return HP_ENTRY_PREPARED;
}

/* gcc before 13 lets the function begin, for them, behind its no-operations (gcc bug 98776). */
size_t hp_arch_entry_gap(const uint8_t *at)
{
	size_t gap = is_landing_pad(word_at(at)) ? WORD : 0;
	while (gap + WORD < HP_ENTRY_AFTER && word_at(at + gap) == NOP)
		gap += WORD;
	return gap;
}

bool hp_arch_is_filling(const uint8_t *bytes, size_t n)
{
	(void)bytes;
	(void)n;
	return false;
}

/* One B in place of the first instruction would do, but what it was would have to be executed elsewhere. */
bool hp_arch_entry_over(const uint8_t *at, struct hp_entry *ret_entry)
{
	(void)at;
	(void)ret_entry;
	return false;
}

uintptr_t hp_arch_entry_pun(const struct hp_entry *plan, uintptr_t entry)
{
	(void)plan;
	(void)entry;
	return 0;
}

bool hp_arch_entry_aim(struct hp_entry *plan, uintptr_t entry, uintptr_t slot, uintptr_t landing)
{
	(void)slot;
	int64_t far = (int64_t)(landing - (entry + plan->jump_at)), reach = HP_REACH;
	if (far < -reach || far >= reach || far % WORD != 0)
		return false;
	uint32_t jump = B | ((uint32_t)(far / WORD) & 0x03ffffff);
	memcpy(plan->new_jump, &jump, sizeof(jump));
	return true;
}

/*     [bti c]   adrp x16, page   ldr x17, [x16, offset]   add x16, x16, offset   [autia1716]   br x17     */
uintptr_t hp_arch_plt_word(const uint8_t *code, uintptr_t address)
{
	size_t at = is_landing_pad(word_at(code)) ? WORD : 0;
	uint32_t adrp = word_at(code + at), ldr = word_at(code + at + WORD);
	if ((adrp & 0x9f00001f) != 0x90000010 || (ldr & 0xffc003ff) != 0xf9400211)
		return 0;
	uint32_t pages = (adrp >> 29 & 3) | (adrp >> 5 & 0x7ffff) << 2; /* 21 bits, signed */
	int64_t page = (((int64_t)pages ^ 0x100000) - 0x100000) * 4096;
	uintptr_t offset = (ldr >> 10 & 0xfff) * 8;
	return ((address + at) & ~UINT64_C(0xfff)) + (uintptr_t)page + offset;
}

bool hp_arch_may_end_in_call(const uint8_t *before_end)
{
	uint32_t word = word_at(before_end + 4);
	return (word & 0xfc000000) == 0x94000000     /* bl */
	       || (word & 0xfefff000) == 0xd63f0000; /* blr, blraa, blrab and those with zero as the modifier */
}

/* Words between instructions (literals) may look like branches: so false is a proof, and true is not. */
bool hp_arch_may_jump_out(const uint8_t *code, size_t size)
{
	for (size_t i = 0; i + WORD <= size; i += WORD) {
		int64_t distance = 0;
		bool indirect;
		if (!branch_read(word_at(code + i), &distance, &indirect))
			continue;
		int64_t target = (int64_t)i + distance;
		if (indirect || target < 0 || target >= (int64_t)size)
			return true;
	}
	return false;
}
