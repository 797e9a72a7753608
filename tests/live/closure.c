/* closure - a closure finds its context, and its destructor runs once: when it is replaced and nobody is in it.
 *
 * Not before a thread inside has left, not for a closure that was never put in force, not twice. Contexts of different
 * functions, of nested closures and of different threads do not mix.
 *
 * build: quick=clang-O2
 *
 * Seen to fail: with closures of one body taken for one definition: a context was destroyed while a thread was in it;
 * with threads taken for gone because they were in hotpatch_poll.
 */
#include "check.h"

struct context {
	int value;
	atomic_int destroyed;
};

static sem_t inside, leave;

HOTPATCHABLE int first(int stays)
{
	return stays ? -1 : 1;
}

HOTPATCHABLE int second(int stays)
{
	return stays ? -1 : 1;
}

/* ThreadSanitizer does not see that a context comes to another thread by way of code. */
#define BY_CODE __attribute__((no_sanitize("thread")))

BY_CODE APART int value_of(int stays)
{
	struct context *context = hotpatch_context();

	if (stays) {
		give(&inside);
		take(&leave);
		CHECK_INT(context->destroyed, 0);
	}
	return context->value;
}

/* Calls another closure in its midst. */
BY_CODE APART int sum_of(int stays)
{
	struct context *context = hotpatch_context();
	int below = second(stays);

	return context->value + below;
}

APART int plain(int stays)
{
	return stays ? -2 : 2;
}

static void destroy(void *arg)
{
	struct context *context = arg;

	atomic_fetch_add(&context->destroyed, 1);
}

/* -- One after another --------------------------------------------------------------------------------------- */

static void replaced(void)
{
	static struct context a = {10, 0}, b = {20, 0}, c = {30, 0};

	CHECK_OK(hotpatch_closure(first, value_of, &a, destroy));
	CHECK_INT(first(0), 10);
	CHECK_OK(hotpatch_closure(first, value_of, &b, destroy));
	CHECK_INT(first(0), 20);
	CHECK_INT(a.destroyed, 1);
	CHECK_OK(hotpatch_closure(second, value_of, &c, destroy));
	CHECK_INT(second(0), 30);
	CHECK_INT(first(0), 20);
	CHECK_OK(hotpatch_fn(first, plain));
	CHECK_INT(b.destroyed, 1);
	CHECK_OK(hotpatch_restore(second));
	CHECK_INT(c.destroyed, 1);
	CHECK_OK(hotpatch_restore(first));
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK(a.destroyed == 1 && b.destroyed == 1 && c.destroyed == 1);
}

static void nested(void)
{
	static struct context outer = {100, 0}, inner = {7, 0};

	CHECK_OK(hotpatch_closure(first, sum_of, &outer, destroy));
	CHECK_OK(hotpatch_closure(second, value_of, &inner, NULL));
	CHECK_INT(first(0), 107);
	CHECK_INT(second(0), 7);
	CHECK_OK(hotpatch_restore(first));
	CHECK_OK(hotpatch_restore(second));
	CHECK(outer.destroyed == 1 && inner.destroyed == 0);
}

/* -- With a thread inside ------------------------------------------------------------------------------------ */

static void *enter(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)first(1);
}

static void in_use(void)
{
	static struct context used = {40, 0}, refused = {50, 0};
	pthread_t thread;

	CHECK_OK(hotpatch_closure(first, value_of, &used, destroy));
	thread = thread_start(enter, NULL);
	take(&inside);
	CHECK_CODE(hotpatch_closure(first, value_of, &refused, destroy, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	CHECK_CODE(hotpatch_closure(first, value_of, &refused, destroy, .timeout_ms = 50), HOTPATCH_ETIMEDOUT);
	CHECK_INT(first(0), 40);
	CHECK_CODE(hotpatch_fn(first, plain, .mode = HOTPATCH_DRAIN, .timeout_ms = 50), HOTPATCH_EINPROGRESS);
	CHECK_INT(first(0), 2);
	CHECK_INT(used.destroyed, 0);
	CHECK_INT(hotpatch_reclaim(), 1);
	CHECK_INT(used.destroyed, 0);
	give(&leave);
	CHECK_INT((intptr_t)thread_join(thread), 40);
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK_INT(used.destroyed, 1);
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK_OK(hotpatch_restore(first));
	CHECK(used.destroyed == 1 && refused.destroyed == 0);
}

static void forced(void)
{
	static struct context used = {60, 0}, next = {70, 0};
	pthread_t thread;

	CHECK_OK(hotpatch_closure(first, value_of, &used, destroy));
	thread = thread_start(enter, NULL);
	take(&inside);
	CHECK_OK(hotpatch_closure(first, value_of, &next, destroy, .mode = HOTPATCH_FORCE));
	CHECK_INT(first(0), 70);
	CHECK_INT(used.destroyed, 0);
	CHECK_INT(hotpatch_reclaim(), 1);
	give(&leave);
	CHECK_INT((intptr_t)thread_join(thread), 60);
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK_INT(used.destroyed, 1);
	CHECK_OK(hotpatch_restore(first));
	CHECK_INT(next.destroyed, 1);
}

/* -- At a safe point ------------------------------------------------------------------------------------------ */

static atomic_bool polls_on;

APART int poll_on(int stays)
{
	struct context *context = hotpatch_context();

	if (stays)
		give(&inside);
	while (stays && atomic_load(&polls_on))
		hotpatch_poll();
	CHECK_INT(context->destroyed, 0);
	return context->value;
}

/* A change may complete while a thread polls, but the thread goes on in the closure, and needs its context. */
static void polled(void)
{
	static struct context used = {65, 0};
	pthread_t thread;

	atomic_store(&polls_on, true);
	CHECK_OK(hotpatch_closure(first, poll_on, &used, destroy));
	thread = thread_start(enter, NULL);
	take(&inside);
	for (int i = 0; i < 20; i++) {
		CHECK_OK(hotpatch_fn(first, plain, .timeout_ms = 20000));
		CHECK_INT(first(0), 2);
		CHECK_OK(hotpatch_restore(first, .timeout_ms = 20000));
		CHECK_INT(used.destroyed, 0);
	}
	atomic_store(&polls_on, false);
	CHECK_INT((intptr_t)thread_join(thread), 65);
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK_INT(used.destroyed, 1);
}

/* -- In sets -------------------------------------------------------------------------------------------------- */

/* A reverted set can be applied again, so the context must last as long as the set. */
static void in_set(void)
{
	static struct context a = {80, 0}, b = {90, 0};
	struct hotpatch *patch = hotpatch_new("closures");

	CHECK_OK(hotpatch_replace_closure(patch, first, value_of, &a, destroy));
	CHECK_OK(hotpatch_replace_closure(patch, second, value_of, &b, destroy));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(hotpatch_apply(patch));
		CHECK_INT(first(0), 80);
		CHECK_INT(second(0), 90);
		CHECK(a.destroyed == 0 && b.destroyed == 0);
		CHECK_OK(hotpatch_revert(patch));
		CHECK_INT(first(0), 1);
	}
	CHECK_OK(hotpatch_free(patch));
	CHECK_INT(hotpatch_reclaim(), 0);
	CHECK(a.destroyed == 1 && b.destroyed == 1);
}

/* -- Many threads --------------------------------------------------------------------------------------------- */

static atomic_bool stop;

static void *call(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		int r = second(0);

		CHECK(r == 1 || (r >= 1000 && r < 1100));
	}
	return arg;
}

/* A context freed too early is seen by its value. */
static void destroy_and_spoil(void *arg)
{
	struct context *context = arg;

	context->value = -1;
	free(context);
}

static void hammered(void)
{
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		threads[i] = thread_start(call, NULL);
	for (int i = 0; i < 100; i++) {
		struct context *context = malloc(sizeof(*context));

		CHECK(context != NULL);
		context->value = 1000 + i;
		CHECK_OK(hotpatch_closure(second, value_of, context, destroy_and_spoil, .timeout_ms = 20000,
		                          .mode = i % 2 ? HOTPATCH_DRAIN : HOTPATCH_WAIT));
	}
	CHECK_OK(hotpatch_restore(second, .timeout_ms = 20000));
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		thread_join(threads[i]);
	CHECK_INT(hotpatch_reclaim(), 0);
}

int main(void)
{
	deadline(60);
	sem_init(&inside, 0, 0);
	sem_init(&leave, 0, 0);
	replaced();
	nested();
	in_use();
	forced();
	polled();
	in_set();
	hammered();
	return 0;
}
