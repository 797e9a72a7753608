/* report.c - the report as Markdown and as JSON. */
#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void *next_row(void *rows, size_t *n, size_t size)
{
	if (*n == REPORT_ROWS) {
		fprintf(stderr, "bench: more than %d rows\n", REPORT_ROWS);
		exit(1);
	}
	return (char *)rows + (*n)++ * size;
}

void report_add_call(struct report *report, const struct call_row *row)
{
	memcpy(next_row(report->calls, &report->n_calls, sizeof(*row)), row, sizeof(*row));
}

void report_add_apply(struct report *report, const struct apply_row *row)
{
	memcpy(next_row(report->applies, &report->n_applies, sizeof(*row)), row, sizeof(*row));
}

/* -- The machine --------------------------------------------------------------------------------------------- */

struct machine {
	char cpu[128];
	long n_cpus;
	struct utsname os;
};

static void read_cpu_name(char *name, size_t size)
{
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "re");
	snprintf(name, size, "unknown");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
			snprintf(name, size, "%.*s", (int)size - 1, strchr(line, ':') + 2);
			name[strcspn(name, "\n\"\\")] = '\0';
			break;
		}
	}
	if (file != NULL)
		fclose(file);
}

static struct machine machine_read(void)
{
	struct machine machine = {.n_cpus = sysconf(_SC_NPROCESSORS_ONLN)};
	read_cpu_name(machine.cpu, sizeof(machine.cpu));
	uname(&machine.os);
	return machine;
}

/* -- Markdown ------------------------------------------------------------------------------------------------ */

static void markdown_calls(const struct report *report, FILE *out)
{
	fprintf(out, "\n## What a call costs\n\n"
	             "Nanoseconds per call: median of the runs, and the range of the middle half of them. The "
	             "ratio is that to the plain\ncall of the same run: median and middle half.\n\n"
	             "| call | threads | median | middle half | runs | ratio to plain | middle half |\n"
	             "|---|--:|--:|--:|--:|--:|--:|\n");
	for (size_t i = 0; i < report->n_calls; i++) {
		const struct call_row *row = &report->calls[i];
		fprintf(out, "| %s | %u | %.2f | %.2f to %.2f | %zu | %.2f | %.2f to %.2f |\n", row->name, row->threads,
		        row->ns.p50, row->ns.p25, row->ns.p75, row->ns.n, row->ratio.p50, row->ratio.p25,
		        row->ratio.p75);
	}
}

static void print_budget(const struct apply_row *row, FILE *out)
{
	if (row->budget_p50 > 0)
		fprintf(out, " %.0f, %s |\n", row->budget_p50, row->us.p50 <= row->budget_p50 ? "met" : "missed");
	else
		fprintf(out, " |\n");
}

static void markdown_applies(const struct report *report, FILE *out)
{
	fprintf(out, "\n## What a change costs\n\n"
	             "Microseconds from the call of hotpatch to its return, mode WAIT, one function.\n\n"
	             "| change | with | p50 | p99 | max | changes | budget of p50 |\n"
	             "|---|---|--:|--:|--:|--:|--:|\n");
	for (size_t i = 0; i < report->n_applies; i++) {
		const struct apply_row *row = &report->applies[i];
		fprintf(out, "| %s | %s | %.1f | %.1f | %.1f | %zu |", row->change, row->situation, row->us.p50,
		        row->us.p99, row->us.max, row->us.n);
		print_budget(row, out);
	}
}

void report_markdown(const struct report *report, FILE *out)
{
	struct machine machine = machine_read();
	fprintf(out, "# hotpatch: benchmark%s\n\n%s, %ld CPUs, %s %s, %s.\n", report->quick ? " (quick)" : "",
	        machine.cpu, machine.n_cpus, machine.os.sysname, machine.os.release, COMPILER);
	if (report->note != NULL)
		fprintf(out, "%s\n", report->note);
	if (report->load > 0.5)
		fprintf(out,
		        "**The machine was busy (load average %.1f at the start): these figures may be too high.**\n",
		        report->load);
	markdown_calls(report, out);
	markdown_applies(report, out);
}

/* -- JSON: no string in it needs escapes --------------------------------------------------------------------- */

static void json_summary(const char *name, const struct summary *summary, FILE *out)
{
	fprintf(out,
	        "\"%s\": {\"n\": %zu, \"min\": %.4f, \"p25\": %.4f, \"p50\": %.4f, \"p75\": %.4f, \"p99\": %.4f, "
	        "\"max\": %.4f}",
	        name, summary->n, summary->min, summary->p25, summary->p50, summary->p75, summary->p99, summary->max);
}

static void json_calls(const struct report *report, FILE *out)
{
	fprintf(out, "  \"calls\": [\n");
	for (size_t i = 0; i < report->n_calls; i++) {
		const struct call_row *row = &report->calls[i];
		fprintf(out, "    {\"name\": \"%s\", \"threads\": %u, ", row->name, row->threads);
		json_summary("ns", &row->ns, out);
		fprintf(out, ", ");
		json_summary("ratio", &row->ratio, out);
		fprintf(out, "}%s\n", i + 1 < report->n_calls ? "," : "");
	}
	fprintf(out, "  ],\n");
}

static void json_applies(const struct report *report, FILE *out)
{
	fprintf(out, "  \"applies\": [\n");
	for (size_t i = 0; i < report->n_applies; i++) {
		const struct apply_row *row = &report->applies[i];
		fprintf(out, "    {\"change\": \"%s\", \"situation\": \"%s\", \"budget_p50\": %.0f, ", row->change,
		        row->situation, row->budget_p50);
		json_summary("us", &row->us, out);
		fprintf(out, "}%s\n", i + 1 < report->n_applies ? "," : "");
	}
	fprintf(out, "  ]\n");
}

void report_json(const struct report *report, FILE *out)
{
	struct machine machine = machine_read();
	fprintf(out, "{\n  \"quick\": %s,\n  \"load\": %.2f,\n", report->quick ? "true" : "false", report->load);
	fprintf(out, "  \"machine\": {\"cpu\": \"%s\", \"cpus\": %ld, \"kernel\": \"%s %s\", \"compiler\": \"%s\"},\n",
	        machine.cpu, machine.n_cpus, machine.os.sysname, machine.os.release, COMPILER);
	json_calls(report, out);
	json_applies(report, out);
	fprintf(out, "}\n");
}
