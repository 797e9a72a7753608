/* apply.c - microseconds per change of definition, for the thread that makes it.
 *
 * Three kinds: the first redirect of a function, which writes code; its restoration, which writes it back; and a later
 * change, which does not touch code. Each alone, with a thread that calls the function all the time, and with 64
 * threads that are blocked in system calls and have to be looked at.
 */
#include "apply.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "hotpatch.h"

enum { MAX_THREADS = 512 };

HOTPATCHABLE int target(int x)
{
	return x + 1;
}

static int body_one(int x)
{
	return x + 1;
}

static int body_two(int x)
{
	return 1 + x;
}

static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "bench: %s\n", hotpatch_error()->message);
		exit(1);
	}
}

/* -- Who else is there --------------------------------------------------------------------------------------- */

static struct {
	pthread_t threads[MAX_THREADS];
	unsigned n;
	sem_t ready;
	atomic_bool leave; /* callers */
	int pipe[2];       /* blocked threads read it, and leave when it is closed */
} others;

static void *caller_run(void *unused)
{
	int x = 0;
	sem_post(&others.ready);
	while (!atomic_load_explicit(&others.leave, memory_order_relaxed))
		x = target(x) & 0xffff;
	return unused;
}

static void *blocked_run(void *unused)
{
	char byte;
	sem_post(&others.ready);
	if (read(others.pipe[0], &byte, 1) != 0)
		abort(); /* nobody writes, and no signal may show */
	return unused;
}

static void others_start(unsigned callers, unsigned blocked)
{
	atomic_store(&others.leave, false);
	sem_init(&others.ready, 0, 0);
	if (pipe(others.pipe) != 0)
		exit(1);
	for (others.n = 0; others.n < callers + blocked; others.n++)
		if (pthread_create(&others.threads[others.n], NULL, others.n < callers ? caller_run : blocked_run,
		                   NULL) != 0)
			exit(1);
	for (unsigned i = 0; i < others.n; i++)
		sem_wait(&others.ready);
	usleep(20000); /* from the post to the read it is a few instructions */
}

static void others_end(void)
{
	atomic_store(&others.leave, true);
	close(others.pipe[1]);
	for (unsigned i = 0; i < others.n; i++)
		pthread_join(others.threads[i], NULL);
	close(others.pipe[0]);
	sem_destroy(&others.ready);
}

/* -- Measurement --------------------------------------------------------------------------------------------- */

struct costs {
	struct samples first, restore, later;
};

static double since_us(uint64_t begin)
{
	return (double)(timing_now() - begin) / 1e3;
}

#define TIMED(samples, call)                                                                                           \
	do {                                                                                                           \
		uint64_t begin_ = timing_now();                                                                        \
		int code_ = (call);                                                                                    \
		samples_add((samples), since_us(begin_));                                                              \
		must(code_);                                                                                           \
	} while (0)

/* Until there are enough samples or the time is over, but never fewer than ten. */
static bool more(const struct samples *samples, bool quick, uint64_t begin)
{
	size_t enough = quick ? 500 : 5000;
	double limit_us = quick ? 2e6 : 10e6;
	return samples->n < 10 || (samples->n < enough && since_us(begin) < limit_us);
}

static void measure(struct costs *costs, bool quick)
{
	for (uint64_t begin = timing_now(); more(&costs->first, quick, begin);) {
		TIMED(&costs->first, hotpatch_fn(target, body_one));
		TIMED(&costs->restore, hotpatch_restore(target));
	}
	must(hotpatch_fn(target, body_one));
	for (uint64_t begin = timing_now(); more(&costs->later, quick, begin);) {
		TIMED(&costs->later, hotpatch_fn(target, body_two));
		TIMED(&costs->later, hotpatch_fn(target, body_one));
	}
	must(hotpatch_restore(target));
}

static const struct {
	const char *name;
	unsigned callers, blocked;
	double budget_first, budget_later; /* us, p50 */
} situations[] = {
	{"alone", 0, 0, 60, 20},
	{"1 running caller", 1, 0, 150, 0},
	{"64 blocked threads", 0, 64, 800, 0},
};

void apply_measure(struct report *report)
{
	for (size_t i = 0; i < sizeof(situations) / sizeof(situations[0]); i++) {
		const char *name = situations[i].name;
		struct costs costs = {0};

		fprintf(stderr, "bench: changes, %s\n", name);
		others_start(situations[i].callers, situations[i].blocked);
		measure(&costs, report->quick);
		others_end();
		report_add_apply(report, &(struct apply_row){"first redirect", name, samples_summary(&costs.first),
		                                             situations[i].budget_first});
		report_add_apply(report, &(struct apply_row){"restore", name, samples_summary(&costs.restore), 0});
		report_add_apply(report, &(struct apply_row){"later change", name, samples_summary(&costs.later),
		                                             situations[i].budget_later});
		samples_clear(&costs.first);
		samples_clear(&costs.restore);
		samples_clear(&costs.later);
	}
}
