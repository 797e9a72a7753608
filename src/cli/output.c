#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *status_name(int status)
{
	switch (status) {
	case HP_EXIT_DONE:
		return "done";
	case HP_EXIT_BUILD:
		return "failed";
	case HP_EXIT_GONE:
		return "gone";
	case HP_EXIT_USAGE:
		return "usage";
	default:
		return "refused";
	}
}

void hp_output_begin(struct hp_output *output, const struct hp_command *command)
{
	*output = (struct hp_output){.command = command, .root = json_object()};
	json_object_set_new(output->root, "command", json_string(command->name));
}

void hp_output_text(struct hp_output *output, const char *format, ...)
{
	va_list args;

	if (output->json)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

int hp_output_failure(struct hp_output *output, int status, const struct hp_err *err, const char *truth)
{
	const char *code = hotpatch_code_name(err->code);
	char message[sizeof(err->text) + 128];

	snprintf(message, sizeof(message), "%s; %s", err->text, truth ? truth : "nothing was changed");
	if (output->json)
		json_object_set_new(output->root, "error",
		                    json_pack("{s:s?, s:s%}", "code", code, "message", message, strlen(message)));
	else
		fprintf(stderr, "hotpatch %s: %s\n", output->command->name, message);
	return status;
}

int hp_output_status(int code)
{
	return code == 0 ? HP_EXIT_DONE : code == HOTPATCH_EGONE ? HP_EXIT_GONE : HP_EXIT_REFUSED;
}

int hp_output_end(struct hp_output *output, int status)
{
	int number = 0;

	if (output->json) {
		json_object_set_new(output->root, "status", json_string(status_name(status)));
		json_object_set_new(output->root, "exit", json_integer(status));
		errno = 0;
		if (json_dumpf(output->root, stdout, JSON_INDENT(2)) < 0)
			number = errno ? errno : ENOMEM;
		putchar('\n');
	}
	json_decref(output->root);
	if (fflush(stdout) != 0)
		number = errno;
	if (!number)
		return status;
	errno = number;
	fprintf(stderr, "hotpatch %s: standard output cannot be written to: %m; %s\n", output->command->name,
	        status == HP_EXIT_DONE ? "what was asked for is done all the same" : "it failed");
	return status == HP_EXIT_DONE ? HP_EXIT_REFUSED : status;
}

/* -- Options (cli.h) ------------------------------------------------------------------------------------------- */

static void say_help(const struct hp_command *command)
{
	printf("usage: hotpatch %s %s\n%s.\n\n%s"
	       "  --json            one JSON object instead of text\n"
	       "  -h, --help        this text\n",
	       command->name, command->arguments, command->summary, command->help);
}

int hp_next_option(int argc, char **argv, const char *letters, const struct option *options)
{
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): a command reads its options with one thread */
	return getopt_long(argc, argv, letters, options, NULL);
}

bool hp_common_option(const struct hp_command *command, struct hp_output *output, int option, int *ret_status)
{
	switch (option) {
	case HP_OPTION_JSON:
		output->json = true;
		return true;
	case 'h':
		say_help(command);
		*ret_status = HP_EXIT_DONE;
		return false;
	default:
		fprintf(stderr, "usage: hotpatch %s %s\n", command->name, command->arguments);
		*ret_status = HP_EXIT_USAGE;
		return false;
	}
}

int hp_read_pid(const struct hp_command *command, const char *argument, pid_t *ret_pid)
{
	char *end;
	errno = 0;
	long pid = strtol(argument, &end, 10);

	if (errno || !*argument || *end || pid <= 0 || pid != (pid_t)pid)
		return hp_usage(command, "'%s' is no process id", argument);
	*ret_pid = (pid_t)pid;
	return HP_EXIT_DONE;
}

int hp_read_ms(const struct hp_command *command, const char *argument, unsigned *ret_ms)
{
	char *end;
	errno = 0;
	long ms = strtol(argument, &end, 10);

	if (errno || !*argument || *end || ms <= 0 || ms > 3600 * 1000L)
		return hp_usage(command, "'%s' is no number of milliseconds, from 1 to an hour", argument);
	*ret_ms = (unsigned)ms;
	return HP_EXIT_DONE;
}

int hp_usage(const struct hp_command *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "hotpatch %s: ", command->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nusage: hotpatch %s %s\n", command->name, command->arguments);
	return HP_EXIT_USAGE;
}
