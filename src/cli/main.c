/* main - the table of commands.
 *
 *     hotpatch NAME ...   --->   the row called NAME   --->   cmd_NAME.c
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <getopt.h>

#include "cli/cli.h"
#include "hotpatch.h"

static const struct hp_command *const commands[] = {
	&hp_cmd_run,   &hp_cmd_attach, &hp_cmd_build,  &hp_cmd_show,    &hp_cmd_check,
	&hp_cmd_apply, &hp_cmd_revert, &hp_cmd_status, &hp_cmd_list,    &hp_cmd_watch,
	&hp_cmd_undo,  &hp_cmd_redo,   &hp_cmd_use,    &hp_cmd_explain, &hp_cmd_doctor,
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void say_usage(FILE *to)
{
	fprintf(to, "usage: hotpatch COMMAND [OPTION...] [ARGUMENT...]\n"
	            "Changes function definitions in running C programs.\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(to, "\nhotpatch COMMAND --help tells the options of one; every command knows --json.\n");
}

static const struct hp_command *find_command(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* hotpatch help NAME is hotpatch NAME --help. */
static int run_help(int argc, char **argv)
{
	const struct hp_command *command = argc > 1 ? find_command(argv[1]) : NULL;

	if (command) {
		char *arguments[] = {argv[0], (char[]){"--help"}, NULL};
		return command->run(command, 2, arguments);
	}
	say_usage(stdout);
	return HP_EXIT_DONE;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		say_usage(stderr);
		return HP_EXIT_USAGE;
	}
	optind = 0;
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return run_help(argc - 1, argv + 1);
	if (strcmp(name, "--version") == 0) {
		printf("hotpatch %s\n", HP_VERSION);
		return HP_EXIT_DONE;
	}
	const struct hp_command *command = find_command(name);
	if (!command) {
		fprintf(stderr, "hotpatch: there is no command '%s'; 'hotpatch help' lists them\n", name);
		return HP_EXIT_USAGE;
	}
	char full[64]; /* as getopt(3) says who does not know an option */
	snprintf(full, sizeof(full), "hotpatch %s", command->name);
	argv[1] = full;
	return command->run(command, argc - 1, argv + 1);
}
