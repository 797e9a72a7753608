/* regs - registers of frames as the unwinder wants them, and system calls without errno. */
#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "arch/arch.h"

/* DWARF numbers, psABI figure 3.36. */
enum { RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15, RIP };

static void set(struct hp_regs *regs, unsigned reg, uintptr_t value)
{
	regs->value[reg] = value;
	regs->known |= UINT64_C(1) << reg;
}

/* The gate stands for the function that was called: the frame to begin with is its caller's. */
void hp_arch_regs_from_gate(const struct hp_gate_frame *frame, uintptr_t address, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.known = 0};
	set(&regs, RBX, frame->rbx);
	set(&regs, RBP, frame->rbp);
	set(&regs, R12, frame->r12);
	set(&regs, R13, frame->r13);
	set(&regs, R14, frame->r14);
	set(&regs, R15, frame->r15);
	set(&regs, RSP, address + sizeof(*frame));
	set(&regs, RIP, frame->return_address);
	*ret_regs = regs;
}

void hp_arch_regs_from_saved(const struct hp_saved_regs *saved, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.known = 0};
	set(&regs, RBX, saved->rbx);
	set(&regs, RBP, saved->rbp);
	set(&regs, R12, saved->r12);
	set(&regs, R13, saved->r13);
	set(&regs, R14, saved->r14);
	set(&regs, R15, saved->r15);
	set(&regs, RSP, saved->sp);
	set(&regs, RIP, saved->ip);
	*ret_regs = regs;
}

/* gregs: as in the kernel's and libc's contexts. */
static void regs_from_kernel(const uintptr_t *gregs, struct hp_regs *ret_regs)
{
	static const uint8_t kernel[HP_REG_COUNT] = {
		REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
		REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
	};
	struct hp_regs regs = {.exact_ip = true};
	for (unsigned reg = 0; reg < HP_REG_COUNT; reg++)
		set(&regs, reg, gregs[kernel[reg]]);
	*ret_regs = regs;
}

void hp_arch_regs_from_signal(const ucontext_t *context, struct hp_regs *ret_regs)
{
	regs_from_kernel((const uintptr_t *)context->uc_mcontext.gregs, ret_regs);
}

void hp_arch_regs_from_pair(uintptr_t ip, uintptr_t sp, struct hp_regs *ret_regs)
{
	struct hp_regs regs = {.exact_ip = true};
	set(&regs, RSP, sp);
	set(&regs, RIP, ip);
	*ret_regs = regs;
}

bool hp_arch_regs_leave_entry(struct hp_regs *regs, hp_cfi_read read, void *arg)
{
	uintptr_t return_address;
	if (!read(regs->value[RSP], &return_address, arg))
		return false;
	regs->value[RIP] = return_address;
	regs->value[RSP] += 8;
	regs->exact_ip = false;
	return true;
}

/* mov $15,%rax; syscall: glibc's and musl's restorer, and the one that debuggers look for. The handler has returned to
 * it, so the stack pointer is at the context: the frame without its first word, the restorer's address. */
bool hp_arch_regs_leave_signal(struct hp_regs *regs, hp_cfi_read read, void *arg)
{
	static const uint8_t restorer[8] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f};
	uintptr_t code, context[HP_SIGFRAME_WORDS - 1];
	if (!read(regs->value[RIP], &code, arg) || memcmp(&code, restorer, sizeof(code)) != 0)
		return false;
	for (size_t i = 0; i < sizeof(context) / sizeof(*context); i++)
		if (!read(regs->value[RSP] + i * sizeof(*context), &context[i], arg))
			return false;
	regs_from_kernel(context + 5, regs);
	return true;
}

uintptr_t hp_arch_signal_mark(uintptr_t restorer)
{
	return restorer;
}

/* Word 1 is uc_flags, 2 uc_link, 3 to 5 uc_stack, and from 6 on the registers as in REG_R8 ... (kernel,
 * arch/x86/include/uapi/asm/sigcontext.h, arch/x86/kernel/signal_64.c). The kernel writes 0 as the link, and as the
 * code segment the one of 64-bit user code: stale words behind a stale restorer seldom look like that. */
bool hp_arch_signal_frame(const uintptr_t words[HP_SIGFRAME_WORDS], uintptr_t *ret_ip, uintptr_t *ret_sp)
{
	const uintptr_t *regs = words + 6;
	if (words[2] != 0 || (regs[REG_CSGSFS] & 0xffff) != 0x33)
		return false;
	*ret_ip = regs[REG_RIP];
	*ret_sp = regs[REG_RSP];
	return true;
}

/*     B8 nr32   mov $nr, %eax
 *     0F 05     syscall          <- the interrupted instruction pointer is behind it
 * The kernel leaves -EINTR in %rax and has the arguments' registers as they were, but for %rcx and %r11, which the
 * instruction destroys anyway (kernel, arch/x86/entry/entry_64.S). */
/* The length of the instruction at code[0..n) if it fills a register other than RAX, as libc does to pass arguments:
 * mov of a register, a constant or a word on the stack, lea, xor with itself. Else 0. Intel SDM volume 2, section 2.1.
 */
static size_t argument_length(const uint8_t *code, size_t n)
{
	size_t at = n > 0 && (code[0] & 0xf0) == 0x40;
	if (n < at + 2)
		return 0;
	uint8_t rex = at ? code[0] : 0, opcode = code[at], modrm = code[at + 1], mod = modrm >> 6;
	unsigned reg = (modrm >> 3 & 7u) | (rex & 4u) << 1, rm = (modrm & 7u) | (rex & 1u) << 3;
	if ((opcode & 0xf8) == 0xb8) { /* mov $imm32 */
		bool fills_rax = opcode == 0xb8 && !(rex & 1), wide = rex & 8;
		return fills_rax || wide || n < at + 5 ? 0 : at + 5;
	}
	if (mod == 3) {
		bool loads = opcode == 0x8b && reg != 0, stores = opcode == 0x89 && rm != 0;
		return loads || stores || (opcode == 0x31 && reg == rm && rm != 0) ? at + 2 : 0;
	}
	bool by_sp = (modrm & 7) == 4 && n > at + 2 && code[at + 2] == 0x24 && !(rex & 3), by_bp = rm == 5 && mod != 0;
	if ((opcode != 0x8b && opcode != 0x8d) || reg == 0 || !(by_sp || by_bp))
		return 0;
	size_t length = at + 2 + by_sp + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
	return length <= n ? length : 0;
}

static bool are_arguments(const uint8_t *code, size_t n)
{
	while (n > 0) {
		size_t length = argument_length(code, n);
		if (!length)
			return false;
		code += length;
		n -= length;
	}
	return true;
}

enum { NUMBER_MAX = 1024 }; /* greater than all numbers of system calls */

/* The number of the system call before `ip`: the constant that was moved to EAX, with nothing but arguments between.
 * `room` bytes before ip may be read. A byte that makes the constant one for R8 must not precede it. */
static bool syscall_number(const uint8_t *ip, size_t room, uint32_t *ret_number)
{
	enum { MOV = 5, SYSCALL = 2, BETWEEN_MAX = 24 };
	if (room < SYSCALL || ip[-2] != 0x0f || ip[-1] != 0x05)
		return false;
	for (size_t between = 0; between <= BETWEEN_MAX && between + MOV + SYSCALL < room; between++) {
		const uint8_t *code = ip - SYSCALL - between - MOV;
		memcpy(ret_number, code + 1, sizeof(*ret_number));
		if (code[0] == 0xb8 && (code[-1] & 0xf1) != 0x41 && *ret_number < NUMBER_MAX &&
		    are_arguments(code + MOV, between))
			return true;
	}
	return false;
}

/* musl has one function for all calls that can be cancelled, which takes the number as an argument and keeps it nowhere
 * (src/thread/x86_64/syscall_cp.s). What calls that function has it in a register, to compare it (src/thread/
 * pthread_cancel.c: __syscall_cp_c), and so has the caller's frame behind:
 *
 *     0f 05 | c3                          syscall | ret, to
 *     58+r ..., 48 83 c4 imm8             pop, add imm8, %rsp: as many as there are
 *     48 83 f8 fc, 75 rel8                cmp $-EINTR, %rax; jne
 *     48|49 83 f8+r 03                    cmp $SYS_close, %r: the number
 *
 * All of it is code that the thread is about to execute. */
static bool kept_number(const greg_t *regs, uint32_t *ret_number)
{
	enum { ENOUGH = 32 };
	static const uint8_t is_interrupted[] = {0x48, 0x83, 0xf8, 0xfc, 0x75};
	static const int kept[16] =
		{[3] = REG_RBX, [5] = REG_RBP, [12] = REG_R12, [13] = REG_R13, [14] = REG_R14, [15] = REG_R15};
	const uint8_t *code = *(const uint8_t *const *)regs[REG_RSP];
	if (((uintptr_t)code & 0xfff) > 0x1000 - ENOUGH)
		return false;
	for (const uint8_t *end = code + ENOUGH - 10;; code += code[0] == 0x48 ? 4 : 1) {
		bool pops = (code[0] & 0xf8) == 0x58 || (code[0] == 0x48 && code[1] == 0x83 && code[2] == 0xc4);
		if (!pops || code >= end)
			break;
	}
	if (memcmp(code, is_interrupted, sizeof(is_interrupted)) != 0)
		return false;
	code += sizeof(is_interrupted) + 1;
	if ((code[0] & 0xfe) != 0x48 || code[1] != 0x83 || (code[2] & 0xf8) != 0xf8 || code[3] != SYS_close)
		return false;
	int reg = kept[(code[2] & 7) + 8 * (code[0] & 1)]; /* REG_R8, which is 0, is not kept by calls */
	*ret_number = reg ? (uint32_t)regs[reg] : NUMBER_MAX;
	return *ret_number < NUMBER_MAX;
}

bool hp_arch_restart_syscall(ucontext_t *context)
{
	greg_t *regs = context->uc_mcontext.gregs;
	uintptr_t ip = (uintptr_t)regs[REG_RIP];
	const uint8_t *code = (const uint8_t *)ip;
	uint32_t number;
	/* Never read a page that the thread has not executed, or is not about to execute. */
	if (regs[REG_RAX] != -EINTR || (ip & 0xfff) < 2 || code[-2] != 0x0f || code[-1] != 0x05)
		return false;
	if (!syscall_number(code, ip & 0xfff, &number) && !(code[0] == 0xc3 && kept_number(regs, &number)))
		return false;
	regs[REG_RAX] = number;
	regs[REG_RIP] -= 2;
	return true;
}

long hp_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return result;
}

/* -- What gate.S needs to know of the processor ------------------------------------------------------------------ */

enum { SAVE_FXSAVE, SAVE_XSAVE, SAVE_XSAVEC };

/* Everything that may hold an argument or a floating-point setting: x87, SSE, AVX, AVX-512 (masks and both halves). Not
 * AMX tiles and not protection keys, which no argument lives in. Intel SDM volume 1, section 13.1. */
enum { SAVE_STATES = 0xe7 };

uint32_t hp_gate_save_kind __attribute__((visibility("hidden")));
uint32_t hp_gate_save_size __attribute__((visibility("hidden")));
uint32_t hp_gate_save_mask __attribute__((visibility("hidden")));

static uint32_t enabled_states(void)
{
	uint32_t low, high;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low;
}

void hp_arch_gate_init(void)
{
	unsigned a, b, c, d;
	hp_gate_save_kind = SAVE_FXSAVE;
	hp_gate_save_size = 512;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	hp_gate_save_mask = SAVE_STATES & enabled_states();
	/* EBX of leaf 0xd, 0: the size of all enabled states in the standard format; the compact one is smaller. */
	__cpuid_count(0xd, 0, a, b, c, d);
	hp_gate_save_size = b;
	__cpuid_count(0xd, 1, a, b, c, d);
	hp_gate_save_kind = a & 2 ? SAVE_XSAVEC : SAVE_XSAVE;
}

__attribute__((noinline)) void hp_arch_vectors_clear(void)
{
	enum { AVX = 1 << 2, HIGH_ZMM = 1 << 7 };
	if (!(hp_gate_save_mask & AVX))
		return; /* SSE alone: memcpy's registers are overwritten by everything */
	__asm__ volatile("vzeroall" ::
	                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
	                           "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory");
	if (!(hp_gate_save_mask & HIGH_ZMM))
		return;
	__asm__ volatile("vpxorq %zmm16, %zmm16, %zmm16\n\t"
	                 "vpxorq %zmm17, %zmm17, %zmm17\n\t"
	                 "vpxorq %zmm18, %zmm18, %zmm18\n\t"
	                 "vpxorq %zmm19, %zmm19, %zmm19\n\t"
	                 "vpxorq %zmm20, %zmm20, %zmm20\n\t"
	                 "vpxorq %zmm21, %zmm21, %zmm21\n\t"
	                 "vpxorq %zmm22, %zmm22, %zmm22\n\t"
	                 "vpxorq %zmm23, %zmm23, %zmm23\n\t"
	                 "vpxorq %zmm24, %zmm24, %zmm24\n\t"
	                 "vpxorq %zmm25, %zmm25, %zmm25\n\t"
	                 "vpxorq %zmm26, %zmm26, %zmm26\n\t"
	                 "vpxorq %zmm27, %zmm27, %zmm27\n\t"
	                 "vpxorq %zmm28, %zmm28, %zmm28\n\t"
	                 "vpxorq %zmm29, %zmm29, %zmm29\n\t"
	                 "vpxorq %zmm30, %zmm30, %zmm30\n\t"
	                 "vpxorq %zmm31, %zmm31, %zmm31");
}

extern const char hp_arch_tls_descriptor[] __attribute__((visibility("hidden")));

uintptr_t hp_arch_tls_code(void)
{
	return (uintptr_t)hp_arch_tls_descriptor;
}
