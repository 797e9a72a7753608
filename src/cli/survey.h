/* survey - what `list` and `status` have in common: each process with an agent, or each that is named. */
#ifndef HP_CLI_SURVEY_H
#define HP_CLI_SURVEY_H

#include "cli/targets.h"

/* Runs a command that only looks: parses its options, connects to each process and calls tell for it. Without any
 * process named, all that have an agent are meant, and that there is none is no failure. */
int hp_survey_run(const struct hp_command *command, int argc, char **argv,
                  int (*tell)(struct hp_output *output, struct hp_target *target, struct hp_err *err));

/* "2026-11-25 23:40:12" of the machine's time zone. */
void hp_survey_time(uint64_t seconds, char *buffer, size_t room);

#endif
