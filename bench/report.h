/* report.h - what was measured, and its forms: JSON to compute with, Markdown to read, charts to look at.
 *
 * A measurement adds figures to a table, histograms, and lines of the budgets; report_write writes them all when
 * everything has been measured. Texts are copied.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "timing.h"

enum report_table {
	REPORT_CALLS,     /* nanoseconds per call; ratio: to the plain call of the same run */
	REPORT_CHANGES,   /* microseconds per change of one function, mode WAIT */
	REPORT_SETS,      /* microseconds per change of a set; n: functions in it */
	REPORT_MODES,     /* microseconds per change of one function in each mode */
	REPORT_OTHERS,    /* microseconds for what others do to stop a program */
	REPORT_SAVES,     /* milliseconds from a save, or the start of a command, to the change */
	REPORT_FOOTPRINT, /* one value each, in the row's own unit */
	REPORT_TABLES,
};

/* A row of a table. */
struct figure {
	const char *what;     /* the call, the change, the mode, the quantity */
	const char *with;     /* the situation: "1 thread", "64 blocked threads", "" */
	unsigned n;           /* threads or functions, for charts */
	const char *unit;     /* "ns", "us", "ms", "KiB", "%", "" */
	struct summary value; /* of footprint: all quantiles may be the same single value */
	struct summary ratio; /* .n == 0 where there is none */
};

/* A line of design.md, section 11. met: measured <= limit, unless it says otherwise. */
struct budget {
	const char *quantity; /* "call of an unpatched function / plain call, 1 thread" */
	const char *unit;     /* "", "us", "ms", "%" */
	double limit_low;     /* a budget that is a range: 0.98 to 1.02; else 0 */
	double limit;         /* at most this */
	double measured;
	const char *remark; /* where it is missed: what was found out about why; NULL or "" else */
};

/* How often a value lay in [low, 2 * low); the first bin begins at 0. */
struct histogram {
	const char *name; /* "longest_call": of the data file and the chart */
	const char *title;
	const char *unit;
	double low; /* upper end of the first bin */
	size_t n_bins;
	unsigned long long bins[40];
};

/* How long a measurement may take. */
enum report_effort {
	REPORT_FULL,
	REPORT_QUICK, /* all of them in about a minute */
	REPORT_SMOKE, /* a few milliseconds each, to see that everything is measured: the figures mean nothing */
};

struct report;

/* build: the build directory, where what is measured lies. note: a sentence for the head of the report, or NULL. */
struct report *report_new(enum report_effort effort, const char *build, const char *note);
void report_free(struct report *report);
bool report_quick(const struct report *report); /* REPORT_SMOKE is quick, too */
bool report_smoke(const struct report *report);
const char *report_build(const struct report *report);

void report_add(struct report *report, enum report_table table, const struct figure *figure);
void report_budget(struct report *report, const struct budget *budget);
void report_histogram(struct report *report, const struct histogram *histogram);
/* A sentence that stands below the table. */
void report_remark(struct report *report, enum report_table table, const char *sentence);

/* Writes report.json, report.md and the data files of the charts into folder; exits with a message where that fails.
 * bench/run has gnuplot draw the charts (bench/charts). */
void report_write(struct report *report, const char *folder);

#endif
