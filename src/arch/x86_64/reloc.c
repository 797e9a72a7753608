/* reloc - the relocation types of x86-64 objects: number -> what is asked for, and the instructions that are rewritten.
 *
 * The table is psABI table 4.9, less what only linkers write (COPY, GLOB_DAT, JUMP_SLOT, RELATIVE, IRELATIVE, the
 * module's number and whole descriptors) and what only other models of the processor have.
 *
 *     8B 05 rel32   mov x@GOTPCREL(%rip),%reg   ->   8D 05 rel32   lea x(%rip),%reg
 *     FF 15 rel32   call *x@GOTPCREL(%rip)      ->   67 E8 rel32   addr32 call x
 *     FF 25 rel32   jmp *x@GOTPCREL(%rip)       ->   E9 rel32 90   jmp x; nop
 *     48 8D 05 rel32  lea x@TLSDESC(%rip),%reg  ->   48 C7 C0 imm32  mov $x@TPOFF,%reg
 *     FF 10           call *x@TLSCALL(%rax)     ->   66 90           nop
 *
 * psABI section B.2, "Optimize GOTPCRELX Relocations", and Drepper and Oliva's "Thread-Local Storage Descriptors".
 */
#include <elf.h>
#include <string.h>

#include "arch/arch.h"

#define TYPE(number, kind, size, range)                                                                                \
	[R_X86_64_##number] = {"R_X86_64_" #number, HP_RELOC_##kind, size, HP_RANGE_##range}

static const struct hp_reloc_type types[] = {
	TYPE(NONE, NONE, 0, WRAPS),
	TYPE(64, ABSOLUTE, 8, WRAPS),
	TYPE(PC32, RELATIVE, 4, SIGNED),
	TYPE(GOT32, GOT_OFFSET, 4, SIGNED),
	TYPE(PLT32, CALL, 4, SIGNED),
	TYPE(GOTPCREL, GOT, 4, SIGNED),
	TYPE(32, ABSOLUTE, 4, UNSIGNED),
	TYPE(32S, ABSOLUTE, 4, SIGNED),
	TYPE(16, ABSOLUTE, 2, EITHER),
	TYPE(PC16, RELATIVE, 2, SIGNED),
	TYPE(8, ABSOLUTE, 1, EITHER),
	TYPE(PC8, RELATIVE, 1, SIGNED),
	TYPE(DTPOFF64, TLS_IN_MODULE, 8, WRAPS),
	TYPE(TPOFF64, TLS_OFFSET, 8, WRAPS),
	TYPE(TLSGD, TLS_GOT_PAIR, 4, SIGNED),
	TYPE(TLSLD, TLS_GOT_MODULE, 4, SIGNED),
	TYPE(DTPOFF32, TLS_IN_MODULE, 4, SIGNED),
	TYPE(GOTTPOFF, TLS_GOT_OFFSET, 4, SIGNED),
	TYPE(TPOFF32, TLS_OFFSET, 4, SIGNED),
	TYPE(PC64, RELATIVE, 8, WRAPS),
	TYPE(GOTOFF64, FROM_GOT, 8, WRAPS),
	TYPE(GOTPC32, GOT_BASE, 4, SIGNED),
	TYPE(GOT64, GOT_OFFSET, 8, WRAPS),
	TYPE(GOTPCREL64, GOT, 8, WRAPS),
	TYPE(GOTPC64, GOT_BASE, 8, WRAPS),
	TYPE(GOTPLT64, GOT_OFFSET, 8, WRAPS),
	TYPE(PLTOFF64, FROM_GOT, 8, WRAPS),
	TYPE(SIZE32, SIZE, 4, UNSIGNED),
	TYPE(SIZE64, SIZE, 8, WRAPS),
	TYPE(GOTPC32_TLSDESC, TLS_DESCRIPTOR, 4, SIGNED),
	TYPE(TLSDESC_CALL, TLS_DESCRIPTOR_CALL, 0, WRAPS),
	TYPE(GOTPCRELX, GOT, 4, SIGNED),
	TYPE(REX_GOTPCRELX, GOT, 4, SIGNED),
};

const uint16_t hp_arch_elf_machine = EM_X86_64;

const struct hp_reloc_type *hp_arch_reloc_type(uint32_t number)
{
	if (number >= sizeof(types) / sizeof(types[0]) || !types[number].name)
		return NULL;
	return &types[number];
}

static bool fits(int64_t value)
{
	return value == (int32_t)value;
}

static void put(uint8_t *at, int64_t value)
{
	int32_t word = (int32_t)value;
	memcpy(at, &word, sizeof(word));
}

/* A displacement from %rip: mod 0, r/m 5 (Intel SDM volume 2, table 2-2). */
static bool is_from_rip(uint8_t modrm)
{
	return (modrm & 0xc7) == 5;
}

bool hp_arch_relax_got(uint32_t number, uint8_t *at, size_t n_before, int64_t relative)
{
	if ((number != R_X86_64_GOTPCRELX && number != R_X86_64_REX_GOTPCRELX) || n_before < 2)
		return false;
	if (at[-2] == 0x8b && is_from_rip(at[-1]) && fits(relative)) {
		at[-2] = 0x8d;
		put(at, relative);
	} else if (number == R_X86_64_GOTPCRELX && at[-2] == 0xff && at[-1] == 0x15 && fits(relative)) {
		at[-2] = 0x67;
		at[-1] = 0xe8;
		put(at, relative);
	} else if (number == R_X86_64_GOTPCRELX && at[-2] == 0xff && at[-1] == 0x25 && fits(relative + 1)) {
		at[-2] = 0xe9;
		put(at - 1, relative + 1); /* the instruction ends a byte earlier */
		at[3] = 0x90;
	} else {
		return false;
	}
	return true;
}

bool hp_arch_relax_descriptor(uint8_t *at, size_t n_before, int64_t offset)
{
	if (n_before < 3 || (at[-3] & 0xfb) != 0x48 || at[-2] != 0x8d || !is_from_rip(at[-1]) || !fits(offset))
		return false;
	at[-3] = at[-3] & 4 ? 0x49 : 0x48; /* the register moves from reg to r/m, and its fourth bit from R to B */
	at[-2] = 0xc7;
	at[-1] = (uint8_t)(0xc0 | (at[-1] >> 3 & 7));
	put(at, offset);
	return true;
}

bool hp_arch_relax_descriptor_call(uint8_t *at, size_t n)
{
	if (n < 2 || at[0] != 0xff || at[1] != 0x10)
		return false;
	at[0] = 0x66;
	at[1] = 0x90;
	return true;
}

/*     F3 0F 1E FA   endbr64: its address may be taken as that of the function it leads to
 *     FF 25 slot    jmp *slot(%rip) */
bool hp_arch_far_fill(uint8_t *code, uintptr_t address, uintptr_t slot)
{
	static const uint8_t start[] = {0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25};
	int64_t relative = (int64_t)(slot - (address + 10));
	if (!fits(relative))
		return false;
	memset(code, 0xcc, HP_FAR_CODE);
	memcpy(code, start, sizeof(start));
	put(code + sizeof(start), relative);
	return true;
}
