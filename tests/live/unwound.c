/* unwound - B9: frames that are left by longjmp or by a cancelled thread.
 *
 * What is left that way is left: its stale stack stops nothing. Jumps over old and new frames, and over a caller held
 * at the gate, arrive; a thread is cancelled inside an old and inside a new definition and its clean-up runs.
 *
 * Seen to fail: with sleeping threads taken for outside, and with stale words believed without unwinding.
 */
#include "check.h"

#include <setjmp.h>

enum { OLD = 1, NEW = 2 };

static _Thread_local jmp_buf landing;
static sem_t inside, forever;
static atomic_int cleaned;

static void clean(void *arg)
{
	(void)arg;
	atomic_fetch_add(&cleaned, 1);
}

static void stay(void)
{
	pthread_cleanup_push(clean, NULL);
	give(&inside);
	sem_wait(&forever); /* a cancellation point */
	pthread_cleanup_pop(0);
}

enum how { RETURNS, JUMPS, STAYS };

HOTPATCHABLE int leaves(enum how how, int depth)
{
	volatile int below = 0;

	if (depth > 0)
		below = leaves(how, depth - 1);
	else if (how == JUMPS)
		longjmp(landing, OLD);
	else if (how == STAYS)
		stay();
	return OLD + 0 * below;
}

APART int leaves_new(enum how how, int depth)
{
	volatile int below = 0;

	if (depth > 0)
		below = leaves(how, depth - 1);
	else if (how == JUMPS)
		longjmp(landing, NEW);
	else if (how == STAYS)
		stay();
	return NEW + 0 * below;
}

static int jump(int depth)
{
	int r = setjmp(landing);

	if (r == 0) {
		leaves(JUMPS, depth);
		FAIL("a jump did not arrive");
	}
	return r;
}

static void jumps(void)
{
	for (int depth = 0; depth < 10; depth++) {
		CHECK_INT(jump(depth), OLD);
		CHECK_OK(hotpatch_fn(leaves, leaves_new));
		CHECK_INT(jump(depth), NEW);
		CHECK_OK(hotpatch_restore(leaves));
	}
}

static void *enter(void *arg)
{
	leaves(STAYS, 5);
	return arg;
}

static void cancel_inside(void)
{
	pthread_t thread = thread_start(enter, NULL);
	int before = cleaned;

	take(&inside);
	CHECK_CODE(hotpatch_fn(leaves, leaves_new, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	pthread_cancel(thread);
	CHECK(thread_join(thread) == PTHREAD_CANCELED);
	CHECK_INT(cleaned, before + 1);
	CHECK_OK(hotpatch_fn(leaves, leaves_new));
	thread = thread_start(enter, NULL);
	take(&inside);
	CHECK_CODE(hotpatch_restore(leaves, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	pthread_cancel(thread);
	CHECK(thread_join(thread) == PTHREAD_CANCELED);
	CHECK_INT(cleaned, before + 2);
	CHECK_OK(hotpatch_restore(leaves));
	CHECK_INT(leaves(RETURNS, 3), OLD);
}

static atomic_bool stop;

static void *keep_jumping(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int r = jump(4);

		CHECK(r == OLD || r == NEW);
	}
	return arg;
}

static void under_load(void)
{
	pthread_t threads[2] = {thread_start(keep_jumping, NULL), thread_start(keep_jumping, NULL)};

	for (int i = 0; i < 200; i++) {
		CHECK_OK(hotpatch_fn(leaves, leaves_new, .timeout_ms = 20000));
		CHECK_OK(hotpatch_restore(leaves, .timeout_ms = 20000));
	}
	atomic_store(&stop, true);
	thread_join(threads[0]);
	thread_join(threads[1]);
}

int main(void)
{
	deadline(60);
	sem_init(&inside, 0, 0);
	sem_init(&forever, 0, 0);
	jumps();
	cancel_inside();
	cancel_inside();
	under_load();
	return 0;
}
