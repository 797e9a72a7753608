/* main.c - measures and writes the report: hotpatch-bench [--quick] [--note TEXT] FOLDER
 *
 * FOLDER gets report.md and report.json; report.md is printed as well. Normally started by bench/run.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apply.h"
#include "calls.h"
#include "report.h"

static FILE *open_in(const char *folder, const char *name)
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

static int usage(void)
{
	fprintf(stderr, "usage: hotpatch-bench [--quick] [--note TEXT] FOLDER\n");
	return 64;
}

int main(int argc, char **argv)
{
	static struct report report;
	const char *folder = NULL;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--quick") == 0)
			report.quick = true;
		else if (strcmp(argv[i], "--note") == 0 && i + 1 < argc)
			report.note = argv[++i];
		else if (argv[i][0] != '-' && folder == NULL)
			folder = argv[i];
		else
			return usage();
	}
	if (folder == NULL)
		return usage();

	if (getloadavg(&report.load, 1) != 1)
		report.load = 0;
	calls_measure(&report);
	apply_measure(&report);
	report_markdown(&report, stdout);
	FILE *markdown = open_in(folder, "report.md"), *json = open_in(folder, "report.json");
	report_markdown(&report, markdown);
	report_json(&report, json);
	return fclose(markdown) != 0 || fclose(json) != 0;
}
