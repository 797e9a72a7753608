/* main.c - measures and writes the report: hotpatch-bench [--quick | --smoke] [--only PART] [--note TEXT] FOLDER
 *
 * FOLDER gets report.json, report.md and the data of the charts. Normally started by bench/run, which draws them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "callers.h"
#include "calls.h"
#include "footprint.h"
#include "interrupted.h"
#include "must.h"
#include "others.h"
#include "report.h"
#include "saves.h"
#include "sets.h"

static void footprint_measure_built(struct report *report)
{
	footprint_measure(report, report_build(report));
}

/* In this order: calls first, while nothing has been patched yet. */
static const struct {
	const char *name;
	void (*measure)(struct report *report);
} parts[] = {
	{"calls", calls_measure},
	{"changes", apply_measure},
	{"sets", sets_measure},
	{"others", others_measure},
	{"interrupted", interrupted_measure},
	{"callers", callers_measure},
	{"saves", saves_measure},
	{"footprint", footprint_measure_built},
};

enum { N_PARTS = sizeof(parts) / sizeof(parts[0]) };

struct options {
	enum report_effort effort;
	const char *only, *note, *folder;
};

static int usage(void)
{
	fprintf(stderr, "usage: hotpatch-bench [--quick | --smoke] [--only PART] [--note TEXT] FOLDER\nparts:");
	for (size_t i = 0; i < N_PARTS; i++)
		fprintf(stderr, " %s", parts[i].name);
	fputc('\n', stderr);
	return 64;
}

static bool options_read(struct options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0)
			options->effort = REPORT_QUICK;
		else if (strcmp(argv[i], "--smoke") == 0)
			options->effort = REPORT_SMOKE;
		else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
			options->only = argv[++i];
		else if (strcmp(argv[i], "--note") == 0 && i + 1 < argc)
			options->note = argv[++i];
		else if (argv[i][0] != '-' && options->folder == NULL)
			options->folder = argv[i];
		else
			return false;
	}
	return options->folder != NULL;
}

/* The folder this program was built in: the library and the programs that are measured lie there. */
static void read_build(char *folder, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", folder, size - 1);
	must(length > 0, "/proc/self/exe");
	folder[length] = '\0';
	*strrchr(folder, '/') = '\0';
}

int main(int argc, char **argv)
{
	struct options options = {.effort = REPORT_FULL};
	char build[4096];
	bool known = false;

	if (!options_read(&options, argc, argv))
		return usage();
	for (size_t i = 0; i < N_PARTS; i++)
		known = known || options.only == NULL || strcmp(options.only, parts[i].name) == 0;
	if (!known)
		return usage();

	read_build(build, sizeof(build));
	struct report *report = report_new(options.effort, build, options.note);
	for (size_t i = 0; i < N_PARTS; i++)
		if (options.only == NULL || strcmp(options.only, parts[i].name) == 0)
			parts[i].measure(report);
	report_write(report, options.folder);
	report_free(report);
	return 0;
}
