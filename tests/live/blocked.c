/* blocked - B8: threads that block every signal, or wait for every signal.
 *
 * They are no obstacle while they sleep, and see nothing of a change: no read returns early and no sigwait takes a
 * signal that was not sent to it. One that runs and blocks the signal cannot be asked; it stands in the way, is named
 * with that reason, and does so no longer once it unblocks. Threads that come and go all the time, and a main thread
 * that has left, change nothing.
 *
 * Seen to fail: with sleeping threads asked by signal instead of read (sigwait took the signal), and with text read by
 * process id, which fails once the first thread has left.
 */
#include "check.h"

enum { OLD = 1, NEW = 2 };

static volatile int old = OLD;

HOTPATCHABLE int quiet(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static void change(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		CHECK_OK(hotpatch_fn(quiet, fresh, .timeout_ms = 20000));
		CHECK_INT(quiet(0), NEW);
		CHECK_OK(hotpatch_restore(quiet, .timeout_ms = 20000));
		CHECK_INT(quiet(0), OLD);
	}
}

static void block_all(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
}

/* -- Asleep -------------------------------------------------------------------------------------------------- */

static int ends[2];
static atomic_int ready;

static void *reads(void *arg)
{
	char byte = 0;

	block_all();
	atomic_fetch_add(&ready, 1);
	CHECK_INT(read(ends[0], &byte, 1), 1);
	CHECK_INT(byte, 'x');
	return arg;
}

static void *waits(void *arg)
{
	sigset_t all;
	int got = 0;

	block_all();
	sigfillset(&all);
	sigdelset(&all, SIGALRM); /* the test's deadline */
	atomic_fetch_add(&ready, 1);
	CHECK_INT(sigwait(&all, &got), 0);
	CHECK_INT(got, SIGUSR1);
	return arg;
}

static void asleep(void)
{
	pthread_t reader, waiter;

	CHECK_INT(pipe(ends), 0);
	reader = thread_start(reads, NULL);
	waiter = thread_start(waits, NULL);
	AWAIT(ready == 2);
	change(100);
	CHECK_INT(write(ends[1], "x", 1), 1);
	pthread_kill(waiter, SIGUSR1);
	thread_join(reader);
	thread_join(waiter);
}

/* -- Running ------------------------------------------------------------------------------------------------- */

static atomic_int runner;
static atomic_bool accept, stop;

static void *runs(void *arg)
{
	sigset_t none;

	block_all();
	atomic_store(&runner, thread_id());
	while (!atomic_load_explicit(&accept, memory_order_relaxed))
		;
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		;
	return arg;
}

static void running(void)
{
	pthread_t thread = thread_start(runs, NULL);
	const struct hotpatch_blocker *blocker;

	AWAIT(runner != 0);
	CHECK_CODE(hotpatch_fn(quiet, fresh, .timeout_ms = 200), HOTPATCH_ETIMEDOUT);
	CHECK_INT(hotpatch_error()->n_blockers, 1);
	blocker = hotpatch_error()->blockers;
	CHECK_INT(blocker->thread, runner);
	CHECK(strstr(blocker->reason, "signal") != NULL);
	CHECK_INT(quiet(0), OLD);
	atomic_store(&accept, true);
	change(50);
	atomic_store(&stop, true);
	thread_join(thread);
}

/* -- Coming and going ---------------------------------------------------------------------------------------- */

static atomic_bool enough;

static void *nothing(void *arg)
{
	int r = quiet(0);

	CHECK(r == OLD || r == NEW);
	return arg;
}

static void *spawns(void *arg)
{
	while (!atomic_load(&enough))
		thread_join(thread_start(nothing, NULL));
	return arg;
}

static void coming_and_going(void)
{
	pthread_t threads[2] = {thread_start(spawns, NULL), thread_start(spawns, NULL)};

	change(200);
	atomic_store(&enough, true);
	thread_join(threads[0]);
	thread_join(threads[1]);
}

/* Its entry stays in /proc/self/task, as a zombie, until the process ends. */
static void *without_main(void *main_thread)
{
	thread_join(*(pthread_t *)main_thread);
	change(20);
	exit(0);
}

int main(void)
{
	static pthread_t self;

	deadline(60);
	asleep();
	running();
	coming_and_going();
	self = pthread_self();
	thread_start(without_main, &self);
	pthread_exit(NULL);
}
