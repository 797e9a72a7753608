/* throughput.c - what linking or preloading hotpatch costs malloc: nothing, as it interposes nothing.
 *
 * To see that nothing is nothing takes a program that does little else (bench/programs/churn.c) and many comparisons.
 * In a round each way of starting it gets a program that lives through the round, and the programs work by turns of
 * about a millisecond, so that all of them meet the same machine. The program without hotpatch takes part twice: the
 * others are compared with the mean of the two, and the ratio of the two to each other says what the noise is.
 */
#include "throughput.h"

#include <stdio.h>

#include "child.h"
#include "footprint.h"

enum { NEITHER, LINKED, AGAIN, PRELOADED, N_WAYS };

static const struct {
	const char *name, *program;
	bool preload;
} ways[N_WAYS] = {
	[NEITHER] = {"neither", "churn", false},
	[LINKED] = {"linked", "churn-linked", false},
	[AGAIN] = {"neither, once more", "churn", false},
	[PRELOADED] = {"preloaded", "churn", true},
};

enum { TURNS = 8 };

struct rates {
	struct samples million, ratio; /* pairs in a second of processor time; see ratio_of */
};

static double ratio_of(const double million[N_WAYS], unsigned way)
{
	bool itself = way == NEITHER || way == AGAIN;
	return million[way] / (itself ? million[NEITHER] : (million[NEITHER] + million[AGAIN]) / 2);
}

/* Who is i-th. Every turn begins with another way, every other round goes the other way round, and every second one is
 * started in another order: what a program finds in the caches depends on who was before it. */
static unsigned way_at(unsigned round, unsigned i)
{
	unsigned at = (round / 2 + i) % N_WAYS;
	return round % 2 != 0 ? N_WAYS - 1 - at : at;
}

static void take_turns(const struct worker workers[N_WAYS], unsigned round, unsigned turn, double million[N_WAYS])
{
	for (unsigned i = 0; i < N_WAYS; i++) {
		unsigned way = way_at(round, turn + i);
		struct answers answers;
		worker_turn(&workers[way], &answers);
		million[way] = answers_get(&answers, "pairs") / 1e6;
	}
}

/* A program keeps the addresses it was given at its start, and with them its speed: a round, with programs of its own,
 * makes one sample, the median of its turns. */
static void add_round(struct rates turns[N_WAYS], struct rates rates[N_WAYS])
{
	for (unsigned way = 0; way < N_WAYS; way++) {
		samples_add(&rates[way].million, samples_summary(&turns[way].million).p50);
		samples_add(&rates[way].ratio, samples_summary(&turns[way].ratio).p50);
		samples_clear(&turns[way].million);
		samples_clear(&turns[way].ratio);
	}
}

static void measure_round(const struct child children[N_WAYS], const char *threads, unsigned round,
                          struct rates rates[N_WAYS])
{
	struct worker workers[N_WAYS];
	struct rates turns[N_WAYS] = {0};
	double million[N_WAYS];

	for (unsigned i = 0; i < N_WAYS; i++) {
		unsigned way = way_at(round, i);
		workers[way] = worker_begin(&children[way], threads);
	}
	take_turns(workers, round, 0, million); /* for the heaps to take their size */
	for (unsigned turn = 0; turn < TURNS; turn++) {
		take_turns(workers, round, turn, million);
		for (unsigned way = 0; way < N_WAYS; way++) {
			samples_add(&turns[way].million, million[way]);
			samples_add(&turns[way].ratio, ratio_of(million, way));
		}
	}
	for (unsigned way = 0; way < N_WAYS; way++)
		worker_end(&workers[way]);
	add_round(turns, rates);
}

static void add_rate(struct report *report, unsigned way, unsigned threads, struct rates *rates)
{
	char with[64];
	snprintf(with, sizeof(with), "%s, %u thread%s", ways[way].name, threads, threads > 1 ? "s" : "");
	report_add(report, REPORT_FOOTPRINT,
	           &(struct figure){"malloc and free, millions in a second", with, threads, "",
	                            samples_summary(&rates->million), samples_summary(&rates->ratio)});
}

static void add_budget(struct report *report, unsigned way, unsigned threads, struct rates *rates)
{
	char quantity[128], remark[256] = "";
	struct summary ratio = samples_summary(&rates[way].ratio), noise = samples_summary(&rates[AGAIN].ratio);

	snprintf(quantity, sizeof(quantity), "malloc throughput, %s / neither, %u thread%s", ways[way].name, threads,
	         threads > 1 ? "s" : "");
	if (ratio.p50 < 0.98 || ratio.p50 > 1.02)
		snprintf(remark, sizeof(remark),
		         "middle half %.3f to %.3f; the program without hotpatch against itself: %.3f (%.3f to %.3f)",
		         ratio.p25, ratio.p75, noise.p50, noise.p25, noise.p75);
	report_budget(report, &(struct budget){quantity, "", 0.98, 1.02, ratio.p50, remark});
}

static void measure(struct report *report, const char *folder, unsigned threads)
{
	struct child children[N_WAYS];
	struct rates rates[N_WAYS] = {0};
	unsigned rounds = report_smoke(report) ? 5 : report_quick(report) ? 40 : 200;
	char number[16];

	for (unsigned way = 0; way < N_WAYS; way++)
		children[way] = child_of(folder, ways[way].program, ways[way].preload);
	snprintf(number, sizeof(number), "%u", threads);
	for (unsigned round = 0; round < rounds; round++)
		measure_round(children, number, round, rates);
	for (unsigned way = 0; way < N_WAYS; way++)
		add_rate(report, way, threads, &rates[way]);
	add_budget(report, LINKED, threads, rates);
	add_budget(report, PRELOADED, threads, rates);
	for (unsigned way = 0; way < N_WAYS; way++) {
		samples_clear(&rates[way].million);
		samples_clear(&rates[way].ratio);
	}
}

void throughput_measure(struct report *report, const char *folder)
{
	measure(report, folder, 1);
	measure(report, folder, 2);
}
