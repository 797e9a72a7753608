/* recursion - B2: functions that call themselves and each other, during a change and after it.
 *
 * A call of WAIT never sees two definitions, however deep it recurses: what is called from an old function is old. With
 * DRAIN the deeper calls of an old function take the new definition at once. First with a thread stopped half way
 * down, then with threads recursing freely through many changes.
 *
 * build: quick=gcc-O0
 *
 * Seen to fail: with a gate that holds active callers too (an old call ended in the new definition).
 */
#include "check.h"

enum { OLD = 1, NEW = 2, DEPTH = 12, HALF = 6, THREADS = 3, CHANGES = 300 };

static _Thread_local bool stops; /* this thread stops half way down */
static sem_t halfway;
static atomic_bool go_on;

/* It runs meanwhile, because a gate is not kept closed for one that sleeps. */
static void at(int depth)
{
	if (!stops || depth != HALF)
		return;
	give(&halfway);
	while (!atomic_load_explicit(&go_on, memory_order_relaxed))
		;
}

/* Keeps a recursive call a call: compilers make jumps and loops of calls whose result is only handed on. */
static int called(int result)
{
	__asm__ volatile("" : "+r"(result));
	return result;
}

/* `odd` and `even` call each other, `self` itself; each returns which definitions the calls below it ran, or-ed. */
HOTPATCHABLE int even(int depth);

HOTPATCHABLE int odd(int depth)
{
	at(depth);
	return depth == 0 ? OLD : OLD | called(even(depth - 1));
}

HOTPATCHABLE int even(int depth)
{
	at(depth);
	return depth == 0 ? OLD : OLD | called(odd(depth - 1));
}

APART int odd_new(int depth)
{
	at(depth);
	return depth == 0 ? NEW : NEW | called(even(depth - 1));
}

APART int even_new(int depth)
{
	at(depth);
	return depth == 0 ? NEW : NEW | called(odd(depth - 1));
}

HOTPATCHABLE int self(int depth)
{
	at(depth);
	return depth == 0 ? OLD : OLD | called(self(depth - 1));
}

APART int self_new(int depth)
{
	at(depth);
	return depth == 0 ? NEW : NEW | called(self(depth - 1));
}

/* Reaches the definition beneath at every level as well. */
APART int self_around(int depth)
{
	return depth == 0 ? NEW : NEW | called(self(depth - 1)) | hotpatch_original(self)(0) << 2;
}

static struct hotpatch *set_of_all(void)
{
	struct hotpatch *patch = hotpatch_new("recursion");

	CHECK_OK(hotpatch_replace(patch, odd, odd_new));
	CHECK_OK(hotpatch_replace(patch, even, even_new));
	CHECK_OK(hotpatch_replace(patch, self, self_new));
	return patch;
}

typedef int recursive(int depth);

static void *stop_halfway(void *arg)
{
	recursive *function = *(recursive **)arg;

	stops = true;
	return (void *)(intptr_t)function(DEPTH);
}

static void *apply_slowly(void *arg)
{
	CHECK_OK(hotpatch_apply(arg, .timeout_ms = 60000, .stall_ms = 60000));
	return NULL;
}

static void *call_until_new(void *arg)
{
	int r;

	atomic_store((atomic_int *)arg, thread_id());
	do
		r = even(DEPTH) | self(DEPTH);
	while (r == OLD);
	return (void *)(intptr_t)r;
}

/* The gate is certainly closed while the thread inside goes on: another caller sleeps at it. */
static void wait_halfway(recursive *function)
{
	struct hotpatch *patch = set_of_all();
	pthread_t inside, outside, changing;
	atomic_int outside_id = 0;

	atomic_store(&go_on, false);
	inside = thread_start(stop_halfway, &function);
	take(&halfway);
	CHECK_CODE(hotpatch_apply(patch, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	outside = thread_start(call_until_new, &outside_id);
	changing = thread_start(apply_slowly, patch);
	AWAIT(atomic_load(&outside_id) != 0 && thread_state(outside_id) == 'S');
	atomic_store(&go_on, true);
	CHECK_INT((intptr_t)thread_join(inside), OLD);
	thread_join(changing);
	CHECK_INT((intptr_t)thread_join(outside) & NEW, NEW);
	CHECK_INT(even(DEPTH), NEW);
	CHECK_INT(self(DEPTH), NEW);
	CHECK_OK(hotpatch_revert(patch));
	CHECK_INT(function(DEPTH), OLD);
	CHECK_OK(hotpatch_free(patch));
}

static void drain_halfway(recursive *function)
{
	struct hotpatch *patch = set_of_all();
	pthread_t inside;

	atomic_store(&go_on, false);
	inside = thread_start(stop_halfway, &function);
	take(&halfway);
	CHECK_CODE(hotpatch_apply(patch, .mode = HOTPATCH_DRAIN, .timeout_ms = 20), HOTPATCH_EINPROGRESS);
	CHECK_INT(function(DEPTH), NEW);
	atomic_store(&go_on, true);
	CHECK_INT((intptr_t)thread_join(inside), OLD | NEW);
	CHECK_OK(hotpatch_revert(patch));
	CHECK_INT(function(DEPTH), OLD);
	CHECK_OK(hotpatch_free(patch));
}

static atomic_bool stop;

/* Each call alone must be of one definition; two calls after another need not be. */
static void *recurse(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int even_was = even(DEPTH), odd_was = odd(DEPTH), self_was = self(DEPTH);

		if (even_was == (OLD | NEW) || odd_was == (OLD | NEW) || self_was == (OLD | NEW))
			FAIL("one call recursed into both definitions");
	}
	return arg;
}

static void freely(void)
{
	struct hotpatch *patch = set_of_all();
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(recurse, NULL);
	for (int i = 0; i < CHANGES; i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = 30000));
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = 30000));
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	CHECK_OK(hotpatch_free(patch));
}

static void afterwards(void)
{
	CHECK_OK(hotpatch_fn(self, self_around));
	CHECK_INT(self(DEPTH), NEW | OLD << 2);
	CHECK_OK(hotpatch_fn(self, self_new));
	CHECK_INT(self(DEPTH), NEW);
	CHECK_OK(hotpatch_restore(self));
	CHECK_INT(self(DEPTH), OLD);
}

int main(void)
{
	deadline(60);
	sem_init(&halfway, 0, 0);
	wait_halfway(self);
	wait_halfway(even);
	drain_halfway(self);
	drain_halfway(even);
	freely();
	afterwards();
	return 0;
}
