/* apply.c - microseconds per change of definition, for the thread that makes it.
 *
 * Four kinds: the first redirect of a function, which writes code; a later change, which does not touch code; the
 * restoration, which writes the code back; and the first redirect of a function that was not prepared. They take turns,
 * so that a machine that slows down slows all of them. Each alone, with a thread that calls the function all the time,
 * and with threads that are blocked in system calls and have to be looked at. The four modes take turns in the same
 * way.
 */
#include "apply.h"

#include <stdio.h>

#include "crowd.h"
#include "effort.h"
#include "hotpatch.h"
#include "must.h"
#include "target.h"

/* Takes the time of a call and answers what it returned. */
#define TIMED(ret_us, call)                                                                                            \
	({                                                                                                             \
		uint64_t begin_ = timing_now();                                                                        \
		int code_ = (call);                                                                                    \
		*(ret_us) = timing_us_since(begin_);                                                                   \
		code_;                                                                                                 \
	})

/* -- Each change --------------------------------------------------------------------------------------------------- */

enum change { FIRST, LATER, RESTORE, UNPREPARED, CHANGES };

static const char *const change_names[CHANGES] = {"first redirect", "later change", "restore",
                                                  "first redirect, unprepared"};

/* Microseconds, p50, of a crowd size (crowd_sizes) and a change; 0: no budget. */
static const double budgets[CROWD_SIZES][CHANGES] = {
	{[FIRST] = 60, [LATER] = 20}, {[FIRST] = 150}, {0}, {[FIRST] = 800}, {[FIRST] = 6000},
};

static void measure_changes(struct samples costs[CHANGES], const struct effort *effort)
{
	double us;
	while (effort_more(effort, costs[FIRST].n)) {
		must_patch(TIMED(&us, hotpatch_fn(target, target_one)));
		samples_add(&costs[FIRST], us);
		must_patch(TIMED(&us, hotpatch_fn(target, target_two)));
		samples_add(&costs[LATER], us);
		must_patch(TIMED(&us, hotpatch_restore(target)));
		samples_add(&costs[RESTORE], us);
		must_patch(TIMED(&us, hotpatch_fn(target_unprepared, target_one, .unprepared = true)));
		samples_add(&costs[UNPREPARED], us);
		must_patch(hotpatch_restore(target_unprepared));
	}
}

static void report_change(struct report *report, const struct crowd *crowd, enum change change, double limit,
                          struct samples *costs)
{
	char quantity[128];
	struct figure figure = {change_names[change], crowd->name, crowd->blocked, "us", samples_summary(costs), {0}};
	report_add(report, REPORT_CHANGES, &figure);
	samples_clear(costs);
	if (limit == 0)
		return;
	snprintf(quantity, sizeof(quantity), "%s, %s, p50", figure.what, figure.with);
	report_budget(report, &(struct budget){quantity, "us", 0, limit, figure.value.p50, NULL});
}

static void changes_measure(struct report *report)
{
	for (unsigned i = 0; i < CROWD_SIZES; i++) {
		struct samples costs[CHANGES] = {0};
		struct crowd crowd;

		crowd_start(&crowd, &crowd_sizes[i], report);
		fprintf(stderr, "bench: changes, %s\n", crowd.name);
		struct effort effort = effort_begin(report, 5, 0.7);
		measure_changes(costs, &effort);
		bool whole = crowd.blocked == crowd_sizes[i].blocked; /* else the budget is of a larger crowd */
		for (enum change change = 0; change < CHANGES; change++)
			report_change(report, &crowd, change, whole ? budgets[i][change] : 0, &costs[change]);
		crowd_end(&crowd);
	}
}

/* -- Each mode ----------------------------------------------------------------------------------------------------- */

enum { MODES = 4, MODE_SITUATIONS = 2 /* the first so many of crowd_sizes */ };

static const struct {
	const char *name;
	enum hotpatch_mode mode;
} modes[MODES] = {
	{"WAIT", HOTPATCH_WAIT},
	{"TRY", HOTPATCH_TRY},
	{"DRAIN", HOTPATCH_DRAIN},
	{"FORCE", HOTPATCH_FORCE},
};

/* Of one mode, FIRST and LATER. What was refused is no sample. */
struct mode_costs {
	struct samples samples[RESTORE];
	unsigned refused[RESTORE];
};

/* Only TRY refuses, when it meets a caller inside. */
static bool change_in_mode(struct mode_costs *costs, enum change change, enum hotpatch_mode mode)
{
	double us;
	int code = change == FIRST ? TIMED(&us, hotpatch_fn(target, target_one, .mode = mode))
	                           : TIMED(&us, hotpatch_fn(target, target_two, .mode = mode));
	if (mode == HOTPATCH_TRY && code == HOTPATCH_EBUSY) {
		costs->refused[change]++;
		return false;
	}
	must_patch(code);
	samples_add(&costs->samples[change], us);
	return true;
}

static void measure_modes(struct mode_costs costs[MODES], const struct effort *effort)
{
	for (size_t round = 0; effort_more(effort, round); round++) {
		for (unsigned i = 0; i < MODES; i++) {
			if (!change_in_mode(&costs[i], FIRST, modes[i].mode))
				continue;
			change_in_mode(&costs[i], LATER, modes[i].mode);
			target_restore();
		}
	}
}

static void report_mode(struct report *report, const struct crowd *crowd, unsigned mode, enum change change,
                        struct mode_costs *costs)
{
	char what[64], with[128];
	struct samples *samples = &costs->samples[change];
	unsigned refused = costs->refused[change];
	snprintf(what, sizeof(what), "%s, %s", modes[mode].name, change_names[change]);
	snprintf(with, sizeof(with), refused > 0 ? "%s, %u of %zu refused" : "%s", crowd->name, refused,
	         samples->n + refused);
	report_add(report, REPORT_MODES,
	           &(struct figure){what, with, crowd->blocked, "us", samples_summary(samples), {0}});
	samples_clear(samples);
}

static void modes_measure(struct report *report)
{
	for (unsigned i = 0; i < MODE_SITUATIONS; i++) {
		struct mode_costs costs[MODES] = {0};
		struct crowd crowd;

		crowd_start(&crowd, &crowd_sizes[i], report);
		fprintf(stderr, "bench: modes, %s\n", crowd.name);
		struct effort effort = effort_begin(report, 5, 1);
		measure_modes(costs, &effort);
		for (unsigned mode = 0; mode < MODES; mode++)
			for (enum change change = FIRST; change < RESTORE; change++)
				report_mode(report, &crowd, mode, change, &costs[mode]);
		crowd_end(&crowd);
	}
}

void apply_measure(struct report *report)
{
	changes_measure(report);
	modes_measure(report);
}
