/* cell - the code hotpatch generates on aarch64.
 *
 *     +0   adrp x16, slot; ldr x16, [x16, slot]; br x16      landing
 *     +16  adrp x16, body; ldr x16, [x16, body]; ret x16     to the original body of an entry with a landing pad
 *     +32  adrp x17, site; ldr x17, [x17, site]              stub: the slot points here while the gate is closed
 *          adrp x16, gate; ldr x16, [x16, gate]; br x16
 *
 * x16 and x17 are for what comes between a call and the function, veneers and linkage tables (aapcs64 section 6.1.1):
 * nothing is in them at an entry. A jump through x16 may go to `bti c`, as a call may. A return may go anywhere, as the
 * body behind a landing pad needs: it predicts badly, but calls come that way only while a change is being made.
 * (Arm Architecture Reference Manual, D8.4.6 "Branch Target Identification". With a guarded control stack, which no
 * distribution turns on, that return would be refused.)
 *
 * Nothing here executes an instruction of the processor: so it is tested on any.
 */
#include <string.h>

#include "arch/arch.h"

/* Arm Architecture Reference Manual, C6.2. */
enum {
	X16 = 16,
	X17 = 17,
	BRK = 0xd4200000,
	BR = 0xd61f0000,            /* | register << 5 */
	RET = 0xd65f0000,           /* | register << 5 */
	ADRP = 0x90000000,          /* | low 2 bits of the pages << 29 | others << 5 | register */
	LDR_OFFSET = 0xf9400000,    /* | offset in double words << 10 | base << 5 | register */
	LDR_LITERAL = 0x58000000,   /* | distance in words << 5 | register */
	STR = 0xf9000000,           /* as LDR_OFFSET */
	ADD = 0x8b000000,           /* | register << 16 | register << 5 | register */
	MRS_TPIDR_EL0 = 0xd53bd040, /* | register */
	WORD = 4,
};

struct writer {
	uint8_t *at;
	uintptr_t address; /* that *at will have */
};

static void emit(struct writer *w, uint32_t word)
{
	memcpy(w->at, &word, sizeof(word));
	w->at += sizeof(word);
	w->address += sizeof(word);
}

/* Loads the word at an address within 4 GiB. */
static void emit_load(struct writer *w, unsigned reg, uintptr_t word)
{
	uint64_t pages = (word >> 12) - (w->address >> 12);
	emit(w, ADRP | (uint32_t)(pages & 3) << 29 | (uint32_t)(pages >> 2 & 0x7ffff) << 5 | reg);
	emit(w, LDR_OFFSET | (uint32_t)(word & 0xfff) / 8 << 10 | reg << 5 | reg);
}

/* Loads a word that lies among the code, `to` bytes behind the writer's beginning. */
static void emit_literal(struct writer *w, unsigned reg, uintptr_t to)
{
	emit(w, LDR_LITERAL | (uint32_t)((to - w->address) / WORD) << 5 | reg);
}

static struct writer writer_at(uint8_t *code, uintptr_t address, size_t offset)
{
	return (struct writer){code + offset, address + offset};
}

static void fill_with_traps(uint8_t *code, size_t size)
{
	struct writer w = {code, 0};
	while (w.at < code + size)
		emit(&w, BRK);
}

void hp_arch_cell_fill(uint8_t *code, uintptr_t address, const struct hp_cell_words *words)
{
	fill_with_traps(code, HP_CELL_CODE);
	struct writer w = writer_at(code, address, HP_CELL_LANDING);
	emit_load(&w, X16, words->slot);
	emit(&w, BR | X16 << 5);

	w = writer_at(code, address, HP_CELL_BODY);
	emit_load(&w, X16, words->body);
	emit(&w, RET | X16 << 5);

	w = writer_at(code, address, HP_CELL_STUB);
	emit_load(&w, X17, words->site);
	emit_load(&w, X16, words->gate);
	emit(&w, BR | X16 << 5);
}

/*     +0   mrs x17, tpidr_el0; ldr x16, offset; add x17, x17, x16
 *          ldr x16, context; str x16, [x17]
 *          ldr x16, body; br x16
 *     +32  offset, context, body
 */
void hp_arch_closure_fill(uint8_t *code, uintptr_t context, uintptr_t body, ptrdiff_t tls_offset)
{
	const uint64_t words[] = {(uint64_t)tls_offset, context, body};
	enum { OFFSET = 32, CONTEXT = 40, BODY = 48 };
	fill_with_traps(code, HP_CLOSURE_CODE);
	memcpy(code + OFFSET, words, sizeof(words));
	struct writer w = {code, 0};
	emit(&w, MRS_TPIDR_EL0 | X17);
	emit_literal(&w, X16, OFFSET);
	emit(&w, ADD | X16 << 16 | X17 << 5 | X17);
	emit_literal(&w, X16, CONTEXT);
	emit(&w, STR | X17 << 5 | X16);
	emit_literal(&w, X16, BODY);
	emit(&w, BR | X16 << 5);
}
