/* parent - B21: a parent sees nothing of changes in its child: no stop, no continuation, no signal but that of its end.
 *
 * The parent waits for stops and continuations as well, and takes SIGCHLD for them, while the child changes functions
 * under running and sleeping threads, one of which was not prepared.
 *
 * Seen to fail: with a SIGSTOP and a SIGCONT sent to the child by itself before its last change.
 */
#include "check.h"

#include <sys/wait.h>

static volatile int old = 1;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + 2 * old;
}

APART int plain(int a)
{
	return a * 3 + old;
}

static atomic_bool stop;

static void *calls(void *arg)
{
	while (!atomic_load(&stop))
		CHECK(patched(1) + plain(0) >= 3);
	return arg;
}

static void *sleeps(void *arg)
{
	while (!atomic_load(&stop))
		nap(2);
	return arg;
}

static void in_child(void)
{
	pthread_t threads[2];

	deadline(60);
	threads[0] = thread_start(calls, NULL);
	threads[1] = thread_start(sleeps, NULL);
	for (int i = 0; i < OFTEN(100); i++) {
		CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(patched, .timeout_ms = 20000));
		if (!can_change_unprepared())
			continue;
		CHECK_OK(hotpatch_fn(plain, fresh, .unprepared = true, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(plain, .timeout_ms = 20000));
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		thread_join(threads[i]);
	_exit(0);
}

static atomic_int told;

static void handle(int signo)
{
	(void)signo;
	atomic_fetch_add(&told, 1);
}

int main(void)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART}; /* without SA_NOCLDSTOP */
	int status, seen = 0;
	pid_t child;

	deadline(90);
	sigaction(SIGCHLD, &action, NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		in_child();
	do {
		CHECK_INT(waitpid(child, &status, WUNTRACED | WCONTINUED), child);
		seen++;
	} while (!WIFEXITED(status) && !WIFSIGNALED(status));
	CHECK_INT(status, 0);
	CHECK_INT(seen, 1);
	CHECK_INT(told, 1);
	return 0;
}
