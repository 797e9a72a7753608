/* races - the runtime's own data, used by everybody at once: what ThreadSanitizer is to look at (make check-tsan).
 *
 * build: limit=120
 *
 * Two threads change sets and single functions, closures among them, one lists what is in force, one announces stacks,
 * one makes mistakes and reads what is said of them, and two call what is changed, through hotpatch_original as well.
 * ThreadSanitizer holds back signals until a thread calls the system, so everybody sleeps often: then threads are read
 * from outside, and those that are asked answer soon. Each result is checked here; that nothing is read while it is
 * written is for ThreadSanitizer to see.
 *
 * Seen to fail in check-tsan: before hotpatch_for_each took the lock of the layers to count them, and before the size
 * of threads' variables, of which ThreadSanitizer has many, was known: callers were lost at the gate, and applies late.
 */
#include "check.h"

enum { ROUNDS = 60, PATIENCE = 30000, STACK = 4096 };

static volatile int zero = 0;
static atomic_int working; /* how many threads have not done all their rounds */

HOTPATCHABLE int one(void)
{
	return 1 + zero;
}

HOTPATCHABLE int two(void)
{
	return 2 + zero;
}

APART int one_more(void)
{
	return 10 + hotpatch_original(one)();
}

APART int two_more(void)
{
	return 10 + hotpatch_original(two)();
}

APART int two_closed(void)
{
	return 20 + *(int *)hotpatch_context();
}

static atomic_int destroyed;

static void destroy(void *context)
{
	free(context);
	atomic_fetch_add(&destroyed, 1);
}

static int rounds(void)
{
	return (int)setting("RACES_ROUNDS", OFTEN(ROUNDS));
}

/* -- Who changes --------------------------------------------------------------------------------------------- */

static void *change_a_set(void *arg)
{
	struct hotpatch *patch = hotpatch_new("races");

	CHECK_OK(hotpatch_replace(patch, one, one_more));
	CHECK_OK(hotpatch_replace(patch, two, two_more));
	for (int i = 0; i < rounds(); i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = PATIENCE));
		nap(1);
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = PATIENCE));
		nap(1);
	}
	CHECK_OK(hotpatch_free(patch));
	atomic_fetch_sub(&working, 1);
	return arg;
}

static void *change_one(void *arg)
{
	for (int i = 0; i < rounds(); i++) {
		int *context = malloc(sizeof(*context));

		*context = 2;
		CHECK_OK(hotpatch_closure(two, two_closed, context, destroy, .timeout_ms = PATIENCE));
		nap(1);
		CHECK_OK(hotpatch_restore(two, .timeout_ms = PATIENCE));
		nap(1);
	}
	atomic_fetch_sub(&working, 1);
	return arg;
}

/* -- Who looks on -------------------------------------------------------------------------------------------- */

static int note(const struct hotpatch_info *info, void *arg)
{
	CHECK(strcmp(info->function, "one") == 0 || strcmp(info->function, "two") == 0);
	++*(int *)arg;
	return 0;
}

static void *list(void *arg)
{
	while (atomic_load(&working) > 0) {
		int n = 0;

		CHECK_OK(hotpatch_for_each(note, &n));
		CHECK(n <= 3);
		nap(1);
	}
	return arg;
}

static void *announce(void *arg)
{
	static uintptr_t stacks[100][STACK / sizeof(uintptr_t)];

	for (size_t i = 0; atomic_load(&working) > 0; i = (i + 1) % 100) {
		CHECK_OK(hotpatch_stack_add(stacks[i], STACK));
		nap(1);
		CHECK_OK(hotpatch_stack_remove(stacks[i]));
	}
	return arg;
}

static void *mistake(void *arg)
{
	while (atomic_load(&working) > 0) {
		CHECK_CODE(hotpatch_stack_remove(&working), HOTPATCH_EINVAL);
		CHECK_SAYS("no stack at");
		CHECK_CODE(hotpatch_apply(NULL, .timeout_ms = PATIENCE), HOTPATCH_EINVAL);
		nap(2);
	}
	return arg;
}

static void *call(void *arg)
{
	while (atomic_load(&working) > 0) {
		int a = one(), b = two();

		CHECK(a == 1 || a == 11);
		CHECK(b == 2 || b == 12 || b == 22 || b == 32);
		nap(1);
	}
	return arg;
}

int main(void)
{
	void *(*const run[])(void *) = {change_a_set, change_one, list, announce, mistake, call, call};
	enum { THREADS = sizeof(run) / sizeof(run[0]) };
	pthread_t threads[THREADS];
	int n = 0;

	deadline(100);
	atomic_store(&working, 2);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(run[i], NULL);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	CHECK_OK(hotpatch_for_each(note, &n));
	CHECK_INT(n, 0);
	CHECK_INT(one() + two(), 3);
	CHECK_INT(destroyed, rounds());
	return 0;
}
