/* pair - B3: two functions that change together are never seen half changed.
 *
 * build: quick=gcc-O2 limit=120
 *
 * Eight threads call `order`, which packs a struct and passes it to `settle` twice. The replacements agree on another
 * layout of the struct. The set is applied and reverted 2,000 times meanwhile (PAIR_CHANGES for more); in no call may a
 * definition of one version meet one of the other.
 *
 * Seen to fail: with PAIR_MODE=3 (HOTPATCH_FORCE promises nothing of the kind), and with callers let through to the
 * old definition after the gate has opened.
 */
#include "check.h"

enum { THREADS = 8 };

/* Both layouts are of one size, so that reading a struct as the other is wrong and nothing worse. */
struct first {
	long magic, amount, fee;
	char unused[40];
};

struct second {
	char name[24];
	long fee, limit, amount, magic;
	int currency, unused;
};

_Static_assert(sizeof(struct first) == sizeof(struct second), "so that no read is out of bounds");

#define FIRST 0x1111111111111111
#define SECOND 0x2222222222222222

/* What `settle` answers, and `order` hands on where both its calls were answered alike. */
enum { SETTLED_FIRST = 1, SETTLED_SECOND = 2, MIXED = -1 };

static volatile unsigned delay = 20; /* so that threads are found between the two calls */

static void work(void)
{
	for (unsigned i = 0; i < delay; i++)
		__asm__ volatile("" ::: "memory");
}

HOTPATCHABLE int settle(const void *request)
{
	const struct first *first = request;

	return first->magic == FIRST && first->amount == 1000 && first->fee == 7 ? SETTLED_FIRST : MIXED;
}

HOTPATCHABLE int order(long amount)
{
	struct first first = {.magic = FIRST, .amount = amount, .fee = 7};
	int before = settle(&first), after;

	work();
	after = settle(&first);
	return before == SETTLED_FIRST && after == SETTLED_FIRST ? SETTLED_FIRST : MIXED;
}

APART int settle_second(const void *request)
{
	const struct second *second = request;

	if (second->magic != SECOND || second->amount != 1000 || second->fee != 8 || strcmp(second->name, "x") != 0)
		return MIXED;
	return SETTLED_SECOND;
}

APART int order_second(long amount)
{
	struct second second = {.magic = SECOND, .amount = amount, .fee = 8, .name = "x"};
	int before = settle(&second), after;

	work();
	after = settle(&second);
	return before == SETTLED_SECOND && after == SETTLED_SECOND ? SETTLED_SECOND : MIXED;
}

static atomic_bool stop;
static atomic_ulong seen[3];

static void *caller(void *arg)
{
	unsigned long mine[3] = {0};
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int r = order(1000);

		if (r != SETTLED_FIRST && r != SETTLED_SECOND)
			FAIL("a call saw definitions of both versions, after %lu and %lu of one", mine[1], mine[2]);
		mine[r]++;
	}
	atomic_fetch_add(&seen[1], mine[1]);
	atomic_fetch_add(&seen[2], mine[2]);
	return arg;
}

int main(void)
{
	unsigned changes = setting("PAIR_CHANGES", OFTEN(2000));
	enum hotpatch_mode mode = setting("PAIR_MODE", HOTPATCH_WAIT);
	struct hotpatch *patch = hotpatch_new("pair");
	pthread_t threads[THREADS];

	deadline(60 + changes / 50);
	CHECK_OK(hotpatch_replace(patch, order, order_second));
	CHECK_OK(hotpatch_replace(patch, settle, settle_second));
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(caller, NULL);
	for (unsigned i = 0; i < changes; i += 2) {
		CHECK_OK(hotpatch_apply(patch, .mode = mode, .timeout_ms = 30000));
		CHECK_OK(hotpatch_revert(patch, .mode = mode, .timeout_ms = 30000));
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	CHECK(seen[SETTLED_FIRST] > 0);
	CHECK(seen[SETTLED_SECOND] > 0);
	CHECK_INT(order(1000), SETTLED_FIRST);
	CHECK_OK(hotpatch_free(patch));
	return 0;
}
