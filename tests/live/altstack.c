/* altstack - B8: a thread whose signal handler runs on an alternate stack, with the changing function beneath.
 *
 * The handler interrupts the function (old or new), or a thread that is outside, and then sleeps in the kernel or runs
 * on. The one in the function stands in the way, and is named with a frame in the function; the other does not. When
 * the handler has returned the change goes through, and the thread returns what the definition it was in returns.
 * Alternate stacks lie above and below the thread's own, since the heap and a static array do.
 *
 * Seen to fail: with stacks behind signal frames not scanned, and an end that was not reached taken for enough (the
 * change went through with the thread in the function).
 */
#include "check.h"

enum { SIZE = 65536, OLD = 1, NEW = 2 };
enum how { SLEEPS, RUNS };

static sem_t arrived, leave;
static atomic_bool run_on;
static atomic_int tid;
static enum how how;

static void on_signal(int signo UNUSED)
{
	int saved = errno;

	give(&arrived);
	if (how == SLEEPS)
		take(&leave);
	else
		while (!atomic_load_explicit(&run_on, memory_order_relaxed))
			;
	errno = saved;
}

/* Interrupts itself, so that it is for sure where it should be. */
static void interrupt(void)
{
	CHECK_INT(pthread_kill(pthread_self(), SIGUSR1), 0);
}

HOTPATCHABLE int patched(bool interrupted)
{
	if (interrupted)
		interrupt();
	return OLD;
}

HOTPATCH int fresh(bool interrupted)
{
	if (interrupted)
		interrupt();
	return NEW;
}

struct run {
	void *stack;
	bool inside;
	int result;
};

static void *runs(void *arg)
{
	struct run *run = arg;
	stack_t stack = {.ss_sp = run->stack, .ss_size = SIZE};

	CHECK_INT(sigaltstack(&stack, NULL), 0);
	atomic_store(&tid, thread_id());
	run->result = patched(run->inside);
	if (!run->inside)
		interrupt();
	stack.ss_flags = SS_DISABLE;
	CHECK_INT(sigaltstack(&stack, NULL), 0);
	return NULL;
}

static int change(int from, enum hotpatch_mode mode, unsigned timeout)
{
	return from == OLD ? hotpatch_fn(patched, fresh, .mode = mode, .timeout_ms = timeout)
	                   : hotpatch_restore(patched, .mode = mode, .timeout_ms = timeout);
}

static void *changes(void *arg)
{
	CHECK_OK(change(*(int *)arg, HOTPATCH_WAIT, 30000));
	return NULL;
}

static void end_handler(void)
{
	if (how == SLEEPS)
		give(&leave);
	else
		atomic_store(&run_on, true);
}

/* The function in the way is `patched`, whichever definition of it the thread is in. */
static void check_named(const char *definition)
{
	const struct hotpatch_error *error = hotpatch_error();
	const struct hotpatch_blocker *blocker = error->blockers;

	CHECK_INT(error->n_blockers, 1);
	CHECK_INT(blocker->thread, tid);
	CHECK_STR(blocker->function, "patched");
	for (size_t i = 0; i < blocker->n_frames; i++)
		if (strcmp(blocker->frames[i].function, definition) == 0)
			return;
	FAIL("none of the %zu frames is in '%s': %s", blocker->n_frames, definition, error->message);
}

static void one(int from, bool inside, void *stack)
{
	struct run run = {stack, inside, 0};
	pthread_t thread, changing;

	atomic_store(&run_on, false);
	thread = thread_start(runs, &run);
	take(&arrived);
	if (how == SLEEPS)
		AWAIT(thread_state(tid) == 'S');
	if (!inside) {
		CHECK_OK(change(from, HOTPATCH_WAIT, 30000));
		end_handler();
	} else {
		CHECK_CODE(change(from, HOTPATCH_TRY, 0), HOTPATCH_EBUSY);
		check_named(from == OLD ? "patched" : "fresh");
		CHECK_CODE(change(from, HOTPATCH_WAIT, 30), HOTPATCH_ETIMEDOUT);
		CHECK_INT(patched(false), from);
		changing = thread_start(changes, &from);
		end_handler();
		thread_join(changing);
	}
	thread_join(thread);
	CHECK_INT(run.result, from);
	CHECK_INT(patched(false), OLD + NEW - from);
}

int main(void)
{
	static char below[SIZE] __attribute__((aligned(64)));
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
	char above[SIZE] __attribute__((aligned(64))); /* the first thread's stack is the highest */

	deadline(60);
	sem_init(&arrived, 0, 0);
	sem_init(&leave, 0, 0);
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < 16; i++) {
		how = i & 1 ? RUNS : SLEEPS;
		one(OLD, i & 2, i & 4 ? above : below);
		one(NEW, i & 2, i & 8 ? above : below);
	}
	return 0;
}
