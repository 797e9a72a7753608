/* cell - the code hotpatch generates on x86-64.
 *
 *     +0   FF 25 slot           landing: jmp *slot(%rip)
 *     +16  endbr64; FF 25 body  to the original body of an entry with CET, which has no endbr64 behind its jump
 *     +32  endbr64              stub: the slot points here while the gate is closed
 *          4C 8B 1D site        mov site(%rip), %r11
 *          FF 25 gate           jmp *gate(%rip)
 *
 * %r11 is the only register that is scratch at a function entry and carries nothing: %r10 may hold a static chain, %rax
 * the number of vector arguments (psABI figure 3.4).
 */
#include <string.h>

#include "arch/arch.h"

static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

struct writer {
	uint8_t *at;
	uintptr_t address; /* that *at will have */
};

static void emit(struct writer *w, const void *bytes, size_t n)
{
	memcpy(w->at, bytes, n);
	w->at += n;
	w->address += n;
}

/* An instruction whose last operand is a word in reach, relative to the instruction's end. */
static void emit_relative(struct writer *w, const void *opcode, size_t n, uintptr_t word)
{
	emit(w, opcode, n);
	int32_t offset = (int32_t)(word - (w->address + 4));
	emit(w, &offset, sizeof(offset));
}

static struct writer writer_at(uint8_t *code, uintptr_t address, size_t offset)
{
	return (struct writer){code + offset, address + offset};
}

void hp_arch_cell_fill(uint8_t *code, uintptr_t address, const struct hp_cell_words *words)
{
	memset(code, 0xcc, HP_CELL_CODE);
	struct writer w = writer_at(code, address, HP_CELL_LANDING);
	emit_relative(&w, "\xff\x25", 2, words->slot);

	w = writer_at(code, address, HP_CELL_BODY);
	emit(&w, endbr64, sizeof(endbr64));
	emit_relative(&w, "\xff\x25", 2, words->body);

	w = writer_at(code, address, HP_CELL_STUB);
	emit(&w, endbr64, sizeof(endbr64));
	emit_relative(&w, "\x4c\x8b\x1d", 3, words->site);
	emit_relative(&w, "\xff\x25", 2, words->gate);
}

/*     movabs $slot,%r11; jmp *(%r11)     */
void hp_arch_pun_fill(uint8_t *code, uintptr_t slot)
{
	memset(code, 0xcc, HP_PUN_CODE);
	struct writer w = writer_at(code, 0, 0);
	emit(&w, "\x49\xbb", 2);
	emit(&w, &slot, sizeof(slot));
	emit(&w, "\x41\xff\x23", 3);
}

/*     endbr64; movabs $context,%r11; mov %r11,%fs:offset; movabs $body,%r11; jmp *%r11     */
void hp_arch_closure_fill(uint8_t *code, uintptr_t context, uintptr_t body, ptrdiff_t tls_offset)
{
	memset(code, 0xcc, HP_CLOSURE_CODE);
	struct writer w = writer_at(code, 0, 0);
	int32_t offset = (int32_t)tls_offset;
	emit(&w, endbr64, sizeof(endbr64));
	emit(&w, "\x49\xbb", 2);
	emit(&w, &context, sizeof(context));
	emit(&w, "\x64\x4c\x89\x1c\x25", 5);
	emit(&w, &offset, sizeof(offset));
	emit(&w, "\x49\xbb", 2);
	emit(&w, &body, sizeof(body));
	emit(&w, "\x41\xff\xe3", 3);
}

ptrdiff_t hp_arch_tls_offset(const void *thread_local_variable)
{
	uintptr_t thread_pointer; /* psABI section 3.4.6: the word at %fs:0 holds its own address */
	__asm__("mov %%fs:0, %0" : "=r"(thread_pointer));
	return (ptrdiff_t)((uintptr_t)thread_local_variable - thread_pointer);
}
