/* modes - what each mode promises, on one function that a thread is in.
 *
 * WAIT waits for a call of one second and returns when it has ended; while it waits, callers are held no longer than an
 * attempt lasts and go on with the old definition. A loop that never returns lets WAIT complete at its hotpatch_poll.
 * TRY looks once. DRAIN holds nobody: new calls are new while an old one is still on. FORCE changes what is on the
 * caller's own stack, a chain of definitions each replacing itself included.
 *
 * Seen to fail: with hotpatch_poll that does not wait, and with sleeping threads taken for outside.
 */
#include "check.h"

enum { OLD = 1, NEW = 2, OTHER = 3 };

static sem_t inside;
static atomic_bool left;

/* -- WAIT ---------------------------------------------------------------------------------------------------- */

HOTPATCHABLE int slow(unsigned milliseconds)
{
	if (milliseconds > 0) {
		give(&inside);
		nap(milliseconds);
		atomic_store(&left, true);
	}
	return OLD;
}

APART int slow_new(unsigned milliseconds)
{
	return milliseconds > 0 ? -NEW : NEW;
}

static void *call_slowly(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)slow(1000);
}

static void wait_for_call(void)
{
	pthread_t thread = thread_start(call_slowly, NULL);

	take(&inside);
	CHECK_OK(hotpatch_fn(slow, slow_new, .timeout_ms = 20000));
	CHECK(left);
	CHECK_INT(slow(0), NEW);
	CHECK_INT((intptr_t)thread_join(thread), OLD);
	CHECK_OK(hotpatch_restore(slow));
	CHECK_INT(slow(0), OLD);
}

/* -- Callers during WAIT ------------------------------------------------------------------------------------- */

static sem_t leave;
static atomic_bool stop;
static atomic_ulong calls;

HOTPATCHABLE int held(bool stays)
{
	if (stays) {
		give(&inside);
		take(&leave);
	}
	return OLD;
}

APART int held_new(bool stays)
{
	return stays ? -NEW : NEW;
}

static void *stay(void *arg)
{
	CHECK_INT(held(true), OLD);
	return arg;
}

static void *keep_calling(void *arg)
{
	while (!atomic_load(&stop)) {
		CHECK_INT(held(false), OLD);
		atomic_fetch_add(&calls, 1);
	}
	return arg;
}

static void *change_held(void *arg)
{
	(void)arg;
	CHECK_CODE(hotpatch_fn(held, held_new, .timeout_ms = 1000, .stall_ms = 20), HOTPATCH_ETIMEDOUT);
	atomic_store(&stop, true);
	return NULL;
}

/* Each time the gate lets a caller on it has made a call more: that it goes on shows that it is not held for long, and
 * that it always returns the old result that nothing changed. */
static void callers_go_on(void)
{
	pthread_t staying = thread_start(stay, NULL), calling, changing;
	unsigned long before;
	int64_t start = now_ms();

	take(&inside);
	calling = thread_start(keep_calling, NULL);
	AWAIT(calls > 0);
	changing = thread_start(change_held, NULL);
	nap(100);
	before = atomic_load(&calls);
	AWAIT(atomic_load(&calls) > before);
	thread_join(changing);
	CHECK(now_ms() - start >= 1000);
	thread_join(calling);
	give(&leave);
	thread_join(staying);
}

/* -- DRAIN --------------------------------------------------------------------------------------------------- */

static void *drain_held(void *arg)
{
	(void)arg;
	CHECK_OK(hotpatch_fn(held, held_new, .mode = HOTPATCH_DRAIN, .timeout_ms = 20000));
	atomic_store(&left, true);
	return NULL;
}

static void drain(void)
{
	pthread_t staying = thread_start(stay, NULL), changing;

	take(&inside);
	atomic_store(&left, false);
	changing = thread_start(drain_held, NULL);
	AWAIT(held(false) == NEW);
	CHECK(!left);
	give(&leave);
	thread_join(changing);
	thread_join(staying);
	CHECK_INT(held(false), NEW);
	CHECK_OK(hotpatch_restore(held, .mode = HOTPATCH_DRAIN));
	CHECK_INT(held(false), OLD);
}

/* -- TRY ----------------------------------------------------------------------------------------------------- */

static void try_once(void)
{
	pthread_t staying = thread_start(stay, NULL);

	take(&inside);
	CHECK_CODE(hotpatch_fn(held, held_new, .mode = HOTPATCH_TRY, .timeout_ms = 3600000), HOTPATCH_EBUSY);
	CHECK_INT(held(false), OLD);
	give(&leave);
	thread_join(staying);
	CHECK_OK(hotpatch_fn(held, held_new, .mode = HOTPATCH_TRY));
	CHECK_INT(held(false), NEW);
	CHECK_OK(hotpatch_restore(held, .mode = HOTPATCH_TRY));
	CHECK_INT(held(false), OLD);
}

/* -- Safe points --------------------------------------------------------------------------------------------- */

HOTPATCHABLE int loop(bool runs)
{
	unsigned long turns = 0;

	for (; runs && !atomic_load(&stop); turns++) {
		if (turns == 0)
			give(&inside);
		hotpatch_poll();
	}
	return OLD + 0 * (int)turns;
}

APART int loop_new(bool runs)
{
	unsigned long turns = 0;

	for (; runs && !atomic_load(&stop); turns++) {
		if (turns == 0)
			give(&inside);
		hotpatch_poll();
	}
	return NEW + 0 * (int)turns;
}

static void *run_loop(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)loop(true);
}

static void safe_point(void)
{
	pthread_t old, new;

	hotpatch_poll();
	atomic_store(&stop, false);
	old = thread_start(run_loop, NULL);
	take(&inside);
	CHECK_OK(hotpatch_fn(loop, loop_new, .timeout_ms = 20000));
	CHECK_INT(loop(false), NEW);
	new = thread_start(run_loop, NULL);
	take(&inside);
	CHECK_OK(hotpatch_restore(loop, .timeout_ms = 20000));
	CHECK_INT(loop(false), OLD);
	atomic_store(&stop, true);
	CHECK_INT((intptr_t)thread_join(old), OLD);
	CHECK_INT((intptr_t)thread_join(new), NEW);
}

/* -- FORCE --------------------------------------------------------------------------------------------------- */

HOTPATCHABLE int chain(int length);

APART int chain_odd(int length);

APART int chain_even(int length)
{
	CHECK_OK(hotpatch_fn(chain, chain_odd, .mode = HOTPATCH_FORCE));
	return length == 0 ? NEW : chain(length - 1);
}

APART int chain_odd(int length)
{
	CHECK_OK(hotpatch_fn(chain, chain_even, .mode = HOTPATCH_FORCE));
	return length == 0 ? OTHER : chain(length - 1);
}

HOTPATCHABLE int chain(int length)
{
	CHECK_OK(hotpatch_fn(chain, chain_odd, .mode = HOTPATCH_FORCE));
	return length == 0 ? OLD : chain(length - 1);
}

static void force(void)
{
	CHECK_INT(chain(100), NEW);
	CHECK_OK(hotpatch_restore(chain));
	CHECK_INT(chain(101), OTHER);
	CHECK_OK(hotpatch_restore(chain, .mode = HOTPATCH_FORCE));
	CHECK_INT(chain(0), OLD);
	CHECK_OK(hotpatch_restore(chain));
}

int main(void)
{
	deadline(30);
	sem_init(&inside, 0, 0);
	sem_init(&leave, 0, 0);
	wait_for_call();
	callers_go_on();
	drain();
	try_once();
	safe_point();
	force();
	return 0;
}
