/* test_suspended - how long the look for suspended frames may have all threads be still: until the deadline, which may
 * have come while they were asked. Seen to fail: with the time that is left taken for what a subtraction gives. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "hotpatch.h"
#include "live/ask.h"
#include "live/suspended.h"

#define MS UINT64_C(1000000)

static _Atomic bool stop, runs;
static char stack[65536];

/* Is never still, and takes no signals. */
static void *spin(void *unused)
{
	sigset_t all;
	(void)unused;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	atomic_store(&runs, true);
	while (!atomic_load(&stop))
		;
	return NULL;
}

/* How long one look takes that has `stall` and ends at now + left. */
static uint64_t look(struct hp_threads *threads, uint64_t stall, int64_t left)
{
	struct hp_codes codes = {0};
	struct hp_err err;
	struct hp_suspended suspended = {.frame = (uintptr_t)__builtin_frame_address(0)};
	uintptr_t code = (uintptr_t)spin;
	assert_int_equal(hp_codes_add_function(&codes, code + 4096, code + 4097, false, 0, &err), 0);
	assert_int_equal(hp_suspended_open(&suspended, &err), 0);
	hp_ask_begin(threads, &codes);
	uint64_t began = hp_now();
	enum hp_look found = hp_suspended_look(&suspended, threads, &codes, stall, began + (uint64_t)left);
	uint64_t took = hp_now() - began;
	hp_ask_end(threads);
	hp_suspended_close(&suspended);
	hp_codes_free(&codes);
	assert_int_equal(found, HP_LOOK_MOVED);
	return took;
}

static void test_deadline(void **unused)
{
	struct hp_err err;
	struct hp_threads *threads;
	pthread_t thread;
	(void)unused;
	assert_int_equal(pthread_create(&thread, NULL, spin, NULL), 0);
	while (!atomic_load(&runs))
		usleep(1000);
	assert_int_equal(hotpatch_stack_add(stack, sizeof(stack)), 0);
	hp_readers_enter();
	assert_int_equal(hp_ask_prepare(&err), 0);
	assert_int_equal(hp_threads_open(&threads, &err), 0);
	assert_true(hp_threads_list(threads));
	assert_true(look(threads, 100 * MS, 60000 * (int64_t)MS) >= 100 * MS);
	assert_true(look(threads, 60000 * MS, 100 * (int64_t)MS) >= 100 * MS);
	assert_true(look(threads, 20000 * MS, -1) < 10000 * MS);
	hp_threads_close(threads);
	hp_readers_leave();
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_deadline)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
