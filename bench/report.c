/* report.c - collects what was measured, and has it written. */
#include "report_rows.h"

#include <stdlib.h>
#include <string.h>

const char *const report_table_names[REPORT_TABLES] = {
	[REPORT_CALLS] = "calls",         [REPORT_CHANGES] = "changes", [REPORT_SETS] = "sets",
	[REPORT_MODES] = "modes",         [REPORT_OTHERS] = "others",   [REPORT_SAVES] = "saves",
	[REPORT_FOOTPRINT] = "footprint",
};

static void *checked(void *memory)
{
	if (memory == NULL) {
		perror("bench");
		exit(1);
	}
	return memory;
}

static char *copy(const char *text)
{
	return checked(strdup(text != NULL ? text : ""));
}

/* The array with room for one more. Reports are short: growing one by one is no cost that shows. */
static void *grown(void *array, size_t n, size_t size)
{
	return checked(reallocarray(array, n + 1, size));
}

/* -- A report ------------------------------------------------------------------------------------------------ */

struct report *report_new(enum report_effort effort, const char *build, const char *note)
{
	struct report *report = checked(calloc(1, sizeof(*report)));
	report->effort = effort;
	report->build = copy(build);
	report->note = note != NULL ? copy(note) : NULL;
	machine_begin(&report->machine);
	return report;
}

static void rows_clear(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		free((char *)rows->figures[i].what);
		free((char *)rows->figures[i].with);
		free((char *)rows->figures[i].unit);
	}
	for (size_t i = 0; i < rows->n_remarks; i++)
		free(rows->remarks[i]);
	free(rows->figures);
	free(rows->remarks);
}

void report_free(struct report *report)
{
	if (report == NULL)
		return;
	for (size_t i = 0; i < REPORT_TABLES; i++)
		rows_clear(&report->tables[i]);
	for (size_t i = 0; i < report->n_budgets; i++) {
		free((char *)report->budgets[i].quantity);
		free((char *)report->budgets[i].unit);
		free((char *)report->budgets[i].remark);
	}
	for (size_t i = 0; i < report->n_histograms; i++) {
		free((char *)report->histograms[i].name);
		free((char *)report->histograms[i].title);
		free((char *)report->histograms[i].unit);
	}
	free(report->budgets);
	free(report->histograms);
	free(report->build);
	free(report->note);
	free(report);
}

bool report_quick(const struct report *report)
{
	return report->effort != REPORT_FULL;
}

bool report_smoke(const struct report *report)
{
	return report->effort == REPORT_SMOKE;
}

const char *report_build(const struct report *report)
{
	return report->build;
}

/* -- What is added to it ------------------------------------------------------------------------------------- */

void report_add(struct report *report, enum report_table table, const struct figure *figure)
{
	struct rows *rows = &report->tables[table];
	rows->figures = grown(rows->figures, rows->n, sizeof(*figure));
	struct figure *row = &rows->figures[rows->n++];
	*row = *figure;
	row->what = copy(figure->what);
	row->with = copy(figure->with);
	row->unit = copy(figure->unit);
}

void report_remark(struct report *report, enum report_table table, const char *sentence)
{
	struct rows *rows = &report->tables[table];
	rows->remarks = grown(rows->remarks, rows->n_remarks, sizeof(char *));
	rows->remarks[rows->n_remarks++] = copy(sentence);
}

void report_budget(struct report *report, const struct budget *budget)
{
	report->budgets = grown(report->budgets, report->n_budgets, sizeof(*budget));
	struct budget *line = &report->budgets[report->n_budgets++];
	*line = *budget;
	line->quantity = copy(budget->quantity);
	line->unit = copy(budget->unit);
	line->remark = copy(budget->remark);
}

double report_per_us(const char *unit)
{
	if (strcmp(unit, "ns") == 0)
		return 1e3;
	if (strcmp(unit, "us") == 0)
		return 1;
	return strcmp(unit, "ms") == 0 ? 1e-3 : 0;
}

bool budget_met(const struct budget *budget)
{
	bool has_low = budget->limit_low != 0; /* a difference below zero is noise, not a miss */
	return (!has_low || budget->measured >= budget->limit_low) && budget->measured <= budget->limit;
}

void report_histogram(struct report *report, const struct histogram *histogram)
{
	report->histograms = grown(report->histograms, report->n_histograms, sizeof(*histogram));
	struct histogram *own = &report->histograms[report->n_histograms++];
	*own = *histogram;
	own->name = copy(histogram->name);
	own->title = copy(histogram->title);
	own->unit = copy(histogram->unit);
}

/* -- Its files ----------------------------------------------------------------------------------------------- */

FILE *report_open(const char *folder, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "we");
	if (file == NULL) {
		perror(path);
		exit(1);
	}
	return file;
}

void report_close(FILE *file, const char *name)
{
	bool failed = ferror(file) != 0;
	if (fclose(file) != 0 || failed) {
		fprintf(stderr, "bench: %s could not be written\n", name);
		exit(1);
	}
}

void report_write(struct report *report, const char *folder)
{
	machine_end(&report->machine);
	FILE *json = report_open(folder, "report.json");
	report_json(report, json);
	report_close(json, "report.json");
	FILE *markdown = report_open(folder, "report.md");
	report_markdown(report, markdown);
	report_close(markdown, "report.md");
	report_charts(report, folder);
}
