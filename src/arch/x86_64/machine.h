/* machine - the numbers of x86-64; arch.h says what each is. */
#ifndef HP_MACHINE_H
#define HP_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

enum { HP_ARCH_MACHINE = 62 }; /* e_machine of ELF files */

/* -- Registers: DWARF numbers, psABI figure 3.36; column 16 is the return address ---------------------------------- */

enum { HP_REG_COUNT = 17, HP_REG_SP = 7, HP_REG_IP = 16, HP_REG_RETURN = HP_REG_IP };

/* A call pushes its return address. */
enum { HP_RETURN_ON_STACK = 1 };

static inline uintptr_t hp_code_mask(void)
{
	return UINTPTR_MAX;
}

/* -- Entries ----------------------------------------------------------------------------------------------------- */

enum { HP_PREFIX_MAX = 6, HP_JUMP_MAX = 5, HP_JUMP_HEAD = 1 };

/* A signed displacement of 32 bits. */
#define HP_REACH (UINT64_C(1) << 31)

#define HP_PREPARE_HINT "-fpatchable-function-entry=8,6 (with -fcf-protection: 7,5)"

/* -- Generated code ---------------------------------------------------------------------------------------------- */

enum {
	HP_CELL_CODE = 64,
	HP_CELL_LANDING = 0,
	HP_CELL_LANDING_READ = 0, /* the landing is one instruction */
	HP_CELL_BODY = 16,
	HP_CELL_BODY_END = 32,
	HP_CELL_STUB = 32,
	HP_CLOSURE_CODE = 64,
};

/* -- The gate's frame and the registers that outlive a call ------------------------------------------------------- */

struct hp_gate_frame {
	uintptr_t rbx, r12, r13, r14, r15; /* callee-saved registers, for unwinding from here */
	uintptr_t r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uintptr_t rbp;
	uintptr_t return_address;
};

struct hp_saved_regs {
	uintptr_t rbx, rbp, r12, r13, r14, r15, sp, ip;
};

/* -- Signal frames: the mark is the restorer's address, which the handler returns to ------------------------------- */

enum { HP_SIGFRAME_BEFORE = 0, HP_SIGFRAME_WORDS = 25 };

/* Tells the processor that the thread waits in a loop. */
static inline void hp_arch_pause(void)
{
	__builtin_ia32_pause();
}

/* Executes a serialising instruction: what the thread executes next is fetched anew (Intel SDM vol. 3, 9.3; AMD APM
 * vol. 2, 7.6.4). */
static inline void hp_arch_serialise(void)
{
	unsigned a = 0, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}

/* How libc hides function pointers in memory (setjmp, atexit): turned left by *ret_turn bits and xor-ed with
 * *ret_guard. False where it does not, or where that is not known. */
static inline bool hp_arch_pointer_guard(uintptr_t *ret_guard, unsigned *ret_turn)
{
#if defined(__GLIBC__) /* sysdeps/unix/sysv/linux/x86_64/pointer_guard.h */
	__asm__("mov %%fs:0x30, %0" : "=r"(*ret_guard));
	*ret_turn = 17;
	return true;
#else
	*ret_guard = *ret_turn = 0;
	return false;
#endif
}

#endif
