/* startup.c - what linking or preloading hotpatch costs a program that patches nothing.
 *
 * The program (bench/programs/start.c) has 10 or 10,000 prepared functions and ends at once. It is started in each way
 * by turns, so that what slows the machine down slows all of them, and compared with the start before or after it.
 * Linked is as pkg-config has it, with -rdynamic; the names of 10,000 functions in the program's dynamic symbol table
 * are part of the price.
 */
#include "startup.h"

#include <stdio.h>
#include <stdlib.h>

#include "child.h"
#include "footprint.h"

enum { NEITHER, LINKED, PRELOADED, SERVED, PLAIN, N_WAYS };

static const struct way {
	const char *name, *few, *many; /* the programs with 10 and with 10,000 functions */
	bool preload, present, serve;
} ways[N_WAYS] = {
	[NEITHER] = {"neither", "start-10", "start-10000", false, false},
	[LINKED] = {"linked", "start-10-linked", "start-10000-linked", false, true},
	[PRELOADED] = {"preloaded", "start-10", "start-10000", true, true},
	[SERVED] = {"preloaded, with the agent", "start-10", "start-10000", true, true, true},
	[PLAIN] = {"neither, nothing prepared", NULL, "start-10000-plain", false, false},
};

static struct child way_child(const char *folder, const struct way *way, const char *program)
{
	struct child child = child_of(folder, program, way->preload);

	child.serve = way->serve;
	return child;
}

static unsigned rounds(const struct report *report, unsigned full, unsigned quick)
{
	return report_smoke(report) ? 5 : report_quick(report) ? quick : full;
}

/* -- Time ------------------------------------------------------------------------------------------------------- */

struct times {
	struct samples us, more; /* more: than the way it is compared with, in the same round */
};

/* The NOPs are compared with none; hotpatch with a program that is prepared and does without. */
static unsigned compared_with(unsigned way)
{
	return way == NEITHER ? PLAIN : NEITHER;
}

/* Every round begins with another way, so that none always follows the same one. */
static void time_round(const struct child *children, unsigned number, struct times *times)
{
	double us[N_WAYS];
	for (unsigned i = 0; i < N_WAYS; i++) {
		unsigned way = (number + i) % N_WAYS;
		us[way] = child_time(&children[way]);
	}
	for (unsigned way = 0; way < N_WAYS; way++) {
		samples_add(&times[way].us, us[way]);
		samples_add(&times[way].more, us[way] - us[compared_with(way)]);
	}
}

static void add_time(struct report *report, const char *what, const char *with, struct summary us)
{
	report_add(report, REPORT_FOOTPRINT, &(struct figure){what, with, 10000, "us", us, {0}});
}

static void add_time_budget(struct report *report, const char *quantity, struct summary neither, struct summary more)
{
	char remark[256] = "";
	if (more.p50 > 1000)
		snprintf(remark, sizeof(remark),
		         "the program without hotpatch takes %.0f us; middle half of what is more: %.0f to %.0f us",
		         neither.p50, more.p25, more.p75);
	report_budget(report, &(struct budget){quantity, "ms", 0, 1, more.p50 / 1e3, remark});
}

static void take_times(struct report *report, const char *folder, struct summary us[N_WAYS],
                       struct summary more[N_WAYS])
{
	struct child children[N_WAYS];
	struct times times[N_WAYS] = {0};

	for (unsigned way = 0; way < N_WAYS; way++)
		children[way] = way_child(folder, &ways[way], ways[way].many);
	for (unsigned number = 0; number < rounds(report, 400, 100); number++)
		time_round(children, number, times);
	for (unsigned way = 0; way < N_WAYS; way++) {
		us[way] = samples_summary(&times[way].us);
		more[way] = samples_summary(&times[way].more);
		samples_clear(&times[way].us);
		samples_clear(&times[way].more);
	}
}

static void measure_time(struct report *report, const char *folder)
{
	struct summary us[N_WAYS], more[N_WAYS];

	take_times(report, folder, us, more);
	for (unsigned way = 0; way < N_WAYS; way++)
		add_time(report, "start to end, 10,000 functions", ways[way].name, us[way]);
	add_time(report, "start to end, more than neither", "linked", more[LINKED]);
	add_time(report, "start to end, more than neither", "preloaded", more[PRELOADED]);
	add_time(report, "start to end, more than neither", ways[SERVED].name, more[SERVED]);
	add_time(report, "start to end, more than nothing prepared", "neither", more[NEITHER]);
	add_time_budget(report, "start-up cost of linking, nothing patched", us[NEITHER], more[LINKED]);
	add_time_budget(report, "start-up cost of preloading, nothing patched", us[NEITHER], more[PRELOADED]);
	add_time_budget(report, "start-up cost of hotpatch run, nothing patched", us[NEITHER], more[SERVED]);
}

/* -- Memory ----------------------------------------------------------------------------------------------------- */

static void ask(const char *folder, const struct way *way, const char *program, struct answers *ret)
{
	struct child child = way_child(folder, way, program);
	child_ask(&child, "tell", NULL, ret);
	if ((answers_get(ret, "hotpatch") != 0) == way->present)
		return;
	fprintf(stderr, "bench: %s (%s) runs %s libhotpatch\n", child.program, way->name,
	        way->present ? "without" : "with");
	exit(1);
}

/* Calls of malloc until main, for each function beyond the first ten. */
static double measure_allocations(struct report *report, const char *folder, const struct way *way)
{
	struct answers few, many;

	ask(folder, way, way->few, &few);
	ask(folder, way, way->many, &many);
	double of_few = answers_get(&few, "allocations"), of_many = answers_get(&many, "allocations");
	footprint_add(report, "calls of malloc until main, 10,000 functions", way->name, "", of_many);
	return (of_many - of_few) / (10000 - 10);
}

/* KiB at main beyond those of NEITHER in the same round. The kernel brings in file pages by windows of 16 whose place
 * varies with that of the program, hence the rounds. */
struct held {
	struct samples rss, own;
};

static void held_round(const char *folder, struct held *held)
{
	double rss[N_WAYS], own[N_WAYS];
	for (unsigned way = 0; way < PLAIN; way++) {
		struct answers answers;
		ask(folder, &ways[way], ways[way].few, &answers);
		rss[way] = answers_get(&answers, "rss");
		own[way] = answers_get(&answers, "own");
	}
	for (unsigned way = LINKED; way < PLAIN; way++) {
		samples_add(&held[way].rss, rss[way] - rss[NEITHER]);
		samples_add(&held[way].own, own[way] - own[NEITHER]);
	}
}

static void add_held(struct report *report, const char *what, const char *with, struct samples *kib)
{
	report_add(report, REPORT_FOOTPRINT, &(struct figure){what, with, 0, "KiB", samples_summary(kib), {0}});
	samples_clear(kib);
}

static void measure_held(struct report *report, const char *folder)
{
	struct held held[N_WAYS] = {0};

	for (unsigned number = 0; number < rounds(report, 100, 20); number++)
		held_round(folder, held);
	for (unsigned way = LINKED; way < PLAIN; way++) {
		add_held(report, "resident memory at main, more than neither", ways[way].name, &held[way].rss);
		add_held(report, "of it the process's own", ways[way].name, &held[way].own);
	}
}

void startup_measure(struct report *report, const char *folder)
{
	measure_time(report, folder);
	measure_allocations(report, folder, &ways[NEITHER]);
	double linked = measure_allocations(report, folder, &ways[LINKED]);
	double preloaded = measure_allocations(report, folder, &ways[PRELOADED]);
	report_budget(report, &(struct budget){"allocations at start-up for each prepared function", "", 0, 0,
	                                       linked > preloaded ? linked : preloaded, ""});
	measure_held(report, folder);
}
