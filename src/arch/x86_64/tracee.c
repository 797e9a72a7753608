/* tracee - registers of a thread of another process, on x86-64.
 *
 *     call:    rsp -> | syscall_at |      rip = function      the function returns to `syscall`, with its result in
 *                     | stack ...  |                          rax, which the kernel takes for the number of a call
 */
#include <errno.h>
#include <string.h>
#include <sys/user.h>

#include "arch/arch.h"

enum { SYSCALL_SIZE = 2 };
enum { FLAG_TRAP = 0x100, FLAG_DIRECTION = 0x400 };

static void set_args(struct user_regs_struct *regs, const uint64_t args[HP_ARCH_CALL_ARGS], bool is_syscall)
{
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
	regs->rcx = args[3];
	if (is_syscall)
		regs->r10 = args[3];
	regs->r8 = args[4];
	regs->r9 = args[5];
	regs->orig_rax = UINT64_MAX; /* the kernel has nothing to restart */
	regs->eflags &= ~(uint64_t)(FLAG_TRAP | FLAG_DIRECTION);
}

void hp_arch_call_set(struct user_regs_struct *regs, uint64_t function, const uint64_t args[HP_ARCH_CALL_ARGS],
                      uint64_t stack_top, uint64_t syscall_at, uint64_t *ret_at)
{
	(void)syscall_at; /* the return address lies on the stack */
	set_args(regs, args, false);
	regs->rax = 0; /* no vector registers are passed to a variadic function */
	regs->rip = function;
	regs->rbp = 0;
	regs->rsp = (stack_top & ~UINT64_C(15)) - 8; /* as after a call, psABI section 3.2.2 */
	*ret_at = regs->rsp;
}

void hp_arch_syscall_set(struct user_regs_struct *regs, uint64_t number, const uint64_t args[HP_ARCH_CALL_ARGS],
                         uint64_t syscall_at)
{
	set_args(regs, args, true);
	regs->rax = number;
	regs->rip = syscall_at;
}

uint64_t hp_arch_call_result(const struct user_regs_struct *regs)
{
	return regs->orig_rax;
}

int64_t hp_arch_syscall_result(const struct user_regs_struct *regs)
{
	return (int64_t)regs->rax;
}

bool hp_arch_call_returned(const struct user_regs_struct *regs, uint64_t stack_top, uint64_t syscall_at)
{
	return regs->rip == syscall_at + SYSCALL_SIZE && regs->rsp == (stack_top & ~UINT64_C(15));
}

void hp_arch_syscall_skip(struct user_regs_struct *regs)
{
	regs->orig_rax = UINT64_MAX;
}

int64_t hp_arch_interrupted_syscall(const struct user_regs_struct *regs)
{
	return (int64_t)regs->orig_rax;
}

bool hp_arch_syscall_again(struct user_regs_struct *regs)
{
	if ((int64_t)regs->orig_rax < 0 || (int64_t)regs->rax != -EINTR)
		return false;
	regs->rax = regs->orig_rax;
	regs->rip -= SYSCALL_SIZE;
	regs->orig_rax = UINT64_MAX;
	return true;
}

size_t hp_arch_find_syscall(const uint8_t *code, size_t n)
{
	for (size_t i = 0; i + SYSCALL_SIZE <= n; i++)
		if (code[i] == 0x0f && code[i + 1] == 0x05)
			return i;
	return n;
}
