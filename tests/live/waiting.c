/* waiting - B22, B3: a thread that waits at the gate takes a signal, whose handler calls a function that is changing.
 *
 * build: quick=gcc-O2 limit=180
 *
 * Threads call `busy` all the time, and are sent signals whose handler calls it too, and stays in it for a while. A
 * thread at the gate has been found out of the old definition; its handler must not take it back in unseen: when a
 * change has returned, nobody is in what it replaced.
 *
 * Seen to fail: with a caller beneath which another one waits at the gate let through to the old definition uncounted,
 * at the first change; with answers believed that were given before somebody passed, after some dozen to hundred.
 */
#include "check.h"

enum { THREADS = 3, CHANGES = OFTEN(800) };

static atomic_int inside[2];

static int stay(int version, int from_handler)
{
	struct timespec pause = {0, 200000};
	atomic_fetch_add(&inside[version], 1);
	if (from_handler)
		nanosleep(&pause, NULL);
	atomic_fetch_sub(&inside[version], 1);
	return version;
}

HOTPATCHABLE int busy(int from_handler)
{
	return stay(0, from_handler);
}

HOTPATCH int other(int from_handler)
{
	return stay(1, from_handler);
}

static atomic_bool stop;
static atomic_long handled;

static void on_signal(int signo UNUSED)
{
	int saved = errno;
	busy(1);
	atomic_fetch_add(&handled, 1);
	errno = saved;
}

static void *calls(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		busy(0);
	return arg;
}

static void *signals(void *threads)
{
	pthread_t *thread = threads;
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		pthread_kill(thread[i % THREADS], SIGUSR1);
		struct timespec pause = {0, 50000};
		nanosleep(&pause, NULL);
	}
	return NULL;
}

int main(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	pthread_t threads[THREADS], sender;

	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(calls, NULL);
	sender = thread_start(signals, threads);
	for (int i = 0; i < CHANGES; i++) {
		int old = i % 2;
		int code = old ? hotpatch_restore(busy, .timeout_ms = 60000)
		               : hotpatch_fn(busy, other, .timeout_ms = 60000);
		int left = atomic_load(&inside[old]);
		if (code != 0)
			FAIL("change %d: %s", i, hotpatch_error()->message);
		if (left != 0)
			FAIL("change %d is done, and %d threads are in the old definition", i, left);
	}
	atomic_store(&stop, true);
	pthread_join(sender, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK(atomic_load(&handled) > 0);
	return 0;
}
