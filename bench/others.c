/* others.c - what others do to a program before they change it: stop all its threads.
 *
 * Beside the stop by a signal and by ptrace stands a first redirect by hotpatch, whole, with the same threads. The
 * three take turns; before each the threads that were woken are awaited in their system calls again.
 */
#include "others.h"

#include <stdio.h>
#include <string.h>

#include "crowd.h"
#include "effort.h"
#include "hotpatch.h"
#include "must.h"
#include "rendezvous.h"
#include "target.h"
#include "tracer.h"

struct costs {
	struct samples hotpatch, signal, ptrace;
	int refused; /* why there is none by ptrace: errno, or 0 */
};

static double redirect(void)
{
	uint64_t begin = timing_now();
	int code = hotpatch_fn(target, target_one);
	double us = timing_us_since(begin);
	must_patch(code);
	target_restore();
	return us;
}

static void measure(struct costs *costs, const struct crowd *crowd, const struct effort *effort)
{
	struct tracer tracer;
	double us;

	rendezvous_begin();
	tracer_begin(&tracer, crowd->tids, crowd->callers + crowd->blocked);
	while (effort_more(effort, costs->signal.n)) {
		crowd_settle(crowd);
		samples_add(&costs->signal, rendezvous_hold(crowd->tids, crowd->callers + crowd->blocked));
		crowd_settle(crowd);
		if (costs->refused == 0 && (costs->refused = tracer_hold(&tracer, &us)) == 0)
			samples_add(&costs->ptrace, us);
		crowd_settle(crowd);
		samples_add(&costs->hotpatch, redirect());
	}
	tracer_end(&tracer);
	rendezvous_end();
}

static void add(struct report *report, const char *what, const char *with, unsigned n, struct samples *samples)
{
	report_add(report, REPORT_OTHERS, &(struct figure){what, with, n, "us", samples_summary(samples), {0}});
	samples_clear(samples);
}

static void report_costs(struct report *report, const struct crowd *crowd, struct costs *costs)
{
	char with[160];
	snprintf(with, sizeof(with), costs->refused != 0 ? "%s, refused: %s" : "%s", crowd->name,
	         strerror(costs->refused));
	add(report, "a first redirect by hotpatch", crowd->name, crowd->blocked, &costs->hotpatch);
	add(report, "a signal to every thread", crowd->name, crowd->blocked, &costs->signal);
	add(report, "a ptrace stop of every thread", with, crowd->blocked, &costs->ptrace);
}

void others_measure(struct report *report)
{
	for (unsigned i = 1; i < CROWD_SIZES; i++) { /* alone there is nobody to stop */
		struct costs costs = {0};
		struct crowd crowd;

		crowd_start(&crowd, &crowd_sizes[i], report);
		fprintf(stderr, "bench: what others do, %s\n", crowd.name);
		struct effort effort = effort_begin(report, 5, 0.8);
		measure(&costs, &crowd, &effort);
		report_costs(report, &crowd, &costs);
		crowd_end(&crowd);
	}
}
