/* report_charts.c - the figures as gnuplot reads them (bench/charts), fields separated by tabs.
 *
 *     calls.dat         call, ns with 1 thread, ratio, ns with 2 threads, ratio
 *     growth.dat        a block per change, headed by its name: functions, p50, p25, p75 in us
 *     threads.dat       a block per change and per way of others, likewise: blocked threads, p50, p25, p75 in us
 *     HISTOGRAM.dat     headed by its title: from, to in us, how often
 *
 * A block has at least two points; one alone is no line.
 *
 * What was not measured has no file, and so no chart.
 */
#include "report_rows.h"

#include <string.h>

/* A name as it stands in a chart: without Markdown. */
static void print_name(const char *name, FILE *out)
{
	for (; *name != '\0'; name++)
		if (*name != '`' && *name != '*' && *name != '\t')
			fputc(*name, out);
}

/* -- Calls --------------------------------------------------------------------------------------------------- */

static const struct figure *find_call(const struct rows *rows, const char *what, unsigned threads)
{
	for (size_t i = 0; i < rows->n; i++)
		if (rows->figures[i].n == threads && strcmp(rows->figures[i].what, what) == 0)
			return &rows->figures[i];
	return NULL;
}

static void chart_calls(const struct rows *rows, const char *folder)
{
	if (rows->n == 0)
		return;
	FILE *out = report_open(folder, "calls.dat");
	for (size_t i = 0; i < rows->n; i++) {
		const struct figure *one = &rows->figures[i], *two = find_call(rows, one->what, 2);
		if (one->n != 1 || two == NULL)
			continue;
		print_name(one->what, out);
		fprintf(out, "\t%g\t%g\t%g\t%g\n", one->value.p50, one->ratio.p50, two->value.p50, two->ratio.p50);
	}
	report_close(out, "calls.dat");
}

/* -- Times against a number ---------------------------------------------------------------------------------- */

/* A point of a chart: a time, with a number, that was measured. */
static bool is_point(const struct figure *row)
{
	return row->n > 0 && row->value.n > 0 && report_per_us(row->unit) > 0;
}

/* Whether row i begins a line: the first of several points of that name. */
static bool is_line(const struct rows *rows, size_t i)
{
	unsigned before = 0, behind = 0;
	for (size_t other = 0; other < rows->n; other++)
		if (other != i && is_point(&rows->figures[other]) &&
		    strcmp(rows->figures[other].what, rows->figures[i].what) == 0)
			(*(other < i ? &before : &behind))++;
	return is_point(&rows->figures[i]) && before == 0 && behind > 0;
}

static void print_points(const struct rows *rows, const char *what, FILE *out)
{
	/* Two empty lines are between blocks; behind the last one they would begin another. */
	fprintf(out, ftell(out) > 0 ? "\n\nn\t" : "n\t");
	print_name(what, out);
	fprintf(out, "\tp25\tp75\n");
	for (size_t i = 0; i < rows->n; i++) {
		const struct figure *row = &rows->figures[i];
		if (!is_point(row) || strcmp(row->what, what) != 0)
			continue;
		double scale = report_per_us(row->unit);
		fprintf(out, "%u\t%g\t%g\t%g\n", row->n, row->value.p50 / scale, row->value.p25 / scale,
		        row->value.p75 / scale);
	}
}

/* A block for each change, but those that hold `without`. */
static void print_blocks(const struct rows *rows, const char *without, FILE *out)
{
	for (size_t i = 0; i < rows->n; i++) {
		const char *what = rows->figures[i].what;
		if (is_line(rows, i) && (without == NULL || !strstr(what, without)))
			print_points(rows, what, out);
	}
}

static bool has_lines(const struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		if (is_line(rows, i))
			return true;
	return false;
}

static void chart_growth(const struct rows *sets, const char *folder)
{
	if (!has_lines(sets))
		return;
	FILE *out = report_open(folder, "growth.dat");
	print_blocks(sets, NULL, out);
	report_close(out, "growth.dat");
}

/* Hotpatch itself is among the others, too, measured beside them; here its changes stand for it. */
static void chart_threads(const struct rows *changes, const struct rows *others, const char *folder)
{
	if (!has_lines(changes) || !has_lines(others))
		return;
	FILE *out = report_open(folder, "threads.dat");
	print_blocks(changes, NULL, out);
	print_blocks(others, "hotpatch", out);
	report_close(out, "threads.dat");
}

/* -- Histograms ---------------------------------------------------------------------------------------------- */

static bool is_empty(const struct histogram *histogram)
{
	for (size_t i = 0; i < histogram->n_bins; i++)
		if (histogram->bins[i] > 0)
			return false;
	return true;
}

static void chart_histogram(const struct histogram *histogram, const char *folder)
{
	char name[64];
	double scale = report_per_us(histogram->unit), from = 0, to = histogram->low;

	if (scale == 0 || is_empty(histogram))
		return;
	snprintf(name, sizeof(name), "%s.dat", histogram->name);
	FILE *out = report_open(folder, name);
	fprintf(out, "# ");
	print_name(histogram->title, out);
	fputc('\n', out);
	for (size_t i = 0; i < histogram->n_bins; i++, from = to, to *= 2)
		fprintf(out, "%g\t%g\t%llu\n", from / scale, to / scale, histogram->bins[i]);
	report_close(out, name);
}

void report_charts(const struct report *report, const char *folder)
{
	const struct rows *tables = report->tables;
	chart_calls(&tables[REPORT_CALLS], folder);
	chart_growth(&tables[REPORT_SETS], folder);
	chart_threads(&tables[REPORT_CHANGES], &tables[REPORT_OTHERS], folder);
	for (size_t i = 0; i < report->n_histograms; i++)
		chart_histogram(&report->histograms[i], folder);
}
