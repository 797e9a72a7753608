/* report_json.c - the report as JSON, for programs: bench/readme makes the tables of README.md from it.
 *
 *     {"hotpatch": "0.1.0", "date": ..., "effort": "full", "note": ..., "machine": {...},
 *      "budgets": [{"quantity", "unit", "limit_low", "limit", "measured", "met", "remark"}],
 *      "tables": {"calls": {"rows": [{"what", "with", "n", "unit", "value", "ratio"}], "remarks": [...]}, ...},
 *      "histograms": [{"name", "title", "unit", "low", "bins"}]}
 *
 * machine: "load" before the start, "others" and "stolen" the shares of the processors' time that other programs used
 * and the hypervisor took while it was measured, "busy" when that is much. A value is {"n", "min", "p25", "p50", "p75",
 * "p99", "max"}; a row without a ratio has none.
 */
#include "report_rows.h"

#include <jansson.h>
#include <stdlib.h>

#include "hotpatch.h"

#define STRING(x) #x
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

static json_t *checked(json_t *json)
{
	if (json == NULL) {
		fprintf(stderr, "bench: the report could not be made into JSON\n");
		exit(1);
	}
	return json;
}

static json_t *json_summary(const struct summary *summary)
{
	return checked(json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "n", (json_int_t)summary->n, "min",
	                         summary->min, "p25", summary->p25, "p50", summary->p50, "p75", summary->p75, "p99",
	                         summary->p99, "max", summary->max));
}

static json_t *json_row(const struct figure *figure)
{
	json_t *row = checked(json_pack("{s:s, s:s, s:i, s:s, s:o}", "what", figure->what, "with", figure->with, "n",
	                                (int)figure->n, "unit", figure->unit, "value", json_summary(&figure->value)));
	if (figure->ratio.n > 0)
		json_object_set_new(row, "ratio", json_summary(&figure->ratio));
	return row;
}

static json_t *json_tables(const struct report *report)
{
	json_t *tables = checked(json_object());
	for (size_t i = 0; i < REPORT_TABLES; i++) {
		const struct rows *rows = &report->tables[i];
		json_t *figures = checked(json_array()), *remarks = checked(json_array());
		for (size_t row = 0; row < rows->n; row++)
			json_array_append_new(figures, json_row(&rows->figures[row]));
		for (size_t remark = 0; remark < rows->n_remarks; remark++)
			json_array_append_new(remarks, checked(json_string(rows->remarks[remark])));
		json_object_set_new(tables, report_table_names[i],
		                    checked(json_pack("{s:o, s:o}", "rows", figures, "remarks", remarks)));
	}
	return tables;
}

static json_t *json_budgets(const struct report *report)
{
	json_t *budgets = checked(json_array());
	for (size_t i = 0; i < report->n_budgets; i++) {
		const struct budget *line = &report->budgets[i];
		json_array_append_new(budgets, checked(json_pack("{s:s, s:s, s:f, s:f, s:f, s:b, s:s}", "quantity",
		                                                 line->quantity, "unit", line->unit, "limit_low",
		                                                 line->limit_low, "limit", line->limit, "measured",
		                                                 line->measured, "met", budget_met(line), "remark",
		                                                 line->remark)));
	}
	return budgets;
}

static json_t *json_histograms(const struct report *report)
{
	json_t *histograms = checked(json_array());
	for (size_t i = 0; i < report->n_histograms; i++) {
		const struct histogram *histogram = &report->histograms[i];
		json_t *bins = checked(json_array());
		for (size_t bin = 0; bin < histogram->n_bins; bin++)
			json_array_append_new(bins, checked(json_integer((json_int_t)histogram->bins[bin])));
		json_array_append_new(histograms,
		                      checked(json_pack("{s:s, s:s, s:s, s:f, s:o}", "name", histogram->name, "title",
		                                        histogram->title, "unit", histogram->unit, "low",
		                                        histogram->low, "bins", bins)));
	}
	return histograms;
}

static json_t *json_machine(const struct machine *machine)
{
	return checked(json_pack("{s:s, s:b, s:I, s:s, s:s, s:f, s:f, s:f, s:b}", "cpu", machine->cpu, "virtual",
	                         machine->is_virtual, "cpus", (json_int_t)machine->cpus, "kernel", machine->kernel,
	                         "compiler", machine->compiler, "load", machine->load, "others", machine->others,
	                         "stolen", machine->stolen, "busy", machine_busy(machine)));
}

void report_json(const struct report *report, FILE *out)
{
	static const char *const efforts[] =
		{[REPORT_FULL] = "full", [REPORT_QUICK] = "quick", [REPORT_SMOKE] = "smoke"};
	json_t *json =
		checked(json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "hotpatch",
	                          VERSION(HOTPATCH_VERSION_MAJOR, HOTPATCH_VERSION_MINOR, HOTPATCH_VERSION_PATCH),
	                          "date", report->machine.date, "effort", efforts[report->effort], "note",
	                          report->note != NULL ? report->note : "", "machine", json_machine(&report->machine),
	                          "budgets", json_budgets(report), "tables", json_tables(report), "histograms",
	                          json_histograms(report)));
	/* Six digits: more would be noise. */
	if (json_dumpf(json, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0)
		checked(NULL);
	fputc('\n', out);
	json_decref(json);
}
