/* main - the program of tests/watch_keeps.bats: "NAME NUMBER" from a pipe, answers into another. tls0 and tls1 are
 * asked of two threads; "hammer" is whether four others, which call pair() all the time, have seen what they must not.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "keep.h"

static struct worker {
	sem_t asked, answered;
	int n, answer;
} workers[2];

static atomic_ulong broken, calls;
static atomic_int last;

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (;;) {
		sem_wait(&worker->asked);
		worker->answer = per_thread(worker->n);
		sem_post(&worker->answered);
	}
	return NULL;
}

static int ask(int i, int n)
{
	workers[i].n = n;
	sem_post(&workers[i].asked);
	sem_wait(&workers[i].answered);
	return workers[i].answer;
}

/* Both halves of a pair are of one generation, and generations do not go back. */
static void *hammer(void *arg)
{
	(void)arg;
	for (int seen = 0;;) {
		int n = pair();
		if (n / 1000 != n % 1000 || n / 1000 < seen)
			broken++;
		seen = n / 1000;
		last = seen;
		calls++;
	}
	return NULL;
}

static int answer(const char *name, int n)
{
	if (strcmp(name, "tls0") == 0 || strcmp(name, "tls1") == 0)
		return ask(name[3] - '0', n);
	if (strcmp(name, "hammer") == 0) {
		for (int i = 0; i < n; i++) {
			pthread_t thread;
			pthread_create(&thread, NULL, hammer, NULL);
		}
		return (int)broken;
	}
	if (strcmp(name, "last") == 0)
		return last;
	if (strcmp(name, "calls") == 0)
		return (int)(calls % 1000000000);
	return strcmp(name, "a") == 0       ? a_add(n)
	       : strcmp(name, "b") == 0     ? b_add(n)
	       : strcmp(name, "made") == 0  ? constructed(n)
	       : strcmp(name, "twice") == 0 ? twice(n)
	       : strcmp(name, "sum") == 0   ? sum(n)
	       : strcmp(name, "size") == 0  ? size(n)
	       : strcmp(name, "motto") == 0 ? motto(n)
	       : strcmp(name, "prime") == 0 ? prime(n)
	                                    : -1;
}

int main(int argc, char **argv)
{
	FILE *in = argc > 2 ? fopen(argv[1], "r") : NULL, *out = in ? fopen(argv[2], "w") : NULL;
	char line[100], name[100];
	int n;

	if (!out)
		return 1;
	for (int i = 0; i < 2; i++) {
		pthread_t thread;
		sem_init(&workers[i].asked, 0, 0);
		sem_init(&workers[i].answered, 0, 0);
		pthread_create(&thread, NULL, work, &workers[i]);
	}
	while (fgets(line, sizeof(line), in))
		if (sscanf(line, "%99s %d", name, &n) == 2) {
			fprintf(out, "%d\n", answer(name, n));
			fflush(out);
		}
	return 0;
}
