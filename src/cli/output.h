/* output - how a command says what it did: text for people on stdout, failures on stderr, or one JSON object on stdout.
 *
 *     hotpatch apply: cannot change 'serve' in process 71: the code in memory is not ...; nothing was changed
 *
 *     { "command": "apply", "status": "done" | "refused" | "failed" | "gone", "exit": 0,
 *       "error": { "code": "HOTPATCH_ECODE", "message": "..." },       only when it failed
 *       ... what the command adds }
 *
 * With --json nothing but that object is printed on stdout, also on failure.
 */
#ifndef HP_CLI_OUTPUT_H
#define HP_CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "cli/cli.h"

struct hp_output {
	const struct hp_command *command;
	bool json;
	json_t *root; /* the object; commands add to it with json_object_set_new(output->root, ...) */
};

void hp_output_begin(struct hp_output *output, const struct hp_command *command);

/* A line (or lines) of text on stdout; nothing with --json. The newline is added. */
void hp_output_text(struct hp_output *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says the failure, ending with truth (NULL: "nothing was changed"; "nothing was changed; the process runs on"), and
 * returns status. Does not end the output. */
int hp_output_failure(struct hp_output *output, int status, const struct hp_err *err, const char *truth);

/* The exit status that a code means: HP_EXIT_REFUSED for most, HP_EXIT_GONE where the process is gone. */
int hp_output_status(int code);

/* Prints the JSON object if that is asked for, frees everything, returns status (HP_EXIT_REFUSED where stdout could not
 * be written). Last call of a command: return hp_output_end(&output, status); */
int hp_output_end(struct hp_output *output, int status);

#endif
