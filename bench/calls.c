/* calls.c - nanoseconds per call: plain, prepared, patched, and what a program would do without hotpatch.
 *
 * Each kind of call stands in a loop of its own, made from one template, so that the loops differ in the call only
 * (bench/run compares the machine code of the first two). The result of a call is the argument of the next: nothing
 * can be hoisted, and what is measured is the time until a call has returned. The kinds take turns, run by run, so
 * that a machine that slows down slows all of them.
 */
#include "calls.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "hotpatch.h"

#ifdef __clang__
#define OPAQUE __attribute__((noinline, weak))
#else
#define OPAQUE __attribute__((noipa))
#endif

typedef uint64_t (*step_fn)(uint64_t);

/* -- What is called: always x + 1 ---------------------------------------------------------------------------- */

OPAQUE __attribute__((aligned(16))) uint64_t plain(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t unpatched(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t by_function(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t by_closure(uint64_t x)
{
	return x + 1;
}

static uint64_t closure(uint64_t x)
{
	return x + *(const uint64_t *)hotpatch_context();
}

static _Atomic(step_fn) atomic_pointer = plain;

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static step_fn locked_pointer = plain;

static inline uint64_t through_lock(uint64_t x)
{
	pthread_rwlock_rdlock(&lock);
	x = locked_pointer(x);
	pthread_rwlock_unlock(&lock);
	return x;
}

/* -- The loops ----------------------------------------------------------------------------------------------- */

#define LOOP(name, call)                                                                                               \
	OPAQUE __attribute__((aligned(64))) uint64_t loop_##name(uint64_t calls)                                       \
	{                                                                                                              \
		uint64_t x = 0;                                                                                        \
		for (uint64_t i = 0; i < calls; i++)                                                                   \
			x = call;                                                                                      \
		return x;                                                                                              \
	}

LOOP(plain, plain(x))
LOOP(unpatched, unpatched(x))
LOOP(by_function, by_function(x))
LOOP(by_closure, by_closure(x))
LOOP(atomic, atomic_load_explicit(&atomic_pointer, memory_order_acquire)(x))
LOOP(rwlock, through_lock(x))

static const struct {
	const char *name;
	step_fn loop; /* does so many calls; answers that number */
} kinds[] = {
	{"plain call", loop_plain},
	{"unpatched `HOTPATCHABLE`", loop_unpatched},
	{"patched by a function", loop_by_function},
	{"patched by a closure", loop_by_closure},
	{"atomic function pointer", loop_atomic},
	{"`pthread_rwlock` around a pointer", loop_rwlock},
};

enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]), MAX_THREADS = 2 };

/* -- Runs ---------------------------------------------------------------------------------------------------- */

struct runner {
	pthread_t thread;
	pthread_barrier_t *start;
	step_fn loop;
	uint64_t calls, result;
	uint64_t ns;
};

static void *runner_run(void *arg)
{
	struct runner *runner = arg;
	pthread_barrier_wait(runner->start);
	uint64_t begin = timing_now();
	runner->result = runner->loop(runner->calls);
	runner->ns = timing_now() - begin;
	return NULL;
}

static void fail(const char *why)
{
	fprintf(stderr, "bench: %s\n", why);
	exit(1);
}

/* Has each of so many threads make so many calls; nanoseconds per call, the mean over the threads. */
static double run(step_fn loop, unsigned threads, uint64_t calls)
{
	struct runner runners[MAX_THREADS];
	pthread_barrier_t start;
	double ns = 0;

	pthread_barrier_init(&start, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		runners[i] = (struct runner){.start = &start, .loop = loop, .calls = calls};
		if (pthread_create(&runners[i].thread, NULL, runner_run, &runners[i]) != 0)
			fail("a thread could not be started");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(runners[i].thread, NULL);
		if (runners[i].result != calls)
			fail("a call gave a wrong result");
		ns += (double)runners[i].ns / (double)calls / threads;
	}
	pthread_barrier_destroy(&start);
	return ns;
}

/* So many calls that they take at least `ms`. */
static uint64_t calibrate(step_fn loop, unsigned threads, double ms)
{
	uint64_t calls = 1 << 16;
	double wanted = ms * 1e6;
	for (;;) {
		double took = run(loop, threads, calls) * (double)calls;
		if (took >= wanted)
			return calls;
		calls = took < wanted / 8 ? calls * 4 : (uint64_t)((double)calls * wanted / took * 1.1);
	}
}

/* What was measured of one kind, a sample a run. */
struct kind_samples {
	struct samples ns, ratio; /* ratio: to the plain call of the same run, so that drift cancels out */
};

/* Every run begins with another kind, so that no kind always follows the same one. */
static void measure_run(struct kind_samples samples[N_KINDS], unsigned number, unsigned threads,
                        const uint64_t calls[N_KINDS])
{
	double ns[N_KINDS];
	for (unsigned i = 0; i < N_KINDS; i++) {
		unsigned kind = (number + i) % N_KINDS;
		ns[kind] = run(kinds[kind].loop, threads, calls[kind]);
	}
	for (unsigned kind = 0; kind < N_KINDS; kind++) {
		samples_add(&samples[kind].ns, ns[kind]);
		samples_add(&samples[kind].ratio, ns[kind] / ns[0]);
	}
}

static void measure(struct report *report, unsigned threads)
{
	struct kind_samples samples[N_KINDS] = {0};
	uint64_t calls[N_KINDS];

	for (unsigned kind = 0; kind < N_KINDS; kind++)
		calls[kind] = calibrate(kinds[kind].loop, threads, report->quick ? 50 : 200);
	for (unsigned number = 0; number < (report->quick ? 12 : 18); number++)
		measure_run(samples, number, threads, calls);
	for (unsigned kind = 0; kind < N_KINDS; kind++) {
		report_add_call(report,
		                &(struct call_row){kinds[kind].name, threads, samples_summary(&samples[kind].ns),
		                                   samples_summary(&samples[kind].ratio)});
		samples_clear(&samples[kind].ns);
		samples_clear(&samples[kind].ratio);
	}
}

void calls_measure(struct report *report)
{
	static uint64_t one = 1;
	if (hotpatch_fn(by_function, plain) != 0 || hotpatch_closure(by_closure, closure, &one, NULL) != 0)
		fail(hotpatch_error()->message);
	for (unsigned threads = 1; threads <= MAX_THREADS; threads++) {
		fprintf(stderr, "bench: calls by %u thread%s\n", threads, threads > 1 ? "s" : "");
		measure(report, threads);
	}
	if (hotpatch_restore(by_function) != 0 || hotpatch_restore(by_closure) != 0)
		fail(hotpatch_error()->message);
}
