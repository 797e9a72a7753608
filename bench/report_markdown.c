/* report_markdown.c - the report as Markdown, to be read. */
#include "report_rows.h"

#include <ctype.h>
#include <math.h>

/* What a table's columns are. */
enum spread {
	SPREAD_MIDDLE, /* of runs: median, middle half; and those of the ratio */
	SPREAD_TAIL,   /* of single changes: p50, p99, max */
	SPREAD_VALUE,  /* of quantities of many kinds: the value with its unit */
};

static const struct {
	const char *title, *sentence;
	const char *what; /* head of the first column */
	enum spread spread;
} tables[REPORT_TABLES] = {
	[REPORT_CALLS] = {"What a call costs",
                          "Nanoseconds per call, from before it is made until its result is there: median of the runs, "
                          "and the range of\nthe middle half of them. The ratio is that to the plain call of the same "
                          "run.",
                          "call", SPREAD_MIDDLE},
	[REPORT_CHANGES] = {"What a change of one function costs",
                            "Microseconds from the call of hotpatch to its return, mode WAIT.", "change", SPREAD_TAIL},
	[REPORT_SETS] = {"What a change of a set costs",
                         "Microseconds from the call of hotpatch to its return, all functions of the set at one "
                         "instant, mode WAIT.",
                         "change", SPREAD_TAIL},
	[REPORT_MODES] = {"What the modes cost", "Microseconds per change of one function in each mode.", "mode",
                          SPREAD_TAIL},
	[REPORT_OTHERS] =
		{"What others do to stop a program",
                 "Microseconds to bring every thread to a stop and let it go on, without changing anything; a "
                 "first redirect by hotpatch,\nfrom its beginning to its end, stands beside it.",
                 "way", SPREAD_TAIL},
	[REPORT_SAVES] = {"What a save costs",
                          "Milliseconds from the writing of a file until `hotpatch watch` says that the program runs "
                          "it, and what `hotpatch apply`\ntakes from its start to its end.",
                          "what", SPREAD_TAIL},
	[REPORT_FOOTPRINT] = {"What it takes to have it", "Each quantity in its own unit.", "quantity", SPREAD_VALUE},
};

/* A number as it is read: three digits that count, never an exponent. */
static const char *number(double value, char text[32])
{
	double size = fabs(value);
	int decimals = size >= 100 || value == 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
	snprintf(text, 32, "%.*f", decimals, value);
	return text;
}

#define NUMBER(value) number((value), (char[32]){0})

static void print_table_head(enum report_table table, FILE *out)
{
	const char *what = tables[table].what;
	fprintf(out, "\n## %s\n\n%s\n\n", tables[table].title, tables[table].sentence);
	switch (tables[table].spread) {
	case SPREAD_MIDDLE:
		fprintf(out,
		        "| %s | with | median | middle half | runs | ratio to plain | middle half |\n"
		        "|---|---|--:|--:|--:|--:|--:|\n",
		        what);
		break;
	case SPREAD_TAIL:
		fprintf(out, "| %s | with | p50 | p99 | max | times |\n|---|---|--:|--:|--:|--:|\n", what);
		break;
	case SPREAD_VALUE:
		fprintf(out, "| %s | with | median | middle half | unit |\n|---|---|--:|--:|---|\n", what);
		break;
	}
}

/* What was refused has no value, and what was taken once has no spread. */
static void print_row(const struct figure *row, enum spread spread, FILE *out)
{
	const struct summary *value = &row->value, *ratio = &row->ratio;
	fprintf(out, "| %s | %s | %s |", row->what, row->with, value->n > 0 ? NUMBER(value->p50) : "-");
	if (spread == SPREAD_TAIL && value->n > 1)
		fprintf(out, " %s | %s |", NUMBER(value->p99), NUMBER(value->max));
	else if (spread == SPREAD_TAIL)
		fprintf(out, " | |");
	else if (value->n > 1)
		fprintf(out, " %s to %s |", NUMBER(value->p25), NUMBER(value->p75));
	else
		fprintf(out, " |");
	if (spread == SPREAD_VALUE)
		fprintf(out, " %s |", row->unit);
	else
		fprintf(out, " %zu |", value->n);
	if (spread == SPREAD_MIDDLE && ratio->n > 0)
		fprintf(out, " %.3f | %.3f to %.3f |", ratio->p50, ratio->p25, ratio->p75);
	fputc('\n', out);
}

static void print_table(const struct report *report, enum report_table table, FILE *out)
{
	const struct rows *rows = &report->tables[table];
	if (rows->n == 0)
		return;
	print_table_head(table, out);
	for (size_t i = 0; i < rows->n; i++)
		print_row(&rows->figures[i], tables[table].spread, out);
	for (size_t i = 0; i < rows->n_remarks; i++)
		fprintf(out, "%s%s", i == 0 ? "\n" : " ", rows->remarks[i]);
	if (rows->n_remarks > 0)
		fputc('\n', out);
}

/* -- Budgets ------------------------------------------------------------------------------------------------- */

/* As it was set: 1.02, 6000; one that was computed, to three digits. */
static const char *limit(double value, char text[32])
{
	snprintf(text, 32, value < 1000 ? "%.3g" : "%.0f", value);
	return text;
}

#define LIMIT(value) limit((value), (char[32]){0})

static void print_budget(const struct budget *line, FILE *out)
{
	const char *space = line->unit[0] != '\0' ? " " : "";
	fprintf(out, "| %s |", line->quantity);
	if (line->limit_low != 0)
		fprintf(out, " %s to %s%s%s |", LIMIT(line->limit_low), LIMIT(line->limit), space, line->unit);
	else
		fprintf(out, " at most %s%s%s |", LIMIT(line->limit), space, line->unit);
	/* A ratio is compared to within a thousandth, so that is what has to be seen of it. */
	if (line->unit[0] == '\0' && fabs(line->measured) < 10 && line->measured != 0)
		fprintf(out, " %.3f |", line->measured);
	else
		fprintf(out, " %s%s%s |", NUMBER(line->measured), space, line->unit);
	fprintf(out, " **%s** | %s |\n", budget_met(line) ? "met" : "missed", line->remark);
}

static void print_budgets(const struct report *report, FILE *out)
{
	size_t met = 0;
	if (report->n_budgets == 0)
		return;
	for (size_t i = 0; i < report->n_budgets; i++)
		met += budget_met(&report->budgets[i]);
	fprintf(out,
	        "\n## Budgets\n\nWhat each quantity may be at most; %zu of %zu are met.\n\n"
	        "| quantity | budget | measured | | remark |\n|---|--:|--:|---|---|\n",
	        met, report->n_budgets);
	for (size_t i = 0; i < report->n_budgets; i++)
		print_budget(&report->budgets[i], out);
}

/* -- Histograms ---------------------------------------------------------------------------------------------- */

static void print_duration(double us, FILE *out)
{
	if (us < 1)
		fprintf(out, "%.0f ns", us * 1e3);
	else if (us < 1e3)
		fprintf(out, "%s us", NUMBER(us));
	else
		fprintf(out, "%s ms", NUMBER(us / 1e3));
}

static void print_bin(double from, double to, unsigned long long count, FILE *out)
{
	fprintf(out, "| ");
	print_duration(from, out);
	fprintf(out, " to ");
	print_duration(to, out);
	fprintf(out, " | %llu |\n", count);
}

static void print_histogram(const struct histogram *histogram, FILE *out)
{
	double scale = report_per_us(histogram->unit), from = 0, to = histogram->low;
	if (scale == 0)
		return;
	fprintf(out, "\n## %c%s\n\n| time | how often |\n|---|--:|\n", toupper(histogram->title[0]),
	        histogram->title + (histogram->title[0] != '\0'));
	for (size_t i = 0; i < histogram->n_bins; i++, from = to, to *= 2)
		if (histogram->bins[i] > 0)
			print_bin(from / scale, to / scale, histogram->bins[i], out);
}

/* -- All of it ----------------------------------------------------------------------------------------------- */

static void print_head(const struct report *report, FILE *out)
{
	static const char *const efforts[] = {[REPORT_FULL] = "",
	                                      [REPORT_QUICK] = " (quick)",
	                                      [REPORT_SMOKE] = " (a trial: the figures mean nothing)"};
	const struct machine *machine = &report->machine;

	fprintf(out, "# hotpatch: benchmark%s\n\n%s, %ld CPUs%s, %s, %s; %s.\n", efforts[report->effort], machine->cpu,
	        machine->cpus, machine->is_virtual ? " of a virtual machine" : "", machine->kernel, machine->compiler,
	        machine->date);
	if (report->note != NULL)
		fprintf(out, "%s\n", report->note);
	fprintf(out,
	        "The load average at the start was %.1f. While it was measured other programs used %.1f %% of the "
	        "processors' time, and a\nhypervisor took %.1f %%.%s\n",
	        machine->load, machine->others * 100, machine->stolen * 100,
	        machine_busy(machine) ? " **The machine was busy: these figures may be too high.**" : "");
}

void report_markdown(const struct report *report, FILE *out)
{
	print_head(report, out);
	print_budgets(report, out);
	for (enum report_table table = 0; table < REPORT_TABLES; table++)
		print_table(report, table, out);
	for (size_t i = 0; i < report->n_histograms; i++)
		print_histogram(&report->histograms[i], out);
}
