/* churn.c - pairs of malloc and free in a second: churn THREADS
 *
 * For every byte it reads it does some ten thousand pairs in each thread, which takes about a millisecond, and prints
 * how many that is in a second. Each thread keeps a few hundred blocks and replaces one after the other by one of
 * another size, mostly small. The second is one of each thread's own processor time, in which what else runs on the
 * machine shows least.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef LINKED
#include "hotpatch.h"
#endif

enum { MAX_THREADS = 8, N_BLOCKS = 512, N_SIZES = 16, PAIRS = 32768 };

static const size_t sizes[N_SIZES] = {16, 24, 24, 32, 32, 40, 48, 64, 80, 100, 128, 200, 300, 600, 1500, 5000};

struct worker {
	pthread_t thread;
	unsigned number;
	char *blocks[N_BLOCKS];
	uint32_t random;
	double pairs_per_ns; /* in the last turn */
};

static cpu_set_t processors;
static pthread_barrier_t begin, end; /* of a turn */
static bool leave;                   /* written before, read behind begin */

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint32_t next(uint32_t *random)
{
	*random = *random * 1664525u + 1013904223u;
	return *random >> 16;
}

static void take_turn(struct worker *worker)
{
	uint64_t before = now();
	for (unsigned i = 0; i < PAIRS; i++) {
		char **block = &worker->blocks[next(&worker->random) % N_BLOCKS];
		free(*block);
		*block = malloc(sizes[next(&worker->random) % N_SIZES]);
		if (*block == NULL)
			exit(1);
		**block = 1;
	}
	worker->pairs_per_ns = PAIRS / (double)(now() - before);
}

/* Every program's n-th thread has the same processor: its neighbour may be busier than it is. */
static void stay(unsigned n)
{
	n %= (unsigned)CPU_COUNT(&processors);
	for (size_t i = 0; i < CPU_SETSIZE; i++) {
		cpu_set_t one;
		if (!CPU_ISSET(i, &processors) || n-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static void *worker_run(void *arg)
{
	stay(((struct worker *)arg)->number);
	while (pthread_barrier_wait(&begin), !leave) {
		take_turn(arg);
		pthread_barrier_wait(&end);
	}
	return NULL;
}

/* The main thread is the first worker: with one thread there is no other. */
int main(int argc, char **argv)
{
	static struct worker workers[MAX_THREADS];
	unsigned n = argc == 2 ? (unsigned)atoi(argv[1]) : 0;

	if (n < 1 || n > MAX_THREADS)
		return 64;
	pthread_barrier_init(&begin, NULL, n);
	pthread_barrier_init(&end, NULL, n);
	if (sched_getaffinity(0, sizeof(processors), &processors) != 0)
		return 1;
	stay(0);
	for (unsigned i = 1; i < n; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]) != 0)
			return 1;
	}
	for (char byte; read(STDIN_FILENO, &byte, 1) == 1;) {
		double sum = 0;
		pthread_barrier_wait(&begin);
		take_turn(&workers[0]);
		pthread_barrier_wait(&end);
		for (unsigned i = 0; i < n; i++)
			sum += workers[i].pairs_per_ns;
		printf("pairs %.0f\n", sum * 1e9);
		fflush(stdout);
	}
	leave = true;
	pthread_barrier_wait(&begin);
	for (unsigned i = 1; i < n; i++)
		pthread_join(workers[i].thread, NULL);
#ifdef LINKED
	return hotpatch_code_name(0) == NULL; /* without a use the linker would leave the library out */
#else
	return 0;
#endif
}
