/* doubt - a word on a stack that looks like a return address into the function stops nothing.
 *
 * A stale return address is left where a conservative scan must see it: in the stack of an idle thread, of a running
 * one, and of the thread that makes the change. A proof needs the stack unwound; then nobody is inside. A thread that
 * is truly inside beside the stale words is still found, and so is one whose frames lie below a signal frame. Between a
 * thread's first frame and where its stack is known to end lie its variables, here many, with such words in them.
 *
 * A thread that is asked while it runs and blocks signals, and then falls asleep where its frames cannot be read from
 * outside, is asked again there: it may sleep until the change is made.
 *
 * Seen to fail: with a stale word believed without unwinding, with sleeping threads taken for outside, with the size of
 * the threads' variables unknown, and, in the last of these, with a thread that had been asked awake neither asked
 * again asleep nor looked at again before it ran.
 */
#include "check.h"

enum { OLD = 1, NEW = 2, WORDS = 64 };

static uintptr_t inside_doubted; /* an address a call inside the function returns to */
static sem_t arrived, leave;
static atomic_bool spin;
static bool stays;
static __thread uintptr_t variables[1 << 17];

APART void note_caller(void)
{
	inside_doubted = (uintptr_t)__builtin_return_address(0);
	if (stays) {
		give(&arrived);
		take(&leave);
	}
}

HOTPATCHABLE int doubted(int a)
{
	note_caller();
	return a + OLD;
}

APART int fresh(int a)
{
	return a + NEW;
}

static void change_twice(void)
{
	for (int i = 0; i < 2; i++) {
		CHECK_OK(hotpatch_fn(doubted, fresh, .timeout_ms = 20000));
		CHECK_INT(doubted(0), NEW);
		CHECK_OK(hotpatch_restore(doubted));
		CHECK_INT(doubted(0), OLD);
	}
}

static void litter(volatile uintptr_t *words)
{
	for (int i = 0; i < WORDS; i++)
		words[i] = inside_doubted;
}

static void *idle(void *arg)
{
	volatile uintptr_t words[WORDS];

	litter(words);
	litter(variables);
	give(&arrived);
	take(&leave);
	CHECK(words[0] == words[WORDS - 1]);
	return arg;
}

static void *busy(void *arg)
{
	volatile uintptr_t words[WORDS];

	litter(words);
	give(&arrived);
	while (atomic_load_explicit(&spin, memory_order_relaxed))
		;
	CHECK(words[0] == words[WORDS - 1]);
	return arg;
}

APART void own_stack(void)
{
	volatile uintptr_t words[WORDS];

	litter(words);
	change_twice();
	CHECK(words[0] == words[WORDS - 1]);
}

/* The frames of a handler that waits, with those of what it interrupted below, which is not the function. */
static void handle(int signo)
{
	(void)signo;
	idle(NULL);
}

static void *raises(void *arg)
{
	raise(SIGUSR1);
	return arg;
}

static void other_stack(void *(*run)(void *))
{
	pthread_t thread;

	atomic_store(&spin, true);
	thread = thread_start(run, NULL);
	take(&arrived);
	change_twice();
	atomic_store(&spin, false);
	if (run != busy)
		give(&leave);
	thread_join(thread);
}

static void *enter(void *arg)
{
	volatile uintptr_t words[WORDS];

	litter(words);
	stays = true;
	CHECK_INT(doubted(0), OLD);
	CHECK(words[0] == words[WORDS - 1]);
	return arg;
}

static void handle_inside(int signo)
{
	(void)signo;
	enter(NULL);
}

static void *enters_in_handler(void *arg)
{
	raise(SIGUSR2);
	return arg;
}

static void truly_inside(void *(*run)(void *))
{
	pthread_t thread = thread_start(run, NULL);

	take(&arrived);
	CHECK_CODE(hotpatch_fn(doubted, fresh, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	CHECK_INT(hotpatch_error()->n_blockers, 1);
	CHECK_STR(hotpatch_error()->blockers[0].function, "doubted");
	stays = false;
	give(&leave);
	thread_join(thread);
	change_twice();
}

/* -- Asked awake, and in doubt asleep -------------------------------------------------------------------------- */

static int changed[2]; /* a pipe */
static atomic_bool awake;

static int64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ThreadSanitizer has handlers called in calls that it knows, and then only. */
#ifdef __SANITIZE_THREAD__
#define READ(...) read(__VA_ARGS__)
#else
#define READ(...) syscall(SYS_read, __VA_ARGS__)
#endif

/* Its frame is found by a register that is known to nobody but the thread, and that what it calls does not store. */
APART void sleep_in_doubt(size_t n)
{
	volatile uintptr_t *words = __builtin_alloca(n * sizeof(*words));
	char byte;

	litter(words);
	CHECK_INT(READ(changed[0], &byte, 1), 1);
	CHECK(words[0] == words[WORDS - 1]);
}

static void *asked_awake(void *arg)
{
	int64_t until;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	atomic_store(&awake, true);
	until = now_ns() + (intptr_t)arg;
	while (now_ns() < until)
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	sleep_in_doubt(WORDS);
	return NULL;
}

/* How long it stays awake differs, so that it falls asleep before it is asked, while it is, and after. */
static void fall_asleep(void)
{
	enum { ROUNDS = 40, STEP_NS = 250000 };

	CHECK_INT(pipe(changed), 0);
	for (intptr_t round = 0; round < ROUNDS; round++) {
		pthread_t thread;

		atomic_store(&awake, false);
		thread = thread_start(asked_awake, (void *)(round * STEP_NS));
		while (!atomic_load(&awake))
			sched_yield();
		CHECK_OK(hotpatch_fn(doubted, fresh, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(doubted, .timeout_ms = 20000));
		CHECK_INT(write(changed[1], "", 1), 1);
		thread_join(thread);
	}
}

int main(void)
{
	deadline(60);
	sem_init(&arrived, 0, 0);
	sem_init(&leave, 0, 0);
	signal(SIGUSR1, handle);
	signal(SIGUSR2, handle_inside);
	doubted(0);
	CHECK(inside_doubted != 0);
	own_stack();
	other_stack(idle);
	other_stack(busy);
	other_stack(raises);
	truly_inside(enter);
	truly_inside(enters_in_handler);
	fall_asleep();
	return 0;
}
