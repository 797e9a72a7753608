/* locks - B12: a caller that is held at the gate owns a mutex which a thread in the old definition needs to leave it.
 *
 * Neither can go on while the gate is closed, so an attempt is given up after its stall, or as soon as all in the way
 * are asleep, and everybody goes on with the old definition. WAIT tries again and completes once it meets a moment
 * without such a pair; TRY is busy; nobody hangs and the mutex is never held by two. The same with a chain: one mutex
 * is owned at the gate, its waiter owns the next one, and only the third thread is in the old definition. The stalls
 * are printed.
 *
 * Seen to fail: with the gate kept closed until the deadline whoever is in the way (an attempt lasted 60 s, so that the
 * test's own deadline ended it).
 */
#include "check.h"

#include <sched.h>

enum { PAIRS = 2, CHANGES = OFTEN(200), LIMIT_MS = 60000 };

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static atomic_int inside[2], owners;
static atomic_bool stop;
static atomic_long calls, longest_ms;

/* What a definition does once it is in: takes the mutex, if it has not been called with it. */
static int visit(int version, pthread_mutex_t *needed)
{
	atomic_fetch_add(&inside[version], 1);
	if (needed != NULL) {
		pthread_mutex_lock(needed);
		CHECK_INT(atomic_fetch_add(&owners, 1), 0);
		sched_yield();
		atomic_fetch_sub(&owners, 1);
		pthread_mutex_unlock(needed);
	}
	atomic_fetch_sub(&inside[version], 1);
	return version;
}

HOTPATCHABLE int patched(pthread_mutex_t *needed)
{
	return visit(0, needed) + 0;
}

HOTPATCH int fresh(pthread_mutex_t *needed)
{
	return visit(1, needed) + 0;
}

static void call(pthread_mutex_t *needed)
{
	int64_t began = now_ms(), lasted;
	int r = patched(needed);

	CHECK(r == 0 || r == 1);
	lasted = now_ms() - began;
	if (lasted > atomic_load(&longest_ms))
		atomic_store(&longest_ms, lasted);
	atomic_fetch_add(&calls, 1);
}

static void pause_a_little(unsigned i)
{
	struct timespec pause = {0, 20000 + i * 7919 % 300000};

	nanosleep(&pause, NULL);
}

/* -- Under load ------------------------------------------------------------------------------------------------ */

/* Calls with the mutex in hand: held at the gate it keeps the others inside. */
static void *owns(void *arg)
{
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		pthread_mutex_lock(&first);
		CHECK_INT(atomic_fetch_add(&owners, 1), 0);
		call(NULL);
		atomic_fetch_sub(&owners, 1);
		pthread_mutex_unlock(&first);
		pause_a_little(i);
	}
	return arg;
}

static void *needs(void *arg)
{
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		call(&first);
		pause_a_little(i);
	}
	return arg;
}

static void under_load(void)
{
	pthread_t threads[2 * PAIRS];
	int64_t began = now_ms();
	long during;

	for (int i = 0; i < 2 * PAIRS; i++)
		threads[i] = thread_start(i % 2 ? owns : needs, NULL);
	AWAIT(atomic_load(&calls) > 10);
	during = atomic_load(&calls);
	for (int i = 1; i <= CHANGES; i++) {
		CHECK_OK(i % 2 ? hotpatch_fn(patched, fresh, .timeout_ms = LIMIT_MS)
		               : hotpatch_restore(patched, .timeout_ms = LIMIT_MS));
		CHECK_INT(inside[(i + 1) % 2], 0);
	}
	during = atomic_load(&calls) - during;
	CHECK_OK(hotpatch_restore(patched, .timeout_ms = LIMIT_MS));
	printf("%d changes in %d ms, %ld calls, the longest %ld ms\n", CHANGES, (int)(now_ms() - began), during,
	       atomic_load(&longest_ms));
	atomic_store(&stop, true);
	for (int i = 0; i < 2 * PAIRS; i++)
		thread_join(threads[i]);
}

/* -- One caller with the mutex that waits at the gate for sure ------------------------------------------------- */

static sem_t step;
static atomic_int caller_id, needing_id;
static atomic_bool refused;

/* Gets the mutex, waits until the one that needs it sleeps in the old definition, and calls until a change has been
 * refused, and a while into the next attempt. */
static void *calls_with_it(void *arg)
{
	pthread_mutex_lock(&first);
	give(&step);
	AWAIT(atomic_load(&needing_id) != 0 && thread_state(needing_id) == 'S');
	atomic_store(&caller_id, thread_id());
	while (!atomic_load(&refused))
		call(NULL); /* meets the closed gate, again and again */
	for (int64_t until = now_ms() + 200; now_ms() < until;)
		call(NULL);
	pthread_mutex_unlock(&first);
	return arg;
}

static void *links(void *arg)
{
	pthread_mutex_lock(&second);
	give(&step);
	pthread_mutex_lock(&first);
	pthread_mutex_unlock(&first);
	pthread_mutex_unlock(&second);
	return arg;
}

static void *needs_it(void *arg)
{
	atomic_store(&needing_id, thread_id());
	call(arg);
	return NULL;
}

static void held_for_sure(pthread_mutex_t *needed)
{
	pthread_t threads[3];
	int64_t began;

	atomic_store(&caller_id, 0);
	atomic_store(&needing_id, 0);
	atomic_store(&refused, false);
	threads[0] = thread_start(calls_with_it, NULL);
	take(&step);
	if (needed == &second) {
		threads[2] = thread_start(links, NULL);
		take(&step);
	}
	threads[1] = thread_start(needs_it, needed);
	AWAIT(caller_id != 0);
	CHECK_CODE(hotpatch_fn(patched, fresh, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	CHECK_BLOCKER(needing_id, "patched");
	CHECK_CODE(hotpatch_fn(patched, fresh, .timeout_ms = 50), HOTPATCH_ETIMEDOUT);
	CHECK_BLOCKER(needing_id, "patched");
	atomic_store(&refused, true);
	began = now_ms();
	CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = LIMIT_MS, .stall_ms = 20));
	CHECK_INT(inside[0], 0);
	printf("applied after %d ms\n", (int)(now_ms() - began));
	for (int i = 0; i < (needed == &second ? 3 : 2); i++)
		thread_join(threads[i]);
	CHECK_OK(hotpatch_restore(patched, .timeout_ms = LIMIT_MS));
}

int main(void)
{
	deadline(60);
	sem_init(&step, 0, 0);
	held_for_sure(&first);
	held_for_sure(&second);
	under_load();
	return 0;
}
