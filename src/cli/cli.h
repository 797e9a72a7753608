/* cli - what every command is made of.
 *
 *     main.c: { "build", "make a patch from a source change", hp_cmd_build }  ---> cmd_build.c
 *
 * A command parses its own options with hp_next_option, says what it did through output.h (text or --json) and returns
 * an exit status. argv[0] is the command's name; argv ends in NULL. main has set optind to 0 (so getopt starts afresh).
 */
#ifndef HP_CLI_CLI_H
#define HP_CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <sys/types.h>

/* Exit statuses; never HP_EXIT_DONE when nothing was patched. */
enum hp_exit {
	HP_EXIT_DONE = 0,
	HP_EXIT_BUILD = 1,   /* the compiler, or a source, is at fault */
	HP_EXIT_REFUSED = 2, /* hotpatch, the process or the system refused */
	HP_EXIT_GONE = 3,    /* the process is not there, or went away */
	HP_EXIT_USAGE = 64,
};

struct hp_command {
	const char *name, *summary;
	const char *arguments; /* behind "usage: hotpatch NAME " */
	const char *help;      /* the options, one a line; for --help */
	int (*run)(const struct hp_command *command, int argc, char **argv);
};

/* One row each in main.c; a command is declared here, defined in cmd_NAME.c. */
extern const struct hp_command hp_cmd_watch, hp_cmd_undo, hp_cmd_redo, hp_cmd_use;
extern const struct hp_command hp_cmd_build, hp_cmd_show, hp_cmd_explain;
extern const struct hp_command hp_cmd_run, hp_cmd_attach, hp_cmd_doctor;
extern const struct hp_command hp_cmd_apply, hp_cmd_check, hp_cmd_revert, hp_cmd_status, hp_cmd_list;

/* Every command knows --json, -h and --help: put HP_COMMON_OPTIONS at the end of its struct option list and give
 * what hp_next_option returns to hp_common_option in the default branch of the switch. */
#define HP_OPTION_JSON 0x1000
#define HP_COMMON_OPTIONS                                                                                              \
	{"json", no_argument, NULL, HP_OPTION_JSON}, {"help", no_argument, NULL, 'h'},                                 \
	{                                                                                                              \
		0                                                                                                      \
	}

struct hp_output;

/* getopt_long: an option's letter or value, -1 behind the last. */
int hp_next_option(int argc, char **argv, const char *letters, const struct option *options);

/* true: handled, go on. false: the command is to return *ret_status at once (help was printed: HP_EXIT_DONE; unknown
 * option: HP_EXIT_USAGE, said on stderr). */
bool hp_common_option(const struct hp_command *command, struct hp_output *output, int option, int *ret_status);

/* Numbers of the command line, whole ones in their range; HP_EXIT_USAGE, said, where they are none. */
int hp_read_pid(const struct hp_command *command, const char *argument, pid_t *ret_pid);
int hp_read_ms(const struct hp_command *command, const char *argument, unsigned *ret_ms);

/* Says "hotpatch NAME: sentence" and the usage line on stderr; returns HP_EXIT_USAGE. */
int hp_usage(const struct hp_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
