/* callers.c - the longest that any call takes while the function's definition is changed.
 *
 * Callers read the clock after every call; what lies between two readings is a call, whatever happened to the thread
 * meanwhile: the gate, the signal it was asked with, and the machine's own noise (another thread on its processor, an
 * interrupt, the host of a virtual machine). So that one can tell, there are slices of time in which a definition is
 * changed and slices of the same length in which the changing thread merely spins, by turns:
 *
 *     | change | pause | change | pause | ... 100 of them ... | spin | pause | spin | pause | ...
 *
 * A slice ends when each caller has finished a call that began after the change was complete.
 */
#include "callers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "must.h"
#include "target.h"

enum { MAX_CALLERS = 2, BLOCKS = 10, MAX_SLICES = 100 /* in a block */, BINS = 28, LEAST_NS = 16 };

/* -- Callers ------------------------------------------------------------------------------------------------------- */

struct caller {
	pthread_t thread;
	atomic_ulong calls;
	uint64_t longest[MAX_SLICES + 1]; /* ns, in each slice; the last is that of the pauses */
	unsigned long long bins[BINS];    /* of all calls */
};

/* What the callers look at. */
static struct {
	atomic_uint slice; /* the one that is on */
	atomic_bool leave;
} now;

static unsigned bin_of(uint64_t ns)
{
	unsigned bin = ns < LEAST_NS ? 0 : 64 - (unsigned)__builtin_clzll(ns / LEAST_NS);
	return bin < BINS ? bin : BINS - 1;
}

static void *caller_run(void *arg)
{
	struct caller *caller = arg;
	uint64_t before = timing_now();
	for (int x = 0; !atomic_load_explicit(&now.leave, memory_order_relaxed);) {
		x = target(x) & 0xffff;
		uint64_t after = timing_now(), ns = after - before;
		unsigned slice = atomic_load_explicit(&now.slice, memory_order_relaxed);
		before = after;
		caller->bins[bin_of(ns)]++;
		if (ns > caller->longest[slice])
			caller->longest[slice] = ns;
		atomic_store_explicit(&caller->calls, atomic_load_explicit(&caller->calls, memory_order_relaxed) + 1,
		                      memory_order_release);
	}
	return NULL;
}

/* Two calls on: the second has begun after this was called. */
static void await_calls(const struct caller *callers, unsigned n)
{
	unsigned long before[MAX_CALLERS];
	for (unsigned i = 0; i < n; i++)
		before[i] = atomic_load(&callers[i].calls);
	for (unsigned i = 0; i < n; i++)
		while (atomic_load(&callers[i].calls) - before[i] < 2)
			sched_yield();
}

static void callers_start(struct caller *callers, unsigned n)
{
	atomic_store(&now.leave, false);
	for (unsigned i = 0; i < n; i++) {
		callers[i] = (struct caller){0};
		errno = pthread_create(&callers[i].thread, NULL, caller_run, &callers[i]);
		must(errno == 0, "a thread could not be started");
	}
	await_calls(callers, n);
}

static void callers_end(struct caller *callers, unsigned n)
{
	atomic_store(&now.leave, true);
	for (unsigned i = 0; i < n; i++)
		pthread_join(callers[i].thread, NULL);
}

/* -- Slices -------------------------------------------------------------------------------------------------------- */

/* What was seen with changes, and without. */
struct seen {
	struct samples longest; /* us, a sample for each slice and caller */
	unsigned long long bins[BINS];
};

static void take_down(struct seen *seen, const struct caller *callers, unsigned n, unsigned slices)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned slice = 0; slice < slices; slice++)
			samples_add(&seen->longest, (double)callers[i].longest[slice] / 1e3);
		for (unsigned bin = 0; bin < BINS; bin++)
			seen->bins[bin] += callers[i].bins[bin];
	}
}

static void spin(uint64_t ns)
{
	for (uint64_t begin = timing_now(); timing_now() - begin < ns;)
		;
}

/* Callers run freely for a while, so that not all of their calls meet a change. */
static void pause_between(unsigned number)
{
	atomic_store(&now.slice, MAX_SLICES);
	spin(100000 + (uint64_t)(number * 7919 % 5) * 100000);
}

/* A block of slices. With changes, it notes how long each took; without, it lasts as long as was noted. */
static void run_block(struct seen *seen, unsigned n, bool changes, unsigned slices, uint64_t ns[MAX_SLICES])
{
	static struct caller callers[MAX_CALLERS];
	atomic_store(&now.slice, MAX_SLICES);
	callers_start(callers, n);
	for (unsigned slice = 0; slice < slices; slice++) {
		atomic_store(&now.slice, slice);
		uint64_t begin = timing_now();
		if (changes) {
			target_change(slice);
			ns[slice] = timing_now() - begin;
		} else {
			spin(ns[slice]);
		}
		await_calls(callers, n);
		pause_between(slice);
	}
	callers_end(callers, n);
	take_down(seen, callers, n, slices);
	if (changes)
		target_restore();
}

/* -- The report ---------------------------------------------------------------------------------------------------- */

static void report_bins(struct report *report, const char *name, const char *title, const struct seen *seen,
                        unsigned n_bins)
{
	struct histogram histogram = {.name = name, .title = title, .unit = "ns", .low = LEAST_NS, .n_bins = n_bins};
	for (unsigned bin = 0; bin < n_bins; bin++)
		histogram.bins[bin] = seen->bins[bin];
	report_histogram(report, &histogram);
}

/* Without those at the end that are empty in both. */
static unsigned bins_in_use(const struct seen *a, const struct seen *b)
{
	unsigned n = BINS;
	while (n > 1 && a->bins[n - 1] == 0 && b->bins[n - 1] == 0)
		n--;
	return n;
}

/* What is held against the budget is a caller that has a processor to itself. */
static void report_one_caller(struct report *report, const struct seen *changed, const struct seen *quiet,
                              const struct summary *longest, unsigned changes)
{
	char title[128];
	unsigned n_bins = bins_in_use(changed, quiet);
	snprintf(title, sizeof(title), "every call by one caller while %u changes were applied", changes);
	report_bins(report, "longest_call", title, changed, n_bins);
	report_bins(report, "longest_call_quiet", "every call by one caller, for as long, without a change", quiet,
	            n_bins);
	report_budget(report, &(struct budget){"longest any caller is held, 1 function, quiet machine, p99", "us", 0,
	                                       300, longest->p99, NULL});
}

static void add(struct report *report, unsigned n, const char *while_, struct seen *seen, struct summary *ret_longest)
{
	char with[128];
	snprintf(with, sizeof(with), "%s, %u running caller%s", while_, n, n > 1 ? "s" : "");
	*ret_longest = samples_summary(&seen->longest);
	report_add(report, REPORT_CHANGES,
	           &(struct figure){"longest call of a caller", with, 0, "us", *ret_longest, {0}});
	samples_clear(&seen->longest);
}

/* With a caller on every processor the changing thread waits for its turn again and again, which takes long. */
static unsigned count_blocks(const struct report *report, unsigned n)
{
	if (report_smoke(report))
		return 1;
	return report_quick(report) && n > 1 ? 2 : BLOCKS;
}

static void measure(struct report *report, unsigned n)
{
	struct seen changed = {0}, quiet = {0};
	struct summary longest, noise;
	unsigned blocks = count_blocks(report, n), slices = report_smoke(report) ? 10 : MAX_SLICES;
	uint64_t ns[MAX_SLICES];

	fprintf(stderr, "bench: longest calls of %u caller%s\n", n, n > 1 ? "s" : "");
	for (unsigned block = 0; block < blocks; block++) {
		run_block(&changed, n, true, slices, ns);
		run_block(&quiet, n, false, slices, ns);
	}
	add(report, n, "while it is applied", &changed, &longest);
	add(report, n, "no change for as long", &quiet, &noise);
	if (n == 1)
		report_one_caller(report, &changed, &quiet, &longest, blocks * slices);
}

void callers_measure(struct report *report)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	for (unsigned n = 1; n <= MAX_CALLERS && (n == 1 || n <= processors); n++)
		measure(report, n);
}
