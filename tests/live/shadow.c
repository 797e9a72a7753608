/* shadow - fields beside objects: made once whoever comes first, found by all, freed with what they hold, whole in a
 * child of fork; and the reason that a callback gives for its refusal.
 *
 * Seen to fail: without the locks of the shards (two threads make one field twice), without hp_shadows_lock around fork
 * (the child waits for ever), with entries of a shard that grows left behind.
 */
#include <sys/wait.h>

#include "check.h"

enum { OBJECTS = 3000, THREADS = 4, ROUNDS = 20 };

static char objects[OBJECTS];
static atomic_int made, freed;

static void make(void *memory, void *arg)
{
	long *field = memory;
	CHECK(field[0] == 0 && field[1] == 0 && (uintptr_t)memory % 16 == 0);
	field[0] = (long)(intptr_t)arg;
	atomic_fetch_add(&made, 1);
}

static void drop(void *memory)
{
	CHECK(((long *)memory)[0] == 7);
	atomic_fetch_add(&freed, 1);
}

static void *attach_all(void *arg)
{
	for (int i = 0; i < OBJECTS; i++) {
		long *field = hotpatch_shadow_attach(&objects[i], 1, 16, make, (void *)7);
		CHECK(field && field[0] == 7 && hotpatch_shadow_get(&objects[i], 1) == field);
		CHECK(!hotpatch_shadow_get(&objects[i], 2));
		__atomic_fetch_add(&field[1], 1, __ATOMIC_SEQ_CST);
	}
	return arg;
}

static void everybody_comes_first(void)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, attach_all, NULL) == 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_INT(made, OBJECTS);
	for (int i = 0; i < OBJECTS; i++)
		CHECK_INT(((long *)hotpatch_shadow_get(&objects[i], 1))[1], THREADS);
}

static void some_and_all_go(void)
{
	CHECK(!hotpatch_shadow_attach(&objects[0], 1, 17, NULL, NULL));
	CHECK_INT(hotpatch_error()->code, HOTPATCH_EINVAL);
	CHECK(!hotpatch_shadow_attach(&objects[0], 3, SIZE_MAX - 8, NULL, NULL));
	CHECK_INT(hotpatch_error()->code, HOTPATCH_ENOMEM);
	CHECK(!hotpatch_shadow_attach(NULL, 1, 16, NULL, NULL));
	CHECK_INT(hotpatch_error()->code, HOTPATCH_EINVAL);
	CHECK(hotpatch_shadow_attach(&objects[5], 2, 0, NULL, NULL));
	CHECK_OK(hotpatch_shadow_detach(&objects[5], 1, drop));
	CHECK_INT(freed, 1);
	CHECK(!hotpatch_shadow_get(&objects[5], 1) && hotpatch_shadow_get(&objects[5], 2));
	CHECK_CODE(hotpatch_shadow_detach(&objects[5], 1, drop), HOTPATCH_ENOSYM);
	CHECK_OK(hotpatch_shadow_detach(NULL, 1, drop));
	CHECK_INT(freed, OBJECTS);
	CHECK_CODE(hotpatch_shadow_detach(NULL, 1, drop), HOTPATCH_ENOSYM);
	CHECK_OK(hotpatch_shadow_detach(NULL, 2, NULL));
}

static atomic_bool ended;

static void *come_and_go(void *arg)
{
	while (!ended)
		for (int i = 0; i < OBJECTS; i++) {
			CHECK(hotpatch_shadow_attach(&objects[i], 4, 8, NULL, NULL));
			CHECK_OK(hotpatch_shadow_detach(&objects[i], 4, NULL));
		}
	return arg;
}

static void forked(void)
{
	pthread_t thread;
	CHECK(pthread_create(&thread, NULL, come_and_go, NULL) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		pid_t child = fork();
		int status;
		if (child == 0) {
			for (int k = 0; k < OBJECTS; k++)
				if (!hotpatch_shadow_attach(&objects[k], 5, 8, NULL, NULL))
					_exit(1);
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) == child && status == 0);
	}
	ended = true;
	pthread_join(thread, NULL);
}

/* -- A reason ------------------------------------------------------------------------------------------------------ */

HOTPATCHABLE int one(void)
{
	return 1;
}

static int two(void)
{
	return 2;
}

static int refuse(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	return *(int *)arg ? hotpatch_veto(patch, "%d of event %d", *(int *)arg, (int)event) : 0;
}

static void reason(void)
{
	struct hotpatch *patch = hotpatch_new("reasons");
	int left = 3;
	CHECK_OK(hotpatch_replace(patch, one, two));
	CHECK_OK(hotpatch_on(patch, HOTPATCH_PRE_APPLY, refuse, &left));
	CHECK_OK(hotpatch_on(patch, HOTPATCH_PRE_REVERT, refuse, &left));
	CHECK_CODE(hotpatch_apply(patch), HOTPATCH_EVETO);
	CHECK(strstr(hotpatch_error()->message, "refused: 3 of event 0; nothing was changed"));
	left = 0;
	CHECK_OK(hotpatch_apply(patch));
	CHECK_INT(one(), 2);
	left = 5;
	CHECK_CODE(hotpatch_revert(patch), HOTPATCH_EVETO);
	CHECK(strstr(hotpatch_error()->message, "refused: 5 of event 2; nothing was changed"));
	left = 0;
	CHECK_OK(hotpatch_revert(patch));
	CHECK_OK(hotpatch_free(patch));
	CHECK_INT(hotpatch_veto(NULL, "nobody"), 1);
}

int main(void)
{
	deadline(60);
	for (int i = 0; i < 2; i++) {
		atomic_store(&made, 0);
		atomic_store(&freed, 0);
		everybody_comes_first();
		some_and_all_go();
	}
	forked();
	reason();
	return 0;
}
