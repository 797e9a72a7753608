/* copy - what unprepared functions need, which cannot be patched on aarch64: hp_arch_entry_over says so before anything
 * here is asked. */
#include "arch/arch.h"

const uint8_t hp_arch_breakpoint = 0;

bool hp_arch_copy_fill(uint8_t *code, uintptr_t address, uintptr_t jump, const uint8_t *bytes,
                       const struct hp_displaced *displaced, struct hp_copy_map *ret_map)
{
	(void)code;
	(void)address;
	(void)jump;
	(void)bytes;
	(void)displaced;
	(void)ret_map;
	return false;
}

void hp_arch_pun_fill(uint8_t *code, uintptr_t slot)
{
	(void)code;
	(void)slot;
}

uintptr_t hp_arch_trap_address(const ucontext_t *context)
{
	return context->uc_mcontext.pc;
}

void hp_arch_trap_resume(ucontext_t *context, uintptr_t address)
{
	context->uc_mcontext.pc = address;
}

bool hp_arch_shadow_stack(void)
{
	return false;
}
