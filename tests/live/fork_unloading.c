/* fork_unloading - B11: children forked while another thread loads, reverts and unloads a library. In the child the
 * library can be loaded, and its function runs.
 *
 * build: variants=gcc-O2,clang-O2 limit=120
 *
 * Seen to fail: without hp_unloading_lock in the handlers of fork; within the first forty a child found the library
 * hidden, or half closed.
 */
#include "check.h"

#include <sys/wait.h>

enum { CHILDREN = OFTEN(200) };

HOTPATCHABLE int patched(int a)
{
	return a;
}

static const char path[] = "./fork_unloading.libA.so";
static atomic_bool stop;
static atomic_long rounds;

static void use(void)
{
	CHECK_OK(hotpatch_lib(patched, path, .timeout_ms = 30000));
	CHECK_INT(patched(1), 41);
	CHECK_OK(hotpatch_restore(patched, .timeout_ms = 30000));
	CHECK_INT(patched(1), 1);
}

static void *loads_and_unloads(void *arg)
{
	while (!atomic_load(&stop)) {
		use();
		if (hotpatch_reclaim() < 0)
			FAIL("hotpatch_reclaim: %s", hotpatch_error()->message);
		atomic_fetch_add(&rounds, 1);
	}
	return arg;
}

int main(void)
{
	pthread_t thread;
	int status;

	deadline(110);
	thread = thread_start(loads_and_unloads, NULL);
	AWAIT(atomic_load(&rounds) > 3);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0) {
			int r;

			deadline(60);
			r = patched(1);
			CHECK(r == 1 || r == 41);
			use();
			_exit(0);
		}
		CHECK_INT(waitpid(child, &status, 0), child);
		CHECK_INT(status, 0);
	}
	atomic_store(&stop, true);
	thread_join(thread);
	printf("%d children, %ld rounds\n", CHILDREN, atomic_load(&rounds));
	return 0;
}
