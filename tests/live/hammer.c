/* hammer - B5: threads call a function in a tight loop while it changes 10,000 times.
 *
 * build: quick=gcc-O2 limit=180
 *
 * Every call must return what one of the definitions returns, whatever moment it is caught in, and once the last change
 * is done every thread must come to the last definition. HAMMER_CHANGES for more, HAMMER_MODE for another mode.
 *
 * Seen to fail: with the first byte of the jump written before the second (a crash within a second).
 */
#include "check.h"

enum { THREADS = 4, DEFINITIONS = 4, FACTOR = 1000 };

static volatile int factor = FACTOR;

HOTPATCHABLE int hammered(int a)
{
	return a + 0 * factor;
}

APART int first(int a)
{
	return a + 1 * factor;
}

APART int second(int a)
{
	return a + 2 * factor;
}

/* Its context says which definition it is. */
APART int third(int a)
{
	int *context = hotpatch_context();

	return a + *context * factor;
}

static int three = 3;

/* Every eighth change takes the jump out of the text, and the next puts it in again. */
static int change(unsigned i, enum hotpatch_mode mode)
{
	if (i % 8 == 7)
		return hotpatch_restore(hammered, .mode = mode, .timeout_ms = 30000);
	switch (i % 3) {
	case 0:
		return hotpatch_fn(hammered, first, .mode = mode, .timeout_ms = 30000);
	case 1:
		return hotpatch_fn(hammered, second, .mode = mode, .timeout_ms = 30000);
	default:
		return hotpatch_closure(hammered, third, &three, NULL, .mode = mode, .timeout_ms = 30000);
	}
}

static atomic_uint wanted; /* the definition to come to, when all changes are done */
static atomic_uint arrived;

static void *caller(void *arg)
{
	unsigned long seen[DEFINITIONS] = {0};
	bool there = false;
	for (int a = 0; atomic_load_explicit(&arrived, memory_order_relaxed) < THREADS; a = (a + 1) % FACTOR) {
		int r = hammered(a) - a;

		if (r % FACTOR != 0 || r < 0 || r >= DEFINITIONS * FACTOR)
			FAIL("a call returned %d, which no definition returns for %d", r + a, a);
		seen[r / FACTOR]++;
		if (!there && (unsigned)(r / FACTOR) == atomic_load_explicit(&wanted, memory_order_relaxed)) {
			there = true;
			atomic_fetch_add(&arrived, 1);
		}
	}
	return arg;
}

/* After the last change of WAIT no thread may run another definition, and after any mode all come to the last. */
int main(void)
{
	unsigned changes = setting("HAMMER_CHANGES", IN_FULL ? 10000 : 1500);
	enum hotpatch_mode mode = setting("HAMMER_MODE", HOTPATCH_WAIT);
	pthread_t threads[THREADS];

	deadline(60 + changes / 100);
	atomic_store(&wanted, DEFINITIONS);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(caller, NULL);
	for (unsigned i = 0; i < changes; i++)
		CHECK_OK(change(i, mode));
	CHECK_OK(hotpatch_fn(hammered, second, .mode = mode));
	CHECK_INT(hammered(5), 2 * FACTOR + 5);
	atomic_store(&wanted, 2);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	CHECK_OK(hotpatch_restore(hammered));
	CHECK_INT(hammered(5), 5);
	return 0;
}
