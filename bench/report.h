/* report.h - what was measured, and its two forms: Markdown to read and JSON to compute with.
 *
 * A measurement of another kind is another struct and another array here, and a table in report.c.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "timing.h"

enum { REPORT_ROWS = 64 };

/* Calls of one kind, by one or more threads; nanoseconds per call, one sample a run. */
struct call_row {
	const char *name;
	unsigned threads;
	struct summary ns;
	struct summary ratio; /* to the plain call of the same run, with as many threads */
};

/* Changes of one kind in one situation; microseconds per change. */
struct apply_row {
	const char *change;
	const char *situation;
	struct summary us;
	double budget_p50; /* design.md, section 11; 0 where there is none */
};

struct report {
	bool quick;
	double load;      /* processes that wanted to run in the minute before; they were in our way */
	const char *note; /* what bench/run has to say of the machine code */
	struct call_row calls[REPORT_ROWS];
	size_t n_calls;
	struct apply_row applies[REPORT_ROWS];
	size_t n_applies;
};

void report_add_call(struct report *report, const struct call_row *row);
void report_add_apply(struct report *report, const struct apply_row *row);

void report_markdown(const struct report *report, FILE *out);
void report_json(const struct report *report, FILE *out);

#endif
