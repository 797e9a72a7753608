/* calls.c - nanoseconds per call of every kind (kinds.h), and the ratios between kinds.
 *
 * A machine changes its speed many times a second: its clock is stepped, and where it is virtual others work on the
 * same core. Two loops of 0.2 s that follow each other then differ by up to a tenth although they are the same machine
 * code. So a run is not one long loop per kind: it is many rounds, each of them one slice of 0.1 ms of every kind.
 *
 *     run 1 . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . run 2 . . .
 *     round 0                    round 1: another first     round 2
 *     |plain|unpatched|...|lock| |unpatched|plain|lock|...| |function|library|...|unpatched|
 *
 * Every round begins with another kind, and every second one goes backwards: no kind always follows the same one.
 *
 * The time of a run is the median of its slices, its ratio of two kinds the median of the ratios within its rounds, a
 * millisecond apart and mostly at the same speed. A slice that was interrupted is one of hundreds, which a median does
 * not see. Tried on a virtual machine of two processors, the ratio of the unpatched and the plain call, two loops of
 * the same code, eight runs of each: 0.90 to 1.04 with slices of 25 ms, 0.96 to 1.01 with 5 ms, 0.98 to 1.03 with 1 ms,
 * 0.9997 to 1.0006 with 0.1 ms.
 *
 * Two threads have to run side by side, or a lock costs what it costs one. So each stays on a processor of its own,
 * they meet before each slice, and repeat it when one of them began it late because something else had its processor.
 */
#include "calls.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "kinds.h"
#include "must.h"

enum {
	MAX_THREADS = 2,
	SLICE_NS = 100000,
	CHUNK_NS = 10000, /* between two looks at the clock, which cost some thirty of them */
	LATE_NS = 10000,
	TRIES = 10,        /* at a slice; the last one counts in any case */
	TRIAL_CALLS = 100, /* in a chunk, while it is found out how many take CHUNK_NS */
	TRIAL_ROUNDS = 5,
};

/* How much is measured. */
struct extent {
	unsigned runs, rounds; /* rounds: of each run */
};

static struct extent extent_of(const struct report *report)
{
	if (report_smoke(report))
		return (struct extent){3, 5};
	if (report_quick(report))
		return (struct extent){7, 500}; /* 0.05 s of every kind */
	return (struct extent){15, 2000};       /* 0.2 s */
}

/* -- Threads that call side by side -------------------------------------------------------------------------- */

struct slice {
	double ns, calls;
};

struct crew {
	unsigned threads, rounds;
	bool apart;                   /* each on a processor of its own */
	uint64_t chunk[N_KINDS];      /* calls between two looks at the clock */
	atomic_uint arrived;          /* at any meeting so far */
	uint64_t begins[MAX_THREADS]; /* of the slice; written between two meetings, read behind the second */
	struct slice *slices;         /* [round][kind][thread] */
};

struct member {
	struct crew *crew;
	pthread_t thread;
	unsigned number;
	unsigned meetings; /* it has been at */
};

/* Returns for all at once. Who waits keeps its processor: blocked, or behind another program, it would come late. */
static void member_meet(struct member *member)
{
	struct crew *crew = member->crew;
	unsigned all = ++member->meetings * crew->threads;
	atomic_fetch_add(&crew->arrived, 1);
	while (atomic_load(&crew->arrived) < all)
		if (!crew->apart)
			sched_yield(); /* the other one needs this processor to arrive */
}

static void chunk_run(enum kind_id kind, uint64_t calls)
{
	if (kinds[kind].loop(calls) != calls) {
		fprintf(stderr, "bench: %s gave a wrong result\n", kinds[kind].name);
		exit(1);
	}
}

static struct slice slice_try(struct member *member, enum kind_id kind)
{
	uint64_t chunk = member->crew->chunk[kind], calls = 0, ns;

	chunk_run(kind, chunk); /* code and data are where they are needed */
	member_meet(member);
	uint64_t begin = member->crew->begins[member->number] = timing_now();
	do {
		chunk_run(kind, chunk);
		calls += chunk;
		ns = timing_now() - begin;
	} while (ns < SLICE_NS);
	return (struct slice){(double)ns, (double)calls};
}

/* All members come to the same answer. */
static bool began_together(const struct crew *crew)
{
	uint64_t first = crew->begins[0], last = crew->begins[0];
	for (unsigned i = 1; i < crew->threads; i++) {
		first = crew->begins[i] < first ? crew->begins[i] : first;
		last = crew->begins[i] > last ? crew->begins[i] : last;
	}
	return last - first < LATE_NS;
}

static struct slice slice_run(struct member *member, enum kind_id kind)
{
	for (unsigned tries = 1;; tries++) {
		struct slice slice = slice_try(member, kind);
		member_meet(member);
		if (tries == TRIES || !member->crew->apart || began_together(member->crew))
			return slice;
	}
}

/* The kind that has its turn. */
static enum kind_id turn_kind(unsigned round, unsigned turn)
{
	return round % 2 == 0 ? (round + turn) % N_KINDS : (round + N_KINDS - turn) % N_KINDS;
}

/* How many processors this program may use; 1 where that is not known. */
static int processors(void)
{
	cpu_set_t allowed;
	return sched_getaffinity(0, sizeof(allowed), &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
}

/* The first and the last processor there are: processors that share a core have numbers next to each other, or half
 * the total apart. */
static void stay_on_own_processor(const struct member *member)
{
	cpu_set_t allowed, own;
	int first = -1, last = -1;

	must(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed)) {
			first = first < 0 ? cpu : first;
			last = cpu;
		}
	}
	CPU_ZERO(&own);
	CPU_SET(member->number == 0 ? first : last, &own);
	must(sched_setaffinity(0, sizeof(own), &own) == 0, "sched_setaffinity");
}

static void *member_run(void *arg)
{
	struct member *member = arg;
	struct crew *crew = member->crew;

	if (crew->apart && crew->threads > 1)
		stay_on_own_processor(member);
	kinds_enter();
	for (unsigned round = 0; round < crew->rounds; round++) {
		for (unsigned turn = 0; turn < N_KINDS; turn++) {
			enum kind_id kind = turn_kind(round, turn);
			crew->slices[(round * N_KINDS + kind) * crew->threads + member->number] =
				slice_run(member, kind);
		}
	}
	kinds_leave();
	return NULL;
}

static void crew_run(struct crew *crew, unsigned rounds)
{
	struct member members[MAX_THREADS];

	crew->rounds = rounds;
	crew->slices = reallocarray(crew->slices, (size_t)rounds * N_KINDS * crew->threads, sizeof(struct slice));
	must(crew->slices != NULL, "memory for the slices");
	atomic_store(&crew->arrived, 0);
	for (unsigned i = 0; i < crew->threads; i++) {
		members[i] = (struct member){.crew = crew, .number = i};
		must(pthread_create(&members[i].thread, NULL, member_run, &members[i]) == 0, "a thread");
	}
	for (unsigned i = 0; i < crew->threads; i++)
		pthread_join(members[i].thread, NULL);
}

/* Nanoseconds a thread spent per call, over all threads. */
static double slice_ns(const struct crew *crew, unsigned round, enum kind_id kind)
{
	const struct slice *slices = &crew->slices[(round * N_KINDS + kind) * crew->threads];
	double ns = 0, calls = 0;
	for (unsigned i = 0; i < crew->threads; i++) {
		ns += slices[i].ns;
		calls += slices[i].calls;
	}
	return ns / calls;
}

/* -- What the slices say ------------------------------------------------------------------------------------- */

enum { NONE = N_KINDS }; /* in place of the kind a time is divided by */

static double slice_value(const struct crew *crew, unsigned round, enum kind_id kind, unsigned by)
{
	return slice_ns(crew, round, kind) / (by == NONE ? 1 : slice_ns(crew, round, by));
}

/* The median of some rounds. */
static double rounds_median(const struct crew *crew, unsigned from, unsigned n, enum kind_id kind, unsigned by)
{
	struct samples slices = {0};
	for (unsigned round = from; round < from + n; round++)
		samples_add(&slices, slice_value(crew, round, kind, by));
	double median = samples_summary(&slices).p50;
	samples_clear(&slices);
	return median;
}

/* Over the runs: times of a kind, or its ratios to another. */
static struct summary runs_summary(const struct crew *crew, struct extent extent, enum kind_id kind, unsigned by)
{
	struct samples runs = {0};
	for (unsigned run = 0; run < extent.runs; run++)
		samples_add(&runs, rounds_median(crew, run * extent.rounds, extent.rounds, kind, by));
	struct summary summary = samples_summary(&runs);
	samples_clear(&runs);
	return summary;
}

/* The ratio at the machine's full speed: in that tenth of the rounds in which the plain call took the least time. */
static double full_speed_ratio(const struct crew *crew, enum kind_id kind, enum kind_id by)
{
	struct samples plain = {0}, fast = {0};
	for (unsigned round = 0; round < crew->rounds; round++)
		samples_add(&plain, slice_ns(crew, round, KIND_PLAIN));
	samples_summary(&plain); /* sorts */
	double limit = plain.values[plain.n / 10];
	for (unsigned round = 0; round < crew->rounds; round++)
		if (slice_ns(crew, round, KIND_PLAIN) <= limit)
			samples_add(&fast, slice_value(crew, round, kind, by));
	double median = samples_summary(&fast).p50;
	samples_clear(&plain);
	samples_clear(&fast);
	return median;
}

/* -- The report ---------------------------------------------------------------------------------------------- */

static void report_kinds(struct report *report, const struct crew *crew, struct extent extent)
{
	const char *with = crew->threads == 1 ? "1 thread" : "2 threads";
	for (enum kind_id kind = 0; kind < N_KINDS; kind++)
		report_add(report, REPORT_CALLS,
		           &(struct figure){kinds[kind].name, with, crew->threads, "ns",
		                            runs_summary(crew, extent, kind, NONE),
		                            runs_summary(crew, extent, kind, KIND_PLAIN)});
}

static const struct {
	const char *quantity;
	enum kind_id kind, by;
	double limit[MAX_THREADS];
} budgets[] = {
	{"call of an unpatched function / plain call", KIND_UNPATCHED, KIND_PLAIN, {1.02, 1.02}},
	{"call of a patched function / through an atomic pointer", KIND_FUNCTION, KIND_ATOMIC, {1.5, 1.5}},
	{"call of a patched function / through `pthread_rwlock`", KIND_FUNCTION, KIND_RWLOCK, {1.0 / 5, 1.0 / 20}},
};

/* What the same slices say about a budget that is missed: how little room a plain call leaves, or what it would be if
 * the machine always ran as fast as it can. */
static void explain(const struct crew *crew, struct extent extent, enum kind_id kind, enum kind_id by, char *remark,
                    size_t size)
{
	if (by == KIND_RWLOCK)
		snprintf(remark, size, "a plain call is already 1/%.1f of it here",
		         1 / runs_summary(crew, extent, KIND_PLAIN, by).p50);
	else
		snprintf(remark, size, "%.3f in that tenth of the time in which this machine was fastest",
		         full_speed_ratio(crew, kind, by));
}

static void report_budgets(struct report *report, const struct crew *crew, struct extent extent)
{
	for (size_t i = 0; i < sizeof(budgets) / sizeof(budgets[0]); i++) {
		char quantity[128], remark[128] = "";
		enum kind_id kind = budgets[i].kind, by = budgets[i].by;
		double limit = budgets[i].limit[crew->threads - 1];
		double measured = runs_summary(crew, extent, kind, by).p50;

		snprintf(quantity, sizeof(quantity), "%s, %u thread%s", budgets[i].quantity, crew->threads,
		         crew->threads > 1 ? "s" : "");
		if (measured > limit)
			explain(crew, extent, kind, by, remark, sizeof(remark));
		report_budget(report, &(struct budget){quantity, "", 0, limit, measured, remark});
	}
}

static void report_remarks(struct report *report)
{
	char sentence[256];

	snprintf(sentence, sizeof(sentence),
	         "A thread that reads under liburcu's qsbr says every %u calls that it holds nothing, as a program "
	         "would in its main loop.",
	         KINDS_CALLS_PER_QUIESCENT_STATE);
	report_remark(report, REPORT_CALLS, sentence);
	report_remark(report, REPORT_CALLS,
	              "RCU, the lock, the mutex and the counter only protect the pointer: nobody "
	              "changes it while calls are measured, here as with hotpatch.");
	if (processors() < MAX_THREADS)
		report_remark(report, REPORT_CALLS,
		              "**There was one processor only: two threads did not run side by side.**");
}

/* -- The measurement ----------------------------------------------------------------------------------------- */

static void calibrate(struct crew *crew)
{
	for (enum kind_id kind = 0; kind < N_KINDS; kind++)
		crew->chunk[kind] = TRIAL_CALLS;
	crew_run(crew, TRIAL_ROUNDS);
	for (enum kind_id kind = 0; kind < N_KINDS; kind++) {
		double ns = rounds_median(crew, 0, TRIAL_ROUNDS, kind, NONE);
		crew->chunk[kind] = ns < CHUNK_NS ? (uint64_t)(CHUNK_NS / ns) : 1;
	}
}

static void measure(struct report *report, unsigned threads)
{
	struct crew crew = {.threads = threads, .apart = processors() >= (int)threads};
	struct extent extent = extent_of(report);

	fprintf(stderr, "bench: calls by %u thread%s\n", threads, threads > 1 ? "s" : "");
	calibrate(&crew);
	crew_run(&crew, extent.runs * extent.rounds);
	report_kinds(report, &crew, extent);
	report_budgets(report, &crew, extent);
	free(crew.slices);
}

void calls_measure(struct report *report)
{
	char library[4096];
	snprintf(library, sizeof(library), "%s/libstep.so", report_build(report));
	kinds_patch(library);
	for (unsigned threads = 1; threads <= MAX_THREADS; threads++)
		measure(report, threads);
	kinds_restore();
	report_remarks(report);
}
