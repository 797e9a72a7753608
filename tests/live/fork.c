/* fork - B11: children that fork makes in the middle of changes.
 *
 * build: limit=120
 *
 * One thread changes two functions and changes them back, of which one was not prepared; two call them, and main forks
 * all the while. Each child finds one of the definitions in force, can change the functions itself, and does so without
 * the parent noticing; whatever step of writing a jump the parent was at.
 *
 * Seen to fail: with a lock that was not made anew in the child, which then hung; with sites not mended in the child,
 * which was then ended by a breakpoint that nobody handles.
 */
#include "check.h"

#include <spawn.h>
#include <sys/wait.h>

enum { OLD = 1, NEW = 2, CHILD = 3, CHILDREN = OFTEN(60) };

static volatile int one = 1;

HOTPATCHABLE int patched(int a)
{
	return a + OLD * one;
}

APART int fresh(int a)
{
	return a + NEW * one;
}

APART int of_child(int a)
{
	return a + CHILD * one;
}

APART int plain(int a)
{
	return a * 3 + OLD * one;
}

APART int plain_fresh(int a)
{
	return a * 3 + NEW * one;
}

APART int plain_of_child(int a)
{
	return a * 3 + CHILD * one;
}

static atomic_bool stop;

static void *changes(void *arg)
{
	while (!atomic_load(&stop)) {
		if (can_change_unprepared()) {
			CHECK_OK(hotpatch_fn(plain, plain_fresh, .unprepared = true, .timeout_ms = 20000));
			CHECK_OK(hotpatch_restore(plain, .timeout_ms = 20000));
		}
		CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(patched, .timeout_ms = 20000));
	}
	return arg;
}

static void *calls(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int r = patched(0);

		if (r != OLD && r != NEW)
			FAIL("the parent runs definition %d", r);
		r = plain(0);
		if (r != OLD && r != NEW)
			FAIL("the parent runs definition %d of the other function", r);
	}
	return arg;
}

static void in_child(void)
{
	int r;

	deadline(30);
	r = patched(0);
	CHECK(r == OLD || r == NEW);
	CHECK_OK(hotpatch_fn(patched, of_child));
	CHECK_INT(patched(0), CHILD);
	CHECK_OK(hotpatch_restore(patched));
	CHECK_INT(patched(0), OLD);
	CHECK_OK(hotpatch_fn(patched, of_child));
	CHECK_INT(patched(0), CHILD);
	r = plain(0);
	CHECK(r == OLD || r == NEW);
	if (can_change_unprepared()) {
		CHECK_OK(hotpatch_fn(plain, plain_of_child, .unprepared = true));
		CHECK_INT(plain(0), CHILD);
		CHECK_OK(hotpatch_restore(plain));
		CHECK_INT(plain(0), OLD);
	}
	_exit(0);
}

static void wait_for(pid_t child)
{
	int status;

	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK_INT(status, 0);
}

static void fork_one(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		in_child();
	wait_for(child);
}

/* The parent stands still in vfork until the child has executed another program. */
static void spawn_one(void)
{
	char *const argv[] = {(char *)"true", NULL};
	pid_t child;

	CHECK_INT(posix_spawnp(&child, "true", NULL, NULL, argv, environ), 0);
	wait_for(child);
}

int main(void)
{
	pthread_t threads[3];

	deadline(110);
	threads[0] = thread_start(changes, NULL);
	threads[1] = thread_start(calls, NULL);
	threads[2] = thread_start(calls, NULL);
	for (int i = 0; i < CHILDREN; i++) {
		fork_one();
		spawn_one();
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		thread_join(threads[i]);
	CHECK_INT(patched(0), OLD);
	CHECK_INT(plain(0), OLD);
	return 0;
}
