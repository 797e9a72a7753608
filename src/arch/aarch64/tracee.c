/* tracee - registers of a thread of another process, on aarch64: not done yet. No system call instruction is found, so
 * that hp_tracee_prepare refuses before anything is changed; the rest is never called.
 */
#include <sys/user.h>

#include "arch/arch.h"

void hp_arch_call_set(struct user_regs_struct *regs, uint64_t function, const uint64_t args[HP_ARCH_CALL_ARGS],
                      uint64_t stack_top, uint64_t syscall_at, uint64_t *ret_at)
{
	(void)regs, (void)function, (void)args, (void)stack_top, (void)syscall_at;
	*ret_at = 0;
}

void hp_arch_syscall_set(struct user_regs_struct *regs, uint64_t number, const uint64_t args[HP_ARCH_CALL_ARGS],
                         uint64_t syscall_at)
{
	(void)regs, (void)number, (void)args, (void)syscall_at;
}

uint64_t hp_arch_call_result(const struct user_regs_struct *regs)
{
	return regs->regs[0];
}

int64_t hp_arch_syscall_result(const struct user_regs_struct *regs)
{
	return (int64_t)regs->regs[0];
}

bool hp_arch_call_returned(const struct user_regs_struct *regs, uint64_t stack_top, uint64_t syscall_at)
{
	(void)regs, (void)stack_top, (void)syscall_at;
	return false;
}

void hp_arch_syscall_skip(struct user_regs_struct *regs)
{
	(void)regs;
}

int64_t hp_arch_interrupted_syscall(const struct user_regs_struct *regs)
{
	(void)regs;
	return -1;
}

bool hp_arch_syscall_again(struct user_regs_struct *regs)
{
	(void)regs;
	return false;
}

size_t hp_arch_find_syscall(const uint8_t *code, size_t n)
{
	(void)code;
	return n;
}
