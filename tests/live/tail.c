/* tail - B3: a call in the last place, which at -O2 would leave an old definition by a jump.
 *
 * `outer` ends in a call of `inner`, and tells it which version it is. A thread that had left the old `outer` by a jump
 * would not be seen in it, be held at the gate of `inner`, and go on into the new one.
 *
 * build: quick=clang-O2
 *
 * Seen to fail: with marks that let calls in the last place become jumps, 3,169 of 87 million calls were mixed with
 * gcc -O2, 707 with clang -O2.
 */
#include "check.h"

enum { THREADS = 4, OLD = 1, NEW = 2 };

HOTPATCHABLE int inner(int version)
{
	return version == OLD ? OLD : -1;
}

HOTPATCHABLE int outer(int version)
{
	(void)version;
	return inner(OLD);
}

HOTPATCH int new_inner(int version)
{
	return version == NEW ? NEW : -1;
}

HOTPATCH int new_outer(int version)
{
	(void)version;
	return inner(NEW);
}

static atomic_bool stop;

static void *caller(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		if (outer(0) < 0)
			FAIL("%s", "one version of outer met the other of inner");
	return arg;
}

int main(void)
{
	struct hotpatch *patch = hotpatch_new("tail");
	pthread_t threads[THREADS];

	deadline(60);
	CHECK_OK(hotpatch_replace(patch, outer, new_outer));
	CHECK_OK(hotpatch_replace(patch, inner, new_inner));
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(caller, NULL);
	for (int i = 0; i < OFTEN(1000); i++) {
		CHECK_OK(hotpatch_apply(patch, .timeout_ms = 20000));
		CHECK_OK(hotpatch_revert(patch, .timeout_ms = 20000));
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	CHECK_OK(hotpatch_free(patch));
	return 0;
}
