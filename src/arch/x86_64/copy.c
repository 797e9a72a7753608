/* copy - the instructions under a jump, executed elsewhere; and the breakpoint that makes way for the jump.
 *
 *     function                          copy
 *     48 83 EC 08     sub $8,%rsp  ->   48 83 EC 08          sub $8,%rsp
 *     E8 rel32        call f            FF 35 back           push back(%rip)        the return address it would have
 * had b: ...                               E9 rel32             jmp f
 *                                       ...
 *                                 back: b
 *
 *     0F 84 rel32, 74 rel8   je x  ->   0F 84 rel32          je x
 *     8B 05 rel32     mov x(%rip)  ->   8B 05 rel32'         mov x(%rip)
 *                                       E9 rel32             jmp b
 *
 * In front of them stands an endbr64, since the copy is jumped to through memory. A call is made by hand so that its
 * return address lies in the function: unwinders know nothing of the copy.
 */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "arch/arch.h"

enum { BACK_AT = HP_COPY_CODE - 8 }; /* the return address of a call */

const uint8_t hp_arch_breakpoint = 0xcc;

struct copy {
	uint8_t *code;
	uintptr_t address, jump;
	size_t used;
	bool in_reach;
	struct hp_copy_map map;
};

static void add_point(struct copy *copy, bool at_entry, uintptr_t origin)
{
	copy->map.v[copy->map.n++] =
		(struct hp_copy_point){.from = (uint8_t)copy->used, .at_entry = at_entry, .origin = origin};
}

static void emit(struct copy *copy, const void *bytes, size_t n)
{
	memcpy(copy->code + copy->used, bytes, n);
	copy->used += n;
}

/* Four bytes that lead to `target` from the end of an instruction that ends `behind` bytes after them. */
static void emit_relative(struct copy *copy, uintptr_t target, size_t behind)
{
	int64_t distance = (int64_t)(target - (copy->address + copy->used + 4 + behind));
	int32_t near = (int32_t)distance;
	copy->in_reach &= near == distance;
	emit(copy, &near, sizeof(near));
}

static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

static void emit_call(struct copy *copy, const struct hp_step *step)
{
	uintptr_t back = copy->jump + step->at + step->length;
	memcpy(copy->code + BACK_AT, &back, sizeof(back));
	emit(copy, "\xff\x35", 2);
	emit_relative(copy, copy->address + BACK_AT, 0);
	add_point(copy, true, 0);
	if (step->kind == HP_STEP_CALL)
		emit(copy, "\xe9", 1);
	else
		emit(copy, "\xff\x25", 2);
	emit_relative(copy, step->target, 0);
}

static void emit_step(struct copy *copy, const struct hp_step *step, const uint8_t *bytes)
{
	add_point(copy, false, copy->jump + step->at);
	switch (step->kind) {
	case HP_STEP_RELATIVE:
		emit(copy, bytes, step->operand);
		emit_relative(copy, step->target, step->length - step->operand - 4u);
		emit(copy, bytes + step->operand + 4, step->length - step->operand - 4u);
		break;
	case HP_STEP_BRANCH:
		emit(copy, (const uint8_t[]){0x0f, 0x80 | step->operand}, 2);
		emit_relative(copy, step->target, 0);
		break;
	case HP_STEP_JUMP:
		emit(copy, "\xe9", 1);
		emit_relative(copy, step->target, 0);
		break;
	case HP_STEP_CALL:
	case HP_STEP_CALL_BY:
		emit_call(copy, step);
		break;
	default:
		emit(copy, bytes, step->length);
	}
}

/* At most four short steps and one of 15 bytes: 4 + 4 * 6 + 15 + 5 is less than BACK_AT. */
bool hp_arch_copy_fill(uint8_t *code, uintptr_t address, uintptr_t jump, const uint8_t *bytes,
                       const struct hp_displaced *displaced, struct hp_copy_map *ret_map)
{
	struct copy copy = {.code = code, .address = address, .jump = jump, .in_reach = true};
	memset(code, hp_arch_breakpoint, HP_COPY_CODE);
	add_point(&copy, false, jump);
	emit(&copy, endbr64, sizeof(endbr64));
	for (size_t i = 0; i < displaced->n; i++)
		emit_step(&copy, &displaced->v[i], bytes + displaced->v[i].at);
	if (displaced->v[displaced->n - 1].kind < HP_STEP_JUMP) {
		add_point(&copy, false, jump + displaced->size);
		emit(&copy, "\xe9", 1);
		emit_relative(&copy, jump + displaced->size, 0);
	}
	*ret_map = copy.map;
	return copy.in_reach;
}

uintptr_t hp_arch_trap_address(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP] - 1;
}

void hp_arch_trap_resume(ucontext_t *context, uintptr_t address)
{
	context->uc_mcontext.gregs[REG_RIP] = (greg_t)address;
}

/* arch_prctl(ARCH_SHSTK_STATUS), kernel, Documentation/arch/x86/shstk.rst; kernels without it refuse the call. */
bool hp_arch_shadow_stack(void)
{
	uint64_t features = 0;
	long result = hp_syscall(SYS_arch_prctl, 0x5005, (long)&features, 0, 0, 0, 0);
	return result == 0 && features & 1;
}
