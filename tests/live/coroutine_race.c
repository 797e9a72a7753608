/* coroutine_race - B10: a thread that switches between two coroutines all the time, one of them in the old body.
 *
 * The thread says that it is out while it is on one stack, and is in the old body a moment later, where its frame is in
 * registers alone. It never leaves it: so every WAIT must time out, every TRY be busy and every DRAIN be in progress,
 * over a hundred times. Then the coroutine leaves the body, and the change is made, while the thread switches on. The
 * second half is the same with stacks that were not announced, and scan_memory; the change is made when they are gone.
 *
 * Seen to fail, in each variant: with stacks looked at while threads run (the change is made under the coroutine within
 * some dozen attempts); with scan_memory not looked at by the transition (the second half).
 *
 * build: machine=x86_64 quick=gcc-O0 limit=120
 */
#include "check.h"

enum { OLD = 1, NEW = 2, STACK = 1 << 16 };

static char *stacks[2];
static _Atomic bool leave, stop;
static _Atomic unsigned long rounds;
static _Atomic int result;

/* What a coroutine library does, with its frames told (.cfi), so that they can be followed; entered: the first frame.
 */
void hop(void **from, void *to);
void entered(void);
#define PUSH(reg) "push %" #reg "\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset " #reg ", 0\n"
#define POP(reg) "pop %" #reg "\n.cfi_adjust_cfa_offset -8\n.cfi_restore " #reg "\n"
__asm__(".pushsection .text\n.globl hop\n.type hop, @function\nhop:\n.cfi_startproc\n" PUSH(rbp) PUSH(rbx) PUSH(r12)
                PUSH(r13) PUSH(r14) PUSH(r15) "mov %rsp, (%rdi)\nmov %rsi, %rsp\n" POP(r15) POP(r14) POP(r13) POP(r12)
                        POP(rbx) POP(rbp) "ret\n.cfi_endproc\n.size hop, . - hop\n"
                                          ".globl entered\n.type entered, @function\nentered:\n.cfi_startproc\n"
                                          ".cfi_undefined rip\nmov %rbx, %rdi\ncall run_one\nud2\n.cfi_endproc\n"
                                          ".size entered, . - entered\n.popsection\n");

static void *at_inside, *at_outside, *at_owner;
static unsigned spin = 4000; /* longer than it takes to write over the stack */

static void pause_a_little(void)
{
	for (unsigned i = 0; i < spin; i++)
		__asm__ volatile("" ::: "memory");
}

/* A leaf, but for the hop, that has written over all that lies below its frame: where the hop would return to, and what
 * signals have left. Nothing in memory leads into it then, nor is it in the way of a search once it is left. */
HOTPATCHABLE int stays(bool here)
{
	while (here && !atomic_load(&leave)) {
		void *at = stacks[0];
		uintptr_t left;

		__asm__ volatile("mov %%rsp, %1\n\tsub %0, %1\n\trep stosb"
		                 : "+D"(at), "=&c"(left)
		                 : "a"(0)
		                 : "memory");
		for (unsigned i = 0; i < spin; i++) /* not a call */
			__asm__ volatile("" ::: "memory");
		hop(&at_inside, at_outside);
	}
	return OLD;
}

APART int fresh(bool here)
{
	return here ? -NEW : NEW;
}

/* What the body and our handlers have left behind below the frames that are there: of a stack that is switched away
 * from it is not known where those end. */
APART void wipe(void)
{
	volatile char below[STACK / 2];

	for (size_t i = 0; i < sizeof(below); i++)
		below[i] = 0;
}

static void run_inside(void)
{
	int returned = stays(true);

	wipe();
	atomic_store(&result, returned);
	for (;;)
		hop(&at_inside, at_outside);
}

static void run_outside(void)
{
	while (!atomic_load(&stop)) {
		atomic_fetch_add(&rounds, 1);
		pause_a_little();
		hop(&at_outside, at_inside);
	}
	hop(&at_outside, at_owner);
}

/* By number: where a function begins another may end, whose return address that would look like. */
void run_one(long which);
void run_one(long which)
{
	if (which)
		run_inside();
	run_outside();
}

/* As hop leaves a stack: six registers, of which rbx is the fifth, and where it returns to. */
static void *begin(char *stack, long which)
{
	uintptr_t *top = (uintptr_t *)(stack + STACK - 64);

	memset(top - 6, 0, 7 * sizeof(*top));
	top[0] = (uintptr_t)entered;
	top[-2] = (uintptr_t)which;
	return top - 6;
}

static void *switching(void *arg)
{
	at_inside = begin(stacks[0], 1);
	at_outside = begin(stacks[1], 0);
	hop(&at_owner, at_outside);
	return arg;
}

static void attempts(int n, bool scan)
{
	unsigned long before = atomic_load(&rounds);

	for (int i = 0; i < n; i++) {
		CHECK_CODE(hotpatch_fn(stays, fresh, .mode = HOTPATCH_TRY, .scan_memory = scan), HOTPATCH_EBUSY);
		CHECK_SAYS("stays");
		CHECK_INT(stays(false), OLD);
		if (i % 8 == 0) {
			CHECK_CODE(hotpatch_fn(stays, fresh, .timeout_ms = 20, .scan_memory = scan),
			           HOTPATCH_ETIMEDOUT);
			CHECK_SAYS("stays");
		}
	}
	CHECK(atomic_load(&rounds) != before);
}

static void half(bool announce, int n)
{
	pthread_attr_t small; /* whole it is looked at too, since it was switched away from */
	pthread_t thread;

	CHECK_INT(pthread_attr_init(&small), 0);
	CHECK_INT(pthread_attr_setstacksize(&small, 4 * STACK), 0);
	atomic_store(&stop, false);
	atomic_store(&leave, false);
	atomic_store(&result, 0);
	for (int i = 0; i < 2; i++) {
		stacks[i] = calloc(1, STACK);
		if (announce)
			CHECK_OK(hotpatch_stack_add(stacks[i], STACK));
	}
	CHECK_INT(pthread_create(&thread, &small, switching, NULL), 0);
	while (atomic_load(&rounds) == 0)
		sched_yield();
	attempts(n, !announce);
	CHECK_CODE(hotpatch_fn(stays, fresh, .mode = HOTPATCH_DRAIN, .timeout_ms = 50, .scan_memory = !announce),
	           HOTPATCH_EINPROGRESS);
	CHECK_SAYS("stays");
	CHECK_INT(stays(false), NEW);
	CHECK_INT(atomic_load(&result), 0);
	atomic_store(&leave, true);
	while (atomic_load(&result) == 0)
		sched_yield();
	CHECK_INT(atomic_load(&result), OLD);
	if (!announce) { /* what is left behind on stacks of which nothing is known counts */
		atomic_store(&stop, true);
		CHECK_INT(pthread_join(thread, NULL), 0);
		memset(stacks[0], 0, STACK);
		memset(stacks[1], 0, STACK);
	}
	CHECK_OK(hotpatch_restore(stays, .timeout_ms = 60000, .stall_ms = 10000, .scan_memory = !announce));
	CHECK_OK(hotpatch_fn(stays, fresh, .timeout_ms = 60000, .stall_ms = 10000, .scan_memory = !announce));
	CHECK_INT(stays(false), NEW);
	CHECK_OK(hotpatch_restore(stays, .timeout_ms = 60000, .stall_ms = 10000, .scan_memory = !announce));
	if (announce) {
		atomic_store(&stop, true);
		CHECK_INT(pthread_join(thread, NULL), 0);
	}
	for (int i = 0; i < 2; i++) {
		if (announce)
			CHECK_OK(hotpatch_stack_remove(stacks[i]));
		free(stacks[i]);
	}
	atomic_store(&rounds, 0);
}

int main(void)
{
	const char *cycles = getenv("HP_CYCLES");
	int n = cycles ? atoi(cycles) : 100;

	deadline(110);
	half(true, n);
	half(false, n / 4);
	return 0;
}
