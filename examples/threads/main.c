/* threads - a function is replaced while four threads call it, and then while a call of it takes a whole second.
 *
 * When hotpatch_fn returns 0, no thread is in the old body any more and none will enter it. The callers take no lock
 * and know nothing of the change; here they look at a flag before each call, to count what they get afterwards.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hotpatch.h"

enum { THREADS = 4, CALLS = 2500 }; /* 10,000 calls, half of them after the patch; those during it are not counted */
enum body { OLD, NEW };

static atomic_int answers[2]; /* after the patch, by the body that gave them */
static atomic_bool patched, slow_has_ended;
static sem_t halfway, slow_is_inside;

HOTPATCHABLE enum body answer(void)
{
	return OLD;
}

static enum body new_answer(void)
{
	return NEW;
}

static void *caller(void *unused)
{
	for (int i = 0; i < CALLS / 2; i++)
		if (answer() != OLD)
			exit(1);
	sem_post(&halfway);
	while (!atomic_load(&patched)) /* go on while the function is changed under us */
		answer();
	for (int i = 0; i < CALLS / 2; i++)
		atomic_fetch_add(&answers[answer()], 1);
	return unused;
}

HOTPATCHABLE void slow(void)
{
	sem_post(&slow_is_inside);
	nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	atomic_store(&slow_has_ended, true);
}

static void quick(void) {}

static void *call_slow(void *unused)
{
	slow();
	return unused;
}

static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "%s\n", hotpatch_error()->message);
		exit(1);
	}
}

int main(void)
{
	pthread_t thread[THREADS], sleeper;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, caller, NULL);
	for (int i = 0; i < THREADS; i++)
		sem_wait(&halfway);
	must(hotpatch_fn(answer, new_answer));
	atomic_store(&patched, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	printf("after the patch: %d answers by the old body, %d by the new\n", answers[OLD], answers[NEW]);

	pthread_create(&sleeper, NULL, call_slow, NULL);
	sem_wait(&slow_is_inside);
	must(hotpatch_fn(slow, quick)); /* waits for the call that is under way, five seconds unless told otherwise */
	printf("the slow call %s when the patch was there\n", slow_has_ended ? "had ended" : "was still running");
	pthread_join(sleeper, NULL);
	return 0;
}
