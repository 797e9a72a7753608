/* coroutine - B10: stacks of the program's own are looked at once they are announced.
 *
 * A coroutine is suspended inside the function; no thread is. Announced, its stack stands in the way as a thread would:
 * TRY is busy, WAIT times out. When it has run on, or is not announced any longer, nothing does.
 *
 * Seen to fail: with announced stacks not looked at.
 */
#include "check.h"

#include <ucontext.h>

enum { OLD = 1, NEW = 2 };

static char stack[1 << 16];
static ucontext_t here, there;
static int result;

HOTPATCHABLE int yields(bool suspend)
{
	if (suspend)
		CHECK_INT(swapcontext(&there, &here), 0);
	return OLD;
}

APART int fresh(bool suspend)
{
	return suspend ? -NEW : NEW;
}

static void run(void)
{
	result = yields(true);
}

static void suspend(void)
{
	result = 0;
	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	there.uc_link = &here;
	makecontext(&there, run, 0);
	CHECK_INT(swapcontext(&here, &there), 0);
	CHECK_INT(result, 0);
}

static void resume(void)
{
	CHECK_INT(swapcontext(&here, &there), 0);
	CHECK_INT(result, OLD);
}

static void change(void)
{
	CHECK_OK(hotpatch_fn(yields, fresh));
	CHECK_INT(yields(false), NEW);
	CHECK_OK(hotpatch_restore(yields));
	CHECK_INT(yields(false), OLD);
}

static void in_the_way(void)
{
	int r = hotpatch_fn(yields, fresh, .mode = HOTPATCH_TRY);

	CHECK_CODE(r, HOTPATCH_EBUSY);
	CHECK_SAYS("yields");
	CHECK_CODE(hotpatch_fn(yields, fresh, .timeout_ms = 50), HOTPATCH_ETIMEDOUT);
	CHECK_INT(yields(false), OLD);
}

/* Where a call leaves its return address in a register the innermost one is where swapcontext saved the registers. */
#if defined(__aarch64__)
#define ADD_REGISTERS CHECK_OK(hotpatch_stack_add(&there, sizeof(there)))
#define REMOVE_REGISTERS CHECK_OK(hotpatch_stack_remove(&there))
#else
#define ADD_REGISTERS
#define REMOVE_REGISTERS
#endif

int main(void)
{
	deadline(30);
	change();
	CHECK_OK(hotpatch_stack_add(stack, sizeof(stack)));
	ADD_REGISTERS;
	for (int i = 0; i < 2; i++) {
		suspend();
		in_the_way();
		resume();
		/* Nobody runs there, but what is stale may stop a scan. */
		memset(stack, 0, sizeof(stack));
		memset(&there, 0, sizeof(there));
		change();
	}
	suspend();
	in_the_way();
	CHECK_OK(hotpatch_stack_remove(stack));
	REMOVE_REGISTERS;
	change(); /* the caller's word: nothing is known of this stack any more */
	resume();
	CHECK_CODE(hotpatch_stack_remove(stack), HOTPATCH_EINVAL);
	return 0;
}
