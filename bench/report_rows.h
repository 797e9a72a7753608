/* report_rows.h - what a report holds, for the forms it is written in, and for nobody else. */
#ifndef BENCH_REPORT_ROWS_H
#define BENCH_REPORT_ROWS_H

#include <stdio.h>

#include "machine.h"
#include "report.h"

struct rows {
	struct figure *figures;
	size_t n;
	char **remarks;
	size_t n_remarks;
};

struct report {
	enum report_effort effort;
	char *build, *note; /* note: NULL where there is none */
	struct machine machine;
	struct rows tables[REPORT_TABLES];
	struct budget *budgets;
	size_t n_budgets;
	struct histogram *histograms;
	size_t n_histograms;
};

/* "calls", "changes", ...: the table's name in report.json. */
extern const char *const report_table_names[REPORT_TABLES];

bool budget_met(const struct budget *budget);

/* How many of a unit are a microsecond; 0 where it is no time. */
double report_per_us(const char *unit);

/* The file of that name in folder, for writing; exits with a message where that fails, as report_close does. */
FILE *report_open(const char *folder, const char *name);
void report_close(FILE *file, const char *name);

void report_json(const struct report *report, FILE *out);
void report_markdown(const struct report *report, FILE *out);
void report_charts(const struct report *report, const char *folder);

#endif
