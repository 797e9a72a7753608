/* check - everything apply does but write: would the patch go into these processes? */
#include <getopt.h>

#include "cli/modes.h"
#include "cli/targets.h"
#include "remote/link.h"

static void check(struct hp_output *output, const struct hp_choice *choice, const struct hp_patchfile *file,
                  struct hp_target *target)
{
	const struct hp_link_options options = {.check = true};
	struct hp_remote_result result = {0};
	struct hp_link_report report;
	struct hp_link *link = NULL;
	struct hp_err err = {0};

	if (!hp_target_connect(output, choice, target))
		return;
	if (hp_link_prepare(target->remote, file, &options, &link, &result, &err) < 0) {
		hp_target_fail(output, target, &err, &result, NULL);
	} else {
		hp_link_tell(link, &report);
		hp_output_text(output, "%d: '%s' can be applied: %zu function%s would change, %zu patch%s be replaced",
		               (int)target->pid, file->name, report.n_functions, report.n_functions == 1 ? "" : "s",
		               report.n_replaced, report.n_replaced == 1 ? "" : "es");
		json_object_set_new(target->json, "status", json_string("done"));
		json_object_set_new(target->json, "functions", json_integer((json_int_t)report.n_functions));
		json_object_set_new(target->json, "replaced", json_integer((json_int_t)report.n_replaced));
		json_object_set_new(target->json, "size", json_integer((json_int_t)report.size));
	}
	hp_link_free(link);
	hp_remote_result_free(&result);
}

static int check_all(struct hp_output *output, const struct hp_choice *choice, const char *path)
{
	struct hp_patchfile *file = NULL;
	struct hp_targets targets = {0};
	struct hp_err err = {0};

	if (hp_patchfile_read(path, &file, &err) < 0)
		return hp_output_failure(output, HP_EXIT_REFUSED, &err, NULL);
	json_object_set_new(output->root, "patch", json_string(file->name));
	int status = hp_targets_choose(output, choice, file, &targets);
	if (status == HP_EXIT_DONE) {
		for (size_t i = 0; i < targets.n; i++)
			check(output, choice, file, &targets.v[i]);
		status = hp_targets_status(&targets);
	}
	hp_targets_free(&targets);
	hp_patchfile_free(file);
	return status;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {HP_TARGET_OPTIONS, HP_COMMON_OPTIONS};
	struct hp_output output;
	struct hp_choice choice = {0};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1)
		if (!hp_choice_option(option, optarg, &choice) && !hp_common_option(command, &output, option, &status))
			goto usage;
	if (optind == argc) {
		status = hp_usage(command, "which patch file?");
		goto usage;
	}
	choice.pids = argv + optind + 1;
	return hp_output_end(&output, check_all(&output, &choice, argv[optind]));
usage:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_check = {
	.name = "check",
	.summary = "say whether a patch can be applied, and write nothing",
	.arguments = "FILE.hp (PID... | --name NAME | --all) [OPTION...]",
	.help = "  --name NAME       all processes whose program is called NAME\n"
		"  --all             all processes that have loaded what the patch is for, by build-id\n",
	.run = run,
};
