/* test_aarch64 - entries and generated code of aarch64, on whatever machine: both are plain bytes.
 *
 * What is expected was assembled by GNU as 2.40 from the instructions beside it (branches and pages from the addresses
 * given), and read back with objdump.
 *
 * Seen to fail: with a B one word further, with the pages of adrp counted from the cell instead of the instruction, and
 * with tbz taken for cbz.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

/* Before arch.h, which would take the numbers of this machine. */
#include "arch/aarch64/machine.h"

#include "arch/aarch64/cell.c"
#define WORD ENTRY_WORD /* a name that both have */
#include "arch/aarch64/entry.c"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { NOP_ = 0xd503201f, PAD_C = 0xd503245f, PAD_JC = 0xd50324df, RET_ = 0xd65f03c0, ADD_ = 0x11000400 };

static enum hp_entry_kind read_words(uint32_t a, uint32_t b, uint32_t c, uint32_t d, struct hp_entry *ret_entry)
{
	const uint32_t words[] = {a, b, c, d};
	uint8_t bytes[HP_ENTRY_AFTER];

	memcpy(bytes, words, sizeof(bytes));
	return hp_arch_entry_read(bytes, 0, bytes, ret_entry);
}

static void test_entries(void **state)
{
	struct hp_entry entry;

	(void)state;
	assert_int_equal(read_words(NOP_, NOP_, ADD_, RET_, &entry), HP_ENTRY_PREPARED);
	assert_int_equal(entry.jump_at, 0);
	assert_int_equal(entry.body_at, 8);
	assert_int_equal(entry.prefix_len, 0);
	assert_false(entry.guarded);
	assert_memory_equal(entry.old_jump, "\x1f\x20\x03\xd5", 4);
	assert_int_equal(read_words(PAD_C, NOP_, NOP_, RET_, &entry), HP_ENTRY_PREPARED);
	assert_int_equal(entry.jump_at, 4);
	assert_int_equal(entry.body_at, 12);
	assert_true(entry.guarded);
	assert_int_equal(read_words(PAD_JC, NOP_, ADD_, RET_, &entry), HP_ENTRY_PREPARED);
	assert_int_equal(entry.body_at, 8);
	assert_int_equal(read_words(ADD_, NOP_, NOP_, RET_, &entry), HP_ENTRY_UNPREPARED);
	assert_int_equal(read_words(PAD_C, ADD_, NOP_, RET_, &entry), HP_ENTRY_UNPREPARED);
	assert_int_equal(read_words(0xd42000e0, NOP_, NOP_, RET_, &entry), HP_ENTRY_BREAKPOINT);
	assert_int_equal(read_words(PAD_C, 0xd4200000, NOP_, RET_, &entry), HP_ENTRY_BREAKPOINT);
}

static uint32_t aimed(uintptr_t entry, uintptr_t landing, bool padded)
{
	struct hp_entry plan;
	uint32_t jump = 0;

	assert_int_equal(padded ? read_words(PAD_C, NOP_, NOP_, RET_, &plan)
	                        : read_words(NOP_, NOP_, ADD_, RET_, &plan),
	                 HP_ENTRY_PREPARED);
	if (hp_arch_entry_aim(&plan, entry, 0, landing))
		memcpy(&jump, plan.new_jump, sizeof(jump));
	return jump; /* 0 is no branch */
}

static void test_jumps(void **state)
{
	(void)state;
	assert_int_equal(aimed(0x400090, 0x401090, false), 0x14000400); /* b .+0x1000 */
	assert_int_equal(aimed(0x400094, 0x40008c, false), 0x17fffffe); /* b .-8 */
	assert_int_equal(aimed(0x400090, 0x40008c, true), 0x17fffffe);
	assert_int_equal(aimed(0x10000000, 0x10000000 + 0x7fffffc, false), 0x15ffffff); /* the furthest */
	assert_int_equal(aimed(0x10000000, 0x10000000 + 0x8000000, false), 0);
	assert_int_equal(aimed(0x10000000, 0x10000000 - 0x8000000, false), 0x16000000);
	assert_int_equal(aimed(0x10000000, 0x10000000 - 0x8000004, false), 0);
}

static void test_cell(void **state)
{
	static const uint32_t want[] = {
		0xf0fffff0, 0xf9400610, 0xd61f0200, 0xd4200000, /* adrp x16, 3ff000; ldr x16, [x16, #8]; br x16; brk */
		0xf0fffff0, 0xf9408610, 0xd65f0200, 0xd4200000, /* ... ldr x16, [x16, #264]; ret x16 */
		0x90000091, 0xf9410631, 0xf0fffff0, 0xf9400210, /* adrp x17, 410000; ldr x17, [x17, #520]; ... */
		0xd61f0200, 0xd4200000, 0xd4200000, 0xd4200000, /* br x16 */
	};
	const struct hp_cell_words words = {.slot = 0x3ff008, .body = 0x3ff108, .site = 0x410208, .gate = 0x3ff000};
	uint8_t code[HP_CELL_CODE];

	(void)state;
	hp_arch_cell_fill(code, 0x400000, &words);
	assert_memory_equal(code, want, sizeof(code));
}

static void test_closure(void **state)
{
	static const uint32_t want[] = {
		0xd53bd051, 0x580000f0, 0x8b100231, 0x580000f0, /* mrs x17, tpidr_el0; ldr x16, 1f; add; ldr x16, 2f */
		0xf9000230, 0x580000f0, 0xd61f0200, 0xd4200000, /* str x16, [x17]; ldr x16, 3f; br x16; brk */
		0x00000010, 0x00000000, 0x55667788, 0x11223344, 0xccccdddd, 0xaaaabbbb, 0xd4200000, 0xd4200000,
	};
	uint8_t code[HP_CLOSURE_CODE];

	(void)state;
	hp_arch_closure_fill(code, 0x1122334455667788, 0xaaaabbbbccccdddd, 16);
	assert_memory_equal(code, want, sizeof(code));
}

static void test_linkage(void **state)
{
	/* adrp x16, 41f000; ldr x17, [x16, #4072]; add x16, x16, #0xfe8; br x17, at 0x4000bc */
	static const uint32_t stub[] = {0xf00000f0, 0xf947f611, 0x913fa210, 0xd61f0220};
	static const uint32_t padded[] = {PAD_C, 0xf00000f0, 0xf947f611, 0x913fa210};
	static const uint32_t other[] = {0xf00000f0, 0xf947f610, 0x913fa210, 0xd61f0220};

	(void)state;
	assert_int_equal(hp_arch_plt_word((const uint8_t *)stub, 0x4000bc), 0x41ffe8);
	assert_int_equal(hp_arch_plt_word((const uint8_t *)padded, 0x4000b8), 0x41ffe8);
	assert_int_equal(hp_arch_plt_word((const uint8_t *)other, 0x4000bc), 0);
}

/* Whether a function of `size` bytes that has this branch `at` bytes behind its entry may go on elsewhere. */
static bool leaves(uint32_t branch, size_t at, size_t size)
{
	uint32_t words[32];

	for (size_t i = 0; i < COUNT(words); i++)
		words[i] = i == at / 4 ? branch : NOP_;
	return hp_arch_may_jump_out((const uint8_t *)words, size);
}

static void test_branches(void **state)
{
	(void)state;
	assert_true(leaves(0x14000400, 16, 64));  /* b .+0x1000 */
	assert_false(leaves(0x17fffffe, 16, 64)); /* b .-8 */
	assert_true(leaves(0x17fffffe, 4, 64));
	assert_false(leaves(0x54ffffe1, 4, 64)); /* b.ne .-4 */
	assert_true(leaves(0x54ffffe1, 0, 64));
	assert_false(leaves(0xb4000043, 52, 64)); /* cbz x3, .+8 */
	assert_true(leaves(0xb4000043, 56, 64));
	assert_false(leaves(0x371fff85, 16, 64)); /* tbnz w5, #3, .-16 */
	assert_true(leaves(0x371fff85, 12, 64));
	assert_true(leaves(0xd61f0120, 4, 64));  /* br x9 */
	assert_true(leaves(0xd71f092a, 4, 64));  /* braa x9, x10 */
	assert_false(leaves(0x94000400, 4, 64)); /* bl .+0x1000 */
	assert_false(leaves(RET_, 4, 64));
}

static bool ends_in_call(uint32_t last)
{
	const uint32_t words[] = {NOP_, last};

	return hp_arch_may_end_in_call((const uint8_t *)words);
}

static void test_calls(void **state)
{
	(void)state;
	assert_true(ends_in_call(0x94000001));  /* bl .+4 */
	assert_true(ends_in_call(0xd63f0060));  /* blr x3 */
	assert_true(ends_in_call(0xd63f089f));  /* blraaz x4 */
	assert_false(ends_in_call(0xd61f0120)); /* br x9 */
	assert_false(ends_in_call(RET_));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries), cmocka_unit_test(test_jumps),   cmocka_unit_test(test_cell),
		cmocka_unit_test(test_closure), cmocka_unit_test(test_linkage), cmocka_unit_test(test_branches),
		cmocka_unit_test(test_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
