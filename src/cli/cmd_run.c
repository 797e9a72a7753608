/* run - starts a program with the runtime and its agent in it.
 *
 * The program takes this command's place: its number, its parent, its signals and its exit status are what they would
 * have been. The library is preloaded, and told by the environment to start its agent; it takes both out of the
 * environment again, so that programs started by this one run without.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/runtime.h"

/* The command has one thread, and is about to become the program. */
static void set_environment(const char *library, bool children)
{
	const char *others = getenv("LD_PRELOAD");
	size_t size = strlen(library) + (others ? strlen(others) : 0) + 2;
	char *list = malloc(size);
	if (list) {
		snprintf(list, size, "%s%s%s", library, others && *others ? ":" : "", others ? others : "");
		setenv("LD_PRELOAD", list, 1); /* NOLINT(concurrency-mt-unsafe): one thread */
	}
	free(list);
	setenv("HOTPATCH_PRELOAD", library, 1);                   /* NOLINT(concurrency-mt-unsafe): one thread */
	setenv("HOTPATCH_SERVE", children ? "children" : "1", 1); /* NOLINT(concurrency-mt-unsafe): one thread */
}

/* 127 and 126 as the shell has them: the program's own statuses are passed on. */
static int start(struct hp_output *output, char **argv, bool children)
{
	char library[4096];
	struct hp_err err;
	int error = hp_runtime_find(library, sizeof(library), &err);
	if (error)
		return hp_output_failure(output, HP_EXIT_REFUSED, &err, "nothing was started");
	set_environment(library, children);
	execvp(argv[0], argv);
	(void)hp_err_system(&err, HOTPATCH_ENOFILE, errno, "'%s' cannot be started", argv[0]);
	return hp_output_failure(output, HP_EXIT_REFUSED, &err, "nothing was started");
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {{"children", no_argument, NULL, 'c'}, HP_COMMON_OPTIONS};
	struct hp_output output;
	bool children = false;
	int option, status = HP_EXIT_DONE;
	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "+hc", options)) != -1) {
		if (option == 'c')
			children = true;
		else if (!hp_common_option(command, &output, option, &status))
			goto out;
	}
	if (optind == argc) {
		status = hp_usage(command, "which program?");
		goto out;
	}
	status = start(&output, argv + optind, children);
	return hp_output_end(&output, status);
out:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_run = {
	.name = "run",
	.summary = "start a program with the agent in it",
	.arguments = "[--children] [--] PROGRAM [ARGUMENT...]",
	.help = "  -c, --children    programs that it starts get an agent too\n",
	.run = run,
};
