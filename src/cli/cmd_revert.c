/* revert - takes a patch back out of running processes. Its memory stays, for what still refers to it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/modes.h"
#include "cli/targets.h"
#include "remote/view.h"

struct job {
	struct hp_output *output;
	struct hp_choice choice;
	struct hp_modes modes;
	const char *name; /* of the patch */
};

static const struct hp_remote_patch *find_live(const struct hp_view *view, const char *name)
{
	for (size_t i = 0; i < view->patches.n; i++)
		if (view->patches.v[i].live && strcmp(view->patches.v[i].name, name) == 0)
			return &view->patches.v[i];
	return NULL;
}

/* What requires the patch has to be reverted before it. */
static int check_dependants(const struct hp_view *view, const char *name, struct hp_err *err)
{
	for (size_t i = 0; i < view->patches.n; i++)
		for (size_t k = 0; view->notes[i] && k < view->notes[i]->n_requires; k++)
			if (strcmp(view->notes[i]->requires[k], name) == 0)
				return hp_err_set(err, HOTPATCH_EREFUSED,
				                  "the patch '%s' requires '%s'; revert it first",
				                  view->patches.v[i].name, name);
	return 0;
}

/* --all concerns the processes in which it is in force, and no other. */
static int find(const struct job *job, struct hp_target *target, bool *ret_found, struct hp_err *err)
{
	struct hp_view *view = NULL;
	int r = hp_view_open(target->remote, NULL, &view, err);

	if (r < 0)
		return r;
	*ret_found = find_live(view, job->name);
	if (*ret_found)
		r = check_dependants(view, job->name, err);
	else if (!job->choice.all)
		r = hp_err_set(err, HOTPATCH_ESTATE, "no patch '%s' is in force", job->name);
	hp_view_close(view);
	return r;
}

static void tell_done(struct job *job, struct hp_target *target, const struct hp_remote_result *result,
                      bool in_progress)
{
	hp_output_text(job->output, "%d: '%s' is reverted in %.1f ms%s", (int)target->pid, job->name,
	               (double)result->ns / 1e6, in_progress ? "; calls that were under way still run its code:" : "");
	json_object_set_new(target->json, "status", json_string("done"));
	json_object_set_new(target->json, "in_progress", json_boolean(in_progress));
	json_object_set_new(target->json, "ms", json_real((double)result->ns / 1e6));
	hp_target_tell_blockers(job->output, target, result);
}

static bool revert(struct job *job, struct hp_target *target)
{
	struct hp_remote_revert request = {
		.name = job->name,
		.mode = job->modes.mode,
		.timeout_ms = job->modes.timeout_ms,
		.stall_ms = job->modes.stall_ms,
	};
	struct hp_remote_result result = {0};
	struct hp_err err = {0};
	bool found = false;
	int r = find(job, target, &found, &err);

	if (r == 0 && !found) {
		json_object_set_new(target->json, "status", json_string("not in force"));
		return false;
	}
	if (r == 0)
		r = hp_remote_revert(target->remote, &request, &result, &err);
	bool in_progress = r == HOTPATCH_EINPROGRESS && result.live;
	if (r == 0 || in_progress)
		tell_done(job, target, &result, in_progress);
	else
		hp_target_fail(job->output, target, &err, &result, hp_target_truth(target));
	hp_remote_result_free(&result);
	return true;
}

static int revert_all(struct job *job)
{
	struct hp_targets targets = {0};
	struct hp_err err;
	size_t n = 0;

	json_object_set_new(job->output->root, "patch", json_string(job->name));
	int status = hp_targets_choose(job->output, &job->choice, NULL, &targets);
	if (status == HP_EXIT_DONE) {
		for (size_t i = 0; i < targets.n; i++)
			n += !hp_target_connect(job->output, &job->choice, &targets.v[i]) || revert(job, &targets.v[i]);
		status = hp_targets_status(&targets);
	}
	if (status == HP_EXIT_DONE && n == 0) {
		hp_err_set(&err, HOTPATCH_ESTATE, "no patch '%s' is in force in any process", job->name);
		status = hp_output_failure(job->output, HP_EXIT_REFUSED, &err, NULL);
	}
	hp_targets_free(&targets);
	return status;
}

/* A patch is named as it is in the process, or by the file it came from. */
static int revert_named(struct job *job, const char *argument)
{
	const char *suffix = strrchr(argument, '.');
	struct hp_patchfile *file = NULL;
	struct hp_err err = {0};

	job->name = argument;
	if (suffix && strcmp(suffix, ".hp") == 0) {
		if (hp_patchfile_read(argument, &file, &err) < 0)
			return hp_output_failure(job->output, HP_EXIT_REFUSED, &err, NULL);
		job->name = file->name;
	}
	int status = revert_all(job);
	hp_patchfile_free(file);
	return status;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {HP_TARGET_OPTIONS, HP_MODE_OPTIONS, HP_COMMON_OPTIONS};
	struct hp_output output;
	struct job job = {.output = &output};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1) {
		bool known = hp_choice_option(option, optarg, &job.choice) ||
		             hp_mode_option(command, option, optarg, &job.modes, &status);
		if (known ? status != HP_EXIT_DONE : !hp_common_option(command, &output, option, &status))
			goto usage;
	}
	if (optind == argc) {
		status = hp_usage(command, "which patch? Give its name, or its file");
		goto usage;
	}
	job.choice.pids = argv + optind + 1;
	return hp_output_end(&output, revert_named(&job, argv[optind]));
usage:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_revert = {
	.name = "revert",
	.summary = "take a patch back out of running processes",
	.arguments = "(NAME | FILE.hp) (PID... | --name NAME | --all) [OPTION...]",
	.help = "  --name NAME       all processes whose program is called NAME\n"
		"  --all             all processes in which the patch is in force\n" HP_MODE_HELP,
	.run = run,
};
