/* concurrent - B13: two threads change things at the same time, and callers go on meanwhile.
 *
 * Different sets, one set, and one function through the short forms. WAIT is patient with another change that is under
 * way, so different sets both succeed. Of two that apply or revert one set, one succeeds and the other is told that the
 * set's state does not allow it. A set that is half applied, or a change that got lost, is seen by its results.
 *
 * build: quick=clang-O2
 *
 * Seen to fail: without the lock that lets one change at a time; and, with ASan and eight copies at a time, as doubt.c
 * does: who waited for its turn had been asked before it fell asleep.
 */
#include "check.h"

enum { ROUNDS = 150, PATIENCE = 30000 };

static volatile int zero = 0;

#define FUNCTION(name)                                                                                                 \
	HOTPATCHABLE int name(void)                                                                                    \
	{                                                                                                              \
		return 0 + zero;                                                                                       \
	}                                                                                                              \
	APART int name##_1(void)                                                                                       \
	{                                                                                                              \
		return 1 + zero;                                                                                       \
	}                                                                                                              \
	APART int name##_2(void)                                                                                       \
	{                                                                                                              \
		return 2 + zero;                                                                                       \
	}

FUNCTION(a)
FUNCTION(b)
FUNCTION(c)
FUNCTION(d)
FUNCTION(shared)

static pthread_barrier_t both;

static void meet(void)
{
	int r = pthread_barrier_wait(&both);

	CHECK(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD);
}

/* Runs the function in two threads at once, with argument 0 and 1. */
static void twice(void *(*run)(void *))
{
	pthread_t other = thread_start(run, (void *)1);

	run((void *)0);
	thread_join(other);
}

/* -- Different sets ------------------------------------------------------------------------------------------ */

static struct hotpatch *set_of(bool second)
{
	struct hotpatch *patch = hotpatch_new(second ? "second" : "first");

	CHECK_OK(second ? hotpatch_replace(patch, c, c_1) : hotpatch_replace(patch, a, a_1));
	CHECK_OK(second ? hotpatch_replace(patch, d, d_1) : hotpatch_replace(patch, b, b_1));
	return patch;
}

static void *different(void *arg)
{
	bool second = arg != NULL;
	struct hotpatch *patch = set_of(second);

	for (int i = 0; i < ROUNDS; i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = PATIENCE));
		CHECK_INT(second ? c() + d() : a() + b(), 2);
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = PATIENCE));
		CHECK_INT(second ? c() + d() : a() + b(), 0);
	}
	CHECK_OK(hotpatch_free(patch));
	return NULL;
}

/* -- Sets that stack on one function ------------------------------------------------------------------------- */

/* Whichever is on top, its own set's definition is in force at least beneath, and 0 is not to be seen by its owner. */
static void *stacked(void *arg)
{
	struct hotpatch *patch = hotpatch_new("stacked");

	CHECK_OK(arg != NULL ? hotpatch_replace(patch, shared, shared_1) : hotpatch_replace(patch, shared, shared_2));
	for (int i = 0; i < ROUNDS; i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = PATIENCE));
		CHECK(shared() != 0);
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = PATIENCE));
	}
	CHECK_OK(hotpatch_free(patch));
	return NULL;
}

/* -- One set ------------------------------------------------------------------------------------------------- */

static struct hotpatch *one;
static atomic_int succeeded;

static void try_at_once(bool apply)
{
	int r;

	meet();
	r = apply ? hotpatch_apply(one, .timeout_ms = PATIENCE) : hotpatch_revert(one, .timeout_ms = PATIENCE);
	if (r == HOTPATCH_OK)
		atomic_fetch_add(&succeeded, 1);
	else
		CHECK_CODE(r, HOTPATCH_ESTATE);
	meet();
	CHECK_INT(succeeded, 1);
	CHECK_INT(a() + b(), apply ? 2 : 0);
	meet();
	atomic_store(&succeeded, 0);
	meet();
}

static void *same(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		try_at_once(true);
		try_at_once(false);
	}
	return NULL;
}

/* -- One function -------------------------------------------------------------------------------------------- */

static void *short_forms(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		meet();
		CHECK_OK(arg != NULL ? hotpatch_fn(shared, shared_1, .timeout_ms = PATIENCE)
		                     : hotpatch_fn(shared, shared_2, .timeout_ms = PATIENCE));
		int got = shared(); /* once: the other thread may be about to change it */

		CHECK(got == 1 || got == 2);
		meet();
		CHECK_OK(hotpatch_restore(shared, .timeout_ms = PATIENCE));
		meet();
		CHECK_INT(shared(), 0);
	}
	return NULL;
}

/* -- Callers meanwhile --------------------------------------------------------------------------------------- */

static atomic_bool stop;

static void *caller(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int sum = a() + b() + c() + d(), got = shared();

		CHECK(sum >= 0 && sum <= 4 && got >= 0 && got <= 2);
	}
	return arg;
}

int main(void)
{
	pthread_t calling;

	deadline(60);
	pthread_barrier_init(&both, NULL, 2);
	calling = thread_start(caller, NULL);
	twice(different);
	twice(stacked);
	CHECK_INT(shared(), 0);
	one = set_of(false);
	twice(same);
	CHECK_OK(hotpatch_free(one));
	twice(short_forms);
	atomic_store(&stop, true);
	thread_join(calling);
	return 0;
}
