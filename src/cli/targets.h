/* targets - the processes a command is for, and a conversation with the agent of each.
 *
 *     PID...          those
 *     --name NAME     all whose program is called so
 *     --all           all that it concerns: those that have loaded what the patch is for, or in which it is in force
 */
#ifndef HP_CLI_TARGETS_H
#define HP_CLI_TARGETS_H

#include "cli/output.h"
#include "elf/patchfile.h"
#include "remote/client.h"
#include "remote/place.h"

/* Options of commands that choose processes, for getopt_long. */
#define HP_OPTION_NAME 0x1001
#define HP_OPTION_ALL 0x1002
#define HP_OPTION_NO_ATTACH 0x1003
#define HP_TARGET_OPTIONS                                                                                              \
	{"name", required_argument, NULL, HP_OPTION_NAME},                                                             \
	{                                                                                                              \
		"all", no_argument, NULL, HP_OPTION_ALL                                                                \
	}

struct hp_target {
	pid_t pid;
	char name[32];            /* of the program: /proc/PID/comm */
	struct hp_remote *remote; /* NULL: not connected */
	json_t *json;             /* its entry in "processes" */
	int status;               /* enum hp_exit */
};

struct hp_targets {
	struct hp_target *v;
	size_t n;
};

struct hp_choice {
	const char *name; /* --name */
	bool all;
	bool may_be_none; /* no process is no error */
	bool attach;      /* where there is no agent, put one in */
	char **pids;      /* arguments, ends in NULL */
};

/* Takes --name, --all and --no-attach; false: the option is none of these. */
bool hp_choice_option(int option, const char *argument, struct hp_choice *choice);

/* Finds the processes; file may be NULL: then --all is all that have an agent. Says what is wrong and returns a status
 * that is not HP_EXIT_DONE. */
int hp_targets_choose(struct hp_output *output, const struct hp_choice *choice, const struct hp_patchfile *file,
                      struct hp_targets *ret_targets);
void hp_targets_free(struct hp_targets *targets);

/* Begins the conversation; on failure the target's status says so, and it has been told. */
bool hp_target_connect(struct hp_output *output, const struct hp_choice *choice, struct hp_target *target);

/* Says that something failed in one process, with who was in the way, and sets its status. result may be NULL. truth:
 * NULL for "nothing was changed; the process runs on". */
void hp_target_fail(struct hp_output *output, struct hp_target *target, const struct hp_err *err,
                    const struct hp_remote_result *result, const char *truth);

/* What to say of a request that changes something and failed: NULL, or that nobody knows what became of it. */
const char *hp_target_truth(const struct hp_target *target);

/* Says who is in the way, also when that is no failure. */
void hp_target_tell_blockers(struct hp_output *output, struct hp_target *target, const struct hp_remote_result *result);

/* The exit status of the whole: done if all are, else what the failed ones agree on, else refused. */
int hp_targets_status(const struct hp_targets *targets);

#endif
