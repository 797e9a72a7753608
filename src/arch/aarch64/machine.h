/* machine - the numbers of aarch64; arch.h says what each is. */
#ifndef HP_MACHINE_H
#define HP_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

enum { HP_ARCH_MACHINE = 183 }; /* e_machine of ELF files */

/* -- Registers: DWARF numbers, aadwarf64 section 4.1; a call leaves its return address in x30 ---------------------- */

enum { HP_REG_COUNT = 33, HP_REG_SP = 31, HP_REG_IP = 32, HP_REG_RETURN = 30 };

enum { HP_RETURN_ON_STACK = 0 };

#if defined(__aarch64__) /* the tests compile all but this on any machine */

/* A function that signs its return address (paciasp) stores it with a code in the upper bits, as many as virtual
 * addresses leave. XPACLRI clears them; it is a hint, which processors without that extension pass over. Bit 55 says
 * which half of the address space it is. */
static inline uintptr_t hp_code_mask(void)
{
	register uintptr_t bits __asm__("x30") = UINT64_C(0x007fffffffffffff);
	__asm__("hint #7" : "+r"(bits)); /* xpaclri */
	return bits;
}

/* Tells the processor that the thread waits in a loop. */
static inline void hp_arch_pause(void)
{
	__asm__ volatile("yield");
}

/* What the thread executes next is fetched anew (Arm ARM, B2.2.5). */
static inline void hp_arch_serialise(void)
{
	__asm__ volatile("isb" : : : "memory");
}
#endif

/* How libc hides function pointers in memory is not known here. */
static inline bool hp_arch_pointer_guard(uintptr_t *ret_guard, unsigned *ret_turn)
{
	*ret_guard = *ret_turn = 0;
	return false;
}

/* -- Entries ----------------------------------------------------------------------------------------------------- */

/* The jump is one instruction, and written at once. */
enum { HP_PREFIX_MAX = 1, HP_JUMP_MAX = 4, HP_JUMP_HEAD = 4 };

/* B: a signed displacement of 26 bits, in instructions. */
#define HP_REACH (UINT64_C(1) << 27)

#define HP_PREPARE_HINT "-fpatchable-function-entry=2"

/* -- Generated code ---------------------------------------------------------------------------------------------- */

enum {
	HP_CELL_CODE = 64,
	HP_CELL_LANDING = 0,
	HP_CELL_LANDING_READ = 8, /* its br: the slot was read by the instruction before */
	HP_CELL_BODY = 16,
	HP_CELL_BODY_END = 28,
	HP_CELL_STUB = 32,
	HP_CLOSURE_CODE = 64,
};

/* -- The gate's frame and the registers that outlive a call ------------------------------------------------------- */

struct hp_gate_frame {
	uintptr_t x[19];     /* x0 to x18: what may hold an argument, the place of the result, a static chain */
	uintptr_t saved[10]; /* x19 to x28, for unwinding from here */
	uintptr_t unused;    /* the stack pointer is a multiple of 16 */
	uintptr_t x29;       /* with the next a frame record, as in every function */
	uintptr_t return_address;
};

struct hp_saved_regs {
	uintptr_t saved[10], x29, sp, ip;
};

/* -- Signal frames: the mark is the head of the record with vector registers, which the kernel puts first -----------
 */

/* Words before the mark: from the context's uc_link on. */
enum { HP_SIGFRAME_BEFORE = 57, HP_SIGFRAME_WORDS = 58 };

#endif
