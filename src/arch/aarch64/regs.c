/* regs - registers of frames as the unwinder wants them, and system calls without errno. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

#include "arch/aarch64/branch.h"
#include "arch/arch.h"
#include "base/mapped.h"

/* DWARF numbers, aadwarf64 section 4.1: x0 to x30, the stack pointer, and the one that stands for the instruction
 * pointer. */
enum { X0 = 0, X19 = 19, X29 = 29, X30 = 30, SP = HP_REG_SP, PC = HP_REG_IP };

static void set(struct hp_regs *regs, unsigned reg, uintptr_t value)
{
	regs->value[reg] = value;
	regs->known |= UINT64_C(1) << reg;
}

static void set_saved(struct hp_regs *regs, const uintptr_t saved[10], uintptr_t x29)
{
	for (unsigned i = 0; i < 10; i++)
		set(regs, X19 + i, saved[i]);
	set(regs, X29, x29);
}

/* The gate stands for the function that was called: the frame to begin with is its caller's. */
void hp_arch_regs_from_gate(const struct hp_gate_frame *frame, uintptr_t address, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.known = 0};
	set_saved(&regs, frame->saved, frame->x29);
	set(&regs, SP, address + sizeof(*frame));
	set(&regs, PC, frame->return_address & hp_code_mask());
	*ret_regs = regs;
}

void hp_arch_regs_from_saved(const struct hp_saved_regs *saved, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.known = 0};
	set_saved(&regs, saved->saved, saved->x29);
	set(&regs, SP, saved->sp);
	set(&regs, PC, saved->ip);
	*ret_regs = regs;
}

void hp_arch_regs_from_signal(const ucontext_t *context, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.exact_ip = true};
	for (unsigned reg = X0; reg <= X30; reg++)
		set(&regs, reg, context->uc_mcontext.regs[reg]);
	set(&regs, SP, context->uc_mcontext.sp);
	set(&regs, PC, context->uc_mcontext.pc);
	*ret_regs = regs;
}

void hp_arch_regs_from_pair(uintptr_t ip, uintptr_t sp, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.exact_ip = true};
	set(&regs, SP, sp);
	set(&regs, PC, ip);
	*ret_regs = regs;
}

bool hp_arch_regs_leave_entry(struct hp_regs *regs, hp_cfi_read read, void *arg)
{
	(void)read;
	(void)arg;
	if (!(regs->known >> X30 & 1))
		return false;
	set(regs, PC, regs->value[X30] & hp_code_mask());
	regs->exact_ip = false;
	return true;
}

/* -- Signal frames ----------------------------------------------------------------------------------------------- */

/* From the handler's stack pointer up, as it returns (kernel, arch/arm64/kernel/signal.c and
 * arch/arm64/include/uapi/asm/sigcontext.h), in bytes:
 *
 *     +0     siginfo, 128 bytes
 *     +128   context: flags, link, stack, 128 bytes for the signal mask
 *     +304   fault address, x0 to x30, stack pointer, instruction pointer, processor state
 *     +592   records, each with its kind and size in front: the first holds the vector registers
 */
enum { FRAME_LINK = 136, FRAME_X0 = 312, FRAME_SP = 560, FRAME_PC = 568, FRAME_STATE = 576, FRAME_RECORDS = 592 };

_Static_assert((FRAME_RECORDS - FRAME_LINK) / 8 == HP_SIGFRAME_BEFORE, "where the mark is");
_Static_assert(offsetof(ucontext_t, uc_mcontext.regs) == FRAME_X0 - 128, "where the kernel puts the registers");
_Static_assert(offsetof(ucontext_t, uc_mcontext.pc) == FRAME_PC - 128, "where the kernel puts the registers");
_Static_assert(offsetof(ucontext_t, uc_mcontext.__reserved) == FRAME_RECORDS - 128, "where the records begin");

/* FPSIMD_MAGIC and the size of that record: 32 vector registers, their state and this head. Handlers return to the
 * kernel's own code, whose address stands somewhere in their frames: it does not lead to the context. */
uintptr_t hp_arch_signal_mark(uintptr_t restorer)
{
	(void)restorer;
	return UINT64_C(528) << 32 | 0x46508001;
}

/* The kernel writes 0 as the link, and user code's exception level is 0 (PSTATE.M). */
bool hp_arch_signal_frame(const uintptr_t words[HP_SIGFRAME_WORDS], uintptr_t *ret_ip, uintptr_t *ret_sp)
{
	enum {
		AT_SP = (FRAME_SP - FRAME_LINK) / 8,
		AT_PC = (FRAME_PC - FRAME_LINK) / 8,
		AT_STATE = (FRAME_STATE - FRAME_LINK) / 8
	};
	if (words[0] != 0 || (words[AT_STATE] & 0x1f) != 0)
		return false;
	*ret_ip = words[AT_PC];
	*ret_sp = words[AT_SP];
	return true;
}

/* mov x8, #139 (rt_sigreturn); svc #0: what debuggers and unwinders look for, since there are no tables for it. */
bool hp_arch_regs_leave_signal(struct hp_regs *regs, hp_cfi_read read, void *arg)
{
	uintptr_t code, frame = regs->value[SP];
	struct hp_regs next = {.exact_ip = true};
	if (!read(regs->value[PC], &code, arg) || code != UINT64_C(0xd4000001d2801168))
		return false;
	for (unsigned reg = X0; reg <= PC; reg++) { /* in the frame they lie in the order of their numbers */
		if (!read(frame + FRAME_X0 + 8 * reg, &next.value[reg], arg))
			return false;
		next.known |= UINT64_C(1) << reg;
	}
	*regs = next;
	return true;
}

/* -- System calls ------------------------------------------------------------------------------------------------ */

/* Of instructions that fill a register, as libc does to pass arguments: the register; -1 for all others. */
static int filled_register(uint32_t word)
{
	bool fills = (word & 0x7fe0ffe0) == 0x2a0003e0    /* mov from a register */
	             || (word & 0x7f800000) == 0x52800000 /* mov of a constant: movz, movn */
	             || (word & 0x7f800000) == 0x12800000 || (word & 0x7f800000) == 0x11000000 /* add of a constant */
	             || (word & 0xbfc00000) == 0xb9400000                                      /* ldr */
	             || (word & 0xfffffc00) == 0x93407c00;                                     /* sxtw */
	return fills ? (int)(word & 31) : word == 0xd503201f ? 31 : -1;
}

/* Whether a branch of the function goes to [low, high): then what stands before low may not have been executed. */
static bool is_entered_at(const struct hp_fde *function, uintptr_t low, uintptr_t high)
{
	for (uintptr_t at = function->begin; at + 4 <= function->end; at += 4) {
		int64_t distance = 0;
		bool indirect;
		if (branch_read(*(const uint32_t *)at, &distance, &indirect) && !indirect &&
		    at + (uintptr_t)distance - low < high - low)
			return true;
	}
	return false;
}

/* The constant, or the register's value, that a mov puts into x0; false for what is none. Registers in `changed` are
 * not what they were. */
static bool moved_value(uint32_t mov, const struct hp_regs *regs, uint32_t changed, uintptr_t *ret_value)
{
	unsigned from = mov >> 16 & 31;
	uintptr_t constant = mov >> 5 & 0xffff, value;
	if ((mov & 0x7fe0ffe0) == 0x2a0003e0 && from != X0 && !(changed >> from & 1))
		value = from == 31 ? 0 : regs->value[from];
	else if ((mov & 0x7fe00000) == 0x52800000) /* movz, not shifted */
		value = constant;
	else if ((mov & 0x7fe00000) == 0x12800000) /* movn */
		value = ~constant;
	else
		return false;
	*ret_value = mov >> 31 ? value : (uint32_t)value;
	return true;
}

/* What was in x0 when the system call before `ip` was made: the register or constant that was moved there, if that is
 * still what it was. Other registers than x0 are as they were (kernel, arch/arm64/kernel/syscall.c). */
static bool first_argument(uintptr_t ip, const struct hp_regs *regs, uintptr_t *ret_value)
{
	enum { SVC_0 = 0xd4000001, LOOK_BACK = 12 };
	struct hp_fde function;
	uint32_t changed = 0; /* registers, between the instruction at hand and the call */
	if (!hp_mapped_function(ip - 4, &function) || *(const uint32_t *)(ip - 4) != SVC_0)
		return false;
	for (uintptr_t at = ip - 8; at >= function.begin && ip - at <= 4 * LOOK_BACK; at -= 4) {
		uint32_t word = *(const uint32_t *)at;
		int reg = filled_register(word);
		if (reg < 0)
			return false;
		if (reg == X0)
			return moved_value(word, regs, changed, ret_value) && !is_entered_at(&function, at + 4, ip);
		changed |= 1u << reg;
	}
	return false;
}

/* The kernel puts -EINTR where the first argument was, and tells nobody what that had been; the number is still in x8.
 * libc moves the argument there from a register that keeps it over the call, in every function that can be cancelled.
 */
bool hp_arch_restart_syscall(ucontext_t *context)
{
	struct hp_regs regs;
	uintptr_t ip = context->uc_mcontext.pc, argument;
	hp_arch_regs_from_signal(context, &regs);
	if (context->uc_mcontext.regs[X0] != (uintptr_t)-EINTR || !first_argument(ip, &regs, &argument))
		return false;
	context->uc_mcontext.regs[X0] = argument;
	context->uc_mcontext.pc = ip - 4;
	return true;
}

long hp_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

ptrdiff_t hp_arch_tls_offset(const void *thread_local_variable)
{
	uintptr_t thread_pointer;
	__asm__("mrs %0, tpidr_el0" : "=r"(thread_pointer));
	return (ptrdiff_t)((uintptr_t)thread_local_variable - thread_pointer);
}

/* -- What gate.S needs to know of the processor ------------------------------------------------------------------ */

uint32_t hp_gate_save_sve __attribute__((visibility("hidden")));

void hp_arch_gate_init(void)
{
	hp_gate_save_sve = getauxval(AT_HWCAP) >> 22 & 1; /* HWCAP_SVE */
}

/* Of v8 to v15 the lower halves are the caller's (AAPCS64 section 6.1.2). */
__attribute__((noinline)) void hp_arch_vectors_clear(void)
{
	__asm__ volatile("movi v0.2d, #0\n\tmovi v1.2d, #0\n\tmovi v2.2d, #0\n\tmovi v3.2d, #0\n\t"
	                 "movi v4.2d, #0\n\tmovi v5.2d, #0\n\tmovi v6.2d, #0\n\tmovi v7.2d, #0\n\t"
	                 "movi v16.2d, #0\n\tmovi v17.2d, #0\n\tmovi v18.2d, #0\n\tmovi v19.2d, #0\n\t"
	                 "movi v20.2d, #0\n\tmovi v21.2d, #0\n\tmovi v22.2d, #0\n\tmovi v23.2d, #0\n\t"
	                 "movi v24.2d, #0\n\tmovi v25.2d, #0\n\tmovi v26.2d, #0\n\tmovi v27.2d, #0\n\t"
	                 "movi v28.2d, #0\n\tmovi v29.2d, #0\n\tmovi v30.2d, #0\n\tmovi v31.2d, #0" ::
	                         : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
	                           "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",
	                           "memory");
}

uintptr_t hp_arch_tls_code(void)
{
	return 0; /* objects are not linked for it yet */
}
