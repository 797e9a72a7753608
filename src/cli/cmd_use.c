/* use, undo, redo - the generations that hotpatch watch has made are put in force and set aside (watch/generations.h).
 *
 *     hotpatch undo PID      the one before, or the program as it was started
 *     hotpatch redo PID      the one behind
 *     hotpatch use 3 PID     that one; use 0: as it was started
 *
 * Nothing is linked or compiled: the code is in the process.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/modes.h"
#include "cli/targets.h"
#include "watch/generations.h"

enum { WAIT_MS = 100 };

typedef int (*find_fn)(const struct hp_generations *generations, unsigned *ret_number, struct hp_err *err);

struct job {
	struct hp_output *output;
	struct hp_choice choice;
	struct hp_patience patience;
	find_fn find;    /* NULL: number */
	unsigned number; /* of the generation */
};

static void tell(const struct job *job, struct hp_target *target, unsigned number,
                 const struct hp_remote_result *result)
{
	const char *still = result->n_blockers ? "; calls that were under way still run the old code:" : "";
	double us = (double)result->ns / 1e3;

	if (number)
		hp_output_text(job->output, "%d: generation %u is in force, in %.0f us%s", (int)target->pid, number, us,
		               still);
	else
		hp_output_text(job->output, "%d: as it was started, in %.0f us%s", (int)target->pid, us, still);
	json_object_set_new(target->json, "status", json_string("done"));
	json_object_set_new(target->json, "generation", json_integer(number));
	json_object_set_new(target->json, "us", json_real(us));
	hp_target_tell_blockers(job->output, target, result);
}

static void use_in(const struct job *job, struct hp_target *target)
{
	struct hp_generations generations = {0};
	struct hp_remote_result result = {0};
	struct hp_err err = {0};
	unsigned number = job->number;

	if (!hp_target_connect(job->output, &job->choice, target))
		return;
	int r = hp_generations_read(target->remote, &generations, &err);
	if (r == 0 && job->find)
		r = job->find(&generations, &number, &err);
	if (r == 0)
		r = hp_generations_use(target->remote, &generations, number, &job->patience, &result, &err);
	if (r == 0)
		tell(job, target, number, &result);
	else
		hp_target_fail(job->output, target, &err, &result, hp_target_truth(target));
	hp_remote_result_free(&result);
	hp_generations_free(&generations);
}

static int use(struct job *job)
{
	struct hp_targets targets;
	int status = hp_targets_choose(job->output, &job->choice, NULL, &targets);

	for (size_t i = 0; i < targets.n && status == HP_EXIT_DONE; i++)
		use_in(job, &targets.v[i]);
	if (status == HP_EXIT_DONE)
		status = hp_targets_status(&targets);
	hp_targets_free(&targets);
	return status;
}

static int read_number(const struct hp_command *command, const char *argument, unsigned *ret_number)
{
	char *end;
	errno = 0;
	unsigned long number = argument ? strtoul(argument, &end, 10) : 0;

	if (!argument)
		return hp_usage(command, "which generation?");
	if (errno || !*argument || *end || number > 1000000000)
		return hp_usage(command, "'%s' is no number of a generation", argument);
	*ret_number = (unsigned)number;
	return HP_EXIT_DONE;
}

static int run_with(const struct hp_command *command, int argc, char **argv, find_fn find)
{
	static const struct option options[] = {
		HP_TARGET_OPTIONS,
		{"timeout", required_argument, NULL, HP_OPTION_TIMEOUT},
		HP_COMMON_OPTIONS,
	};
	struct hp_output output;
	struct hp_modes modes = {.timeout_ms = WAIT_MS};
	struct job job = {.output = &output, .find = find};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1) {
		bool known = hp_choice_option(option, optarg, &job.choice) ||
		             hp_mode_option(command, option, optarg, &modes, &status);
		if (known ? status != HP_EXIT_DONE : !hp_common_option(command, &output, option, &status))
			goto usage;
	}
	if (!find)
		status = read_number(command, argv[optind], &job.number);
	if (status != HP_EXIT_DONE)
		goto usage;
	job.choice.pids = argv + optind + !find;
	job.patience.wait_ms = modes.timeout_ms;
	status = use(&job);
	return hp_output_end(&output, status);
usage:
	output.json = false;
	return hp_output_end(&output, status);
}

static int run_undo(const struct hp_command *command, int argc, char **argv)
{
	return run_with(command, argc, argv, hp_generations_before);
}

static int run_redo(const struct hp_command *command, int argc, char **argv)
{
	return run_with(command, argc, argv, hp_generations_after);
}

static int run_use(const struct hp_command *command, int argc, char **argv)
{
	return run_with(command, argc, argv, NULL);
}

#define HELP                                                                                                           \
	"  --name NAME       all processes whose program is called NAME\n"                                             \
	"  --all             all processes that have an agent\n"                                                       \
	"  --timeout MS      how long threads in old code are waited for before calls are let into the other (100)\n"

const struct hp_command hp_cmd_undo = {
	.name = "undo",
	.summary = "go back to the reload before",
	.arguments = "(PID... | --name NAME | --all) [OPTION...]",
	.help = HELP,
	.run = run_undo,
};

const struct hp_command hp_cmd_redo = {
	.name = "redo",
	.summary = "go forth to the reload behind",
	.arguments = "(PID... | --name NAME | --all) [OPTION...]",
	.help = HELP,
	.run = run_redo,
};

const struct hp_command hp_cmd_use = {
	.name = "use",
	.summary = "put one of the reloads in force, or the program as it was started (0)",
	.arguments = "NUMBER (PID... | --name NAME | --all) [OPTION...]",
	.help = HELP,
	.run = run_use,
};
