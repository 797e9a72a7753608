/* branch - where branches of aarch64 go (Arm Architecture Reference Manual, C6.2). */
#ifndef HP_ARCH_AARCH64_BRANCH_H
#define HP_ARCH_AARCH64_BRANCH_H

#include <stdbool.h>
#include <stdint.h>

/* The operand of `bits` bits at `shift`, a signed number of instructions, in bytes. */
static inline int64_t branch_operand(uint32_t word, unsigned shift, unsigned bits)
{
	uint32_t field = word >> shift & ((1u << bits) - 1);
	int64_t sign = INT64_C(1) << (bits - 1);
	return (((int64_t)field ^ sign) - sign) * 4;
}

/* How far a branch goes, in bytes from itself; false for what is none. Indirect ones may go anywhere. Calls and returns
 * are no branches here. */
static inline bool branch_read(uint32_t word, int64_t *ret_distance, bool *ret_indirect)
{
	*ret_indirect = (word & 0xfefff000) == 0xd61f0000; /* br, braa, brab ... */
	if ((word & 0xfc000000) == 0x14000000)             /* b */
		*ret_distance = branch_operand(word, 0, 26);
	else if ((word & 0xff000000) == 0x54000000 || (word & 0x7e000000) == 0x34000000) /* b.cond; cbz, cbnz */
		*ret_distance = branch_operand(word, 5, 19);
	else if ((word & 0x7e000000) == 0x36000000) /* tbz, tbnz */
		*ret_distance = branch_operand(word, 5, 14);
	else
		return *ret_indirect;
	return true;
}

#endif
