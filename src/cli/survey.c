#include "cli/survey.h"

#include <getopt.h>
#include <time.h>

void hp_survey_time(uint64_t seconds, char *buffer, size_t room)
{
	time_t time = (time_t)seconds;
	struct tm tm;

	if (!localtime_r(&time, &tm) || !strftime(buffer, room, "%Y-%m-%d %H:%M:%S", &tm))
		buffer[0] = '\0';
}

static int list(struct hp_output *output, struct hp_choice *choice,
                int (*tell)(struct hp_output *output, struct hp_target *target, struct hp_err *err))
{
	struct hp_targets targets = {0};
	struct hp_err err = {0};

	if (!choice->name && !*choice->pids)
		choice->all = choice->may_be_none = true;
	int status = hp_targets_choose(output, choice, NULL, &targets);
	if (status == HP_EXIT_DONE) {
		for (size_t i = 0; i < targets.n; i++) {
			struct hp_target *target = &targets.v[i];
			if (!hp_target_connect(output, choice, target))
				continue;
			if (tell(output, target, &err) < 0)
				hp_target_fail(output, target, &err, NULL, NULL);
			else
				json_object_set_new(target->json, "status", json_string("done"));
		}
		if (!targets.n)
			hp_output_text(output, "no process has an agent");
		status = hp_targets_status(&targets);
	}
	hp_targets_free(&targets);
	return status;
}

int hp_survey_run(const struct hp_command *command, int argc, char **argv,
                  int (*tell)(struct hp_output *output, struct hp_target *target, struct hp_err *err))
{
	static const struct option options[] = {HP_TARGET_OPTIONS, HP_COMMON_OPTIONS};
	struct hp_output output;
	struct hp_choice choice = {0};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1)
		if (!hp_choice_option(option, optarg, &choice) &&
		    !hp_common_option(command, &output, option, &status)) {
			output.json = false;
			return hp_output_end(&output, status);
		}
	choice.pids = argv + optind;
	return hp_output_end(&output, list(&output, &choice, tell));
}
