/* vforked - B11: a thread that waits in vfork for its child.
 *
 * While it does it is read from outside like any sleeper: inside the function it stands in the way and is named,
 * outside it does not. The child runs in the same memory: what it calls is the definition in force, and it ends without
 * the parent noticing.
 *
 * Seen to fail: with sleeping threads taken for outside.
 */
#include "check.h"

#include <sys/wait.h>

enum { OLD = 1, NEW = 2 };

static volatile int old = OLD;
static int told[2], go[2]; /* pipes: the child is there; it may end */
static atomic_int tid;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

/* The child calls nothing but system calls and `patched`, whose result is its status. */
static int waits_in_vfork(void)
{
	int status;
	pid_t child;

	atomic_store(&tid, thread_id());
	child = vfork();
	if (child == 0) {
		char byte = 0;

		if (write(told[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
			_exit(100);
		_exit(patched(0));
	}
	CHECK(child > 0);
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	return WEXITSTATUS(status);
}

HOTPATCHABLE int inside(void)
{
	return waits_in_vfork() + 0 * old;
}

APART int inside_fresh(void)
{
	return 50 * old;
}

static void *calls(void *function)
{
	return (void *)(intptr_t)((int (*)(void))(uintptr_t)function)();
}

static pthread_t start_vfork(int (*function)(void))
{
	pthread_t thread = thread_start(calls, (void *)(uintptr_t)function);
	char byte;

	CHECK_INT(read(told[0], &byte, 1), 1);
	return thread;
}

static void end_vfork(pthread_t thread, int want)
{
	CHECK_INT(write(go[1], "x", 1), 1);
	CHECK_INT((intptr_t)thread_join(thread), want);
}

int main(void)
{
	pthread_t thread;

	deadline(60);
	CHECK(pipe2(told, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0);
	for (int i = 0; i < 5; i++) {
		thread = start_vfork(inside);
		CHECK_CODE(hotpatch_fn(inside, inside_fresh, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
		CHECK_BLOCKER(tid, "inside");
		CHECK_CODE(hotpatch_fn(inside, inside_fresh, .timeout_ms = 50), HOTPATCH_ETIMEDOUT);
		CHECK_OK(hotpatch_fn(patched, fresh));
		end_vfork(thread, NEW);
		CHECK_OK(hotpatch_fn(inside, inside_fresh));
		CHECK_INT(inside(), 50);
		CHECK_OK(hotpatch_restore(inside));
		thread = start_vfork(waits_in_vfork);
		CHECK_OK(hotpatch_restore(patched));
		end_vfork(thread, OLD);
	}
	return 0;
}
