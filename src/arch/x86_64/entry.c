/* entry - prepared entries of x86-64 functions, before and after.
 *
 *     without CET: prefix 6 (or 5)                   with CET: prefix 5
 *     entry-6  FF 25 rel32   jmp *slot(%rip)         entry-5  E9 rel32      jmp landing, which is jmp *slot(%rip)
 *     entry    90 90 | 66 90  ->  EB F8              entry    F3 0F 1E FA 90 90  ->  F3 0F 1E FA EB F5
 *
 * gcc puts two one-byte no-operations at the entry, clang one of two bytes. A thread that stands between gcc's two
 * executes the second byte of the jump alone. So only distances are used whose low byte is harmless alone at a function
 * entry: F8 (clc) from a prefix of 6, F9 (stc) from one of 5, and with CET F5 (cmc) from one of 5. The others up to 16
 * trap or crash; with CET a prefix of 6 gives F4, hlt.
 *
 * A function that is not prepared takes E9 rel32 to the landing over its first instructions, behind an endbr64.
 * (Intel SDM volume 2: CLC, STC, CMC; the flags are not preserved across calls, psABI section 3.2.1.)
 */
#include <string.h>

#include "arch/arch.h"

enum { NOP = 0x90, INT3 = 0xcc, JMP_SHORT = 0xeb, JMP_NEAR = 0xe9 };
enum { SHORT_SIZE = 2, NEAR_SIZE = 5 };

static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

static bool is_jump_room(const uint8_t *at)
{
	return at[1] == NOP && (at[0] == NOP || at[0] == 0x66);
}

static size_t count_nops_before(const uint8_t *before, size_t n)
{
	size_t count = 0;
	while (count < n && before[n - 1 - count] == NOP)
		count++;
	return count;
}

enum hp_entry_kind hp_arch_entry_read(const uint8_t *before, size_t n_before, const uint8_t *at,
                                      struct hp_entry *ret_entry)
{
	bool cet = memcmp(at, endbr64, sizeof(endbr64)) == 0;
	uint8_t jump_at = cet ? sizeof(endbr64) : 0;
	if (at[0] == INT3 || at[jump_at] == INT3)
		return HP_ENTRY_BREAKPOINT;
	size_t room = count_nops_before(before, n_before);
	if (!is_jump_room(at + jump_at) || room < 5)
		return HP_ENTRY_UNPREPARED;
	uint8_t prefix = !cet && room >= 6 ? 6 : 5;
	struct hp_entry entry = {
		.prefix_at = (int8_t)-prefix,
		.prefix_len = prefix,
		.jump_at = jump_at,
		.jump_len = SHORT_SIZE,
		.body_at = jump_at + SHORT_SIZE,
		.far = prefix == 5,
		.guarded = cet,
	};
	memcpy(entry.old_prefix, before + n_before - prefix, prefix);
	memcpy(entry.old_jump, at + jump_at, SHORT_SIZE);
	entry.new_jump[0] = JMP_SHORT;
	entry.new_jump[1] = (uint8_t)(0 - (prefix + jump_at + SHORT_SIZE));
	*ret_entry = entry;
	return HP_ENTRY_PREPARED;
}

size_t hp_arch_entry_gap(const uint8_t *at)
{
	(void)at;
	return 0;
}

/* Bytes of the NOP of several bytes at `at` (Intel SDM volume 2, NOP): 0F 1F /0 with an operand, behind prefixes 66 and
 * 2E; 0: it is none. More than n where it is cut. */
static size_t nop_length(const uint8_t *at, size_t n)
{
	size_t prefixes = 0;
	while (prefixes < n && (at[prefixes] == 0x66 || at[prefixes] == 0x2e))
		prefixes++;
	if (prefixes == n)
		return n + 1;
	if (at[prefixes] == 0x90)
		return prefixes + 1;
	if (at[prefixes] != 0x0f || (prefixes + 1 < n && at[prefixes + 1] != 0x1f))
		return 0;
	if (prefixes + 2 >= n)
		return n + 1;
	uint8_t modrm = at[prefixes + 2];
	return prefixes + 3 + ((modrm & 7) == 4) + (modrm >> 6 == 1 ? 1 : modrm >> 6 == 2 ? 4 : 0);
}

bool hp_arch_is_filling(const uint8_t *bytes, size_t n)
{
	for (size_t at = 0; at < n;) {
		size_t length = bytes[at] == 0xcc ? 1 : nop_length(bytes + at, n - at);
		if (!length)
			return false;
		at += length;
	}
	return true;
}

bool hp_arch_entry_over(const uint8_t *at, struct hp_entry *ret_entry)
{
	bool cet = memcmp(at, endbr64, sizeof(endbr64)) == 0;
	uint8_t jump_at = cet ? sizeof(endbr64) : 0;
	struct hp_entry entry = {
		.prefix_at = (int8_t)jump_at,
		.jump_at = jump_at,
		.jump_len = NEAR_SIZE,
		.body_at = jump_at,
		.unprepared = true,
	};
	memcpy(entry.old_jump, at + jump_at, NEAR_SIZE);
	entry.new_jump[0] = JMP_NEAR;
	*ret_entry = entry;
	return true;
}

uintptr_t hp_arch_entry_pun(const struct hp_entry *plan, uintptr_t entry)
{
	int32_t offset;
	memcpy(&offset, plan->old_jump + 1, sizeof(offset));
	if (plan->old_jump[0] == JMP_NEAR)
		return 0;
	return entry + plan->jump_at + NEAR_SIZE + (uintptr_t)(intptr_t)offset;
}

static bool distance(uintptr_t from, uintptr_t to, uint8_t *ret_bytes)
{
	int64_t far = (int64_t)(to - from);
	if (far < INT32_MIN || far > INT32_MAX)
		return false;
	int32_t near = (int32_t)far;
	memcpy(ret_bytes, &near, sizeof(near));
	return true;
}

bool hp_arch_entry_aim(struct hp_entry *plan, uintptr_t entry, uintptr_t slot, uintptr_t landing)
{
	if (plan->unprepared && !plan->breakpoint) {
		memcpy(plan->new_jump + 1, plan->old_jump + 1, NEAR_SIZE - 1);
		return true;
	}
	if (plan->unprepared)
		return distance(entry + plan->jump_at + NEAR_SIZE, landing, plan->new_jump + 1);
	if (plan->far) {
		plan->new_prefix[0] = JMP_NEAR;
		return distance(entry, landing, plan->new_prefix + 1);
	}
	plan->new_prefix[0] = 0xff;
	plan->new_prefix[1] = 0x25;
	return distance(entry, slot, plan->new_prefix + 2);
}

uintptr_t hp_arch_plt_word(const uint8_t *code, uintptr_t address)
{
	size_t at = memcmp(code, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
	if (code[at] == 0xf2) /* bnd, from linkers that still knew MPX */
		at++;
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return 0;
	int32_t offset;
	memcpy(&offset, code + at + 2, sizeof(offset));
	return address + at + 6 + (uintptr_t)(intptr_t)offset;
}

bool hp_arch_may_end_in_call(const uint8_t *before_end)
{
	if (before_end[3] == 0xe8) /* call rel32 */
		return true;
	for (int length = 2; length <= 7; length++) { /* through a register or memory: FF /2, with or without REX */
		const uint8_t *at = before_end + 8 - length;
		if (at[0] == 0xff && (at[1] >> 3 & 7) == 2)
			return true;
	}
	return false;
}

/* Looks at every byte as if an instruction began there: what is not found so is not there. Parts of one function in
 * two sections are joined by relocations, so by 32-bit displacements (or by tables, through an indirect jump). */
bool hp_arch_may_jump_out(const uint8_t *code, size_t size)
{
	for (size_t i = 0; i + 1 < size; i++) {
		size_t operand = 0;
		if (code[i] == JMP_NEAR)
			operand = i + 1;
		else if (code[i] == 0x0f && (code[i + 1] & 0xf0) == 0x80)
			operand = i + 2;
		else if (code[i] == 0xff && ((code[i + 1] >> 3 & 7) == 4 || (code[i + 1] >> 3 & 7) == 5))
			return true;
		if (operand == 0 || operand + 4 > size)
			continue;
		int32_t offset;
		memcpy(&offset, code + operand, sizeof(offset));
		int64_t target = (int64_t)operand + 4 + offset;
		if (target < 0 || target >= (int64_t)size)
			return true;
	}
	return false;
}
