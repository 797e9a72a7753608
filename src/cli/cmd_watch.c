/* watch - a program that changes as its sources are saved (watch/watch.h).
 *
 *     hotpatch watch -- ./app args     starts it
 *     hotpatch watch -p PID            one that runs; --name NAME finds it
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/runtime.h"
#include "remote/process.h"
#include "watch/watch.h"

enum { OPTION_NAME = 0x1200, OPTION_TIMINGS, OPTION_POLL, OPTION_MODE, OPTION_KEYS, OPTION_WHOLE, OPTION_NO_HOLD };

static const struct option options[] = {
	{"pid", required_argument, NULL, 'p'},          {"name", required_argument, NULL, OPTION_NAME},
	{"timings", no_argument, NULL, OPTION_TIMINGS}, {"poll", no_argument, NULL, OPTION_POLL},
	{"mode", required_argument, NULL, OPTION_MODE}, {"keys", no_argument, NULL, OPTION_KEYS},
	{"output", required_argument, NULL, 'o'},       {"whole", no_argument, NULL, OPTION_WHOLE},
	{"no-hold", no_argument, NULL, OPTION_NO_HOLD}, HP_COMMON_OPTIONS,
};

struct job {
	const struct hp_command *command;
	struct hp_output output;
	struct hp_watch_options watch;
	const char *folder, *name;
	bool timings;
	char database[PATH_MAX], library[PATH_MAX];
};

static int read_mode(struct job *job, const char *argument)
{
	static const char *const names[HP_WATCH_MODES] =
		{[HP_WATCH_AUTO] = "auto", [HP_WATCH_MANUAL] = "manual", [HP_WATCH_SAFE_POINT] = "safe-point"};

	for (int i = 0; i < HP_WATCH_MODES; i++)
		if (strcmp(names[i], argument) == 0) {
			job->watch.mode = (enum hp_watch_mode)i;
			return HP_EXIT_DONE;
		}
	return hp_usage(job->command, "'%s' is no mode: auto, manual and safe-point are", argument);
}

static bool take_option(struct job *job, int option, int *ret_status)
{
	switch (option) {
	case 'C':
		job->folder = optarg;
		return true;
	case 'p':
		*ret_status = hp_read_pid(job->command, optarg, &job->watch.pid);
		return true;
	case OPTION_NAME:
		job->name = optarg;
		return true;
	case OPTION_TIMINGS:
		job->timings = true;
		return true;
	case OPTION_MODE:
		*ret_status = read_mode(job, optarg);
		return true;
	case OPTION_KEYS:
		job->watch.has_keys = true;
		return true;
	case 'o':
		job->watch.patch_file = optarg;
		return true;
	case OPTION_WHOLE:
		job->watch.has_parts = false;
		return true;
	case OPTION_NO_HOLD:
		job->watch.holds = false;
		return true;
	case OPTION_POLL:
		job->watch.is_polling = true;
		return true;
	default:
		return false;
	}
}

static int check_usage(struct job *job)
{
	int ways = !!job->watch.pid + !!job->name + !!job->watch.program;

	if (ways == 1)
		return HP_EXIT_DONE;
	return hp_usage(job->command, "%s",
	                ways ? "a program to start, -p and --name exclude each other"
	                     : "which program? Give one to start, or -p PID, or --name NAME");
}

static int fail(const struct job *job, const struct hp_err *err, int status)
{
	fprintf(stderr, "hotpatch watch: %s; nothing was changed\n", err->text);
	if (job->output.json) {
		json_t *error = json_pack("{s:s, s:s?, s:s}", "event", "error", "code", hotpatch_code_name(err->code),
		                          "text", err->text);
		json_dumpf(error, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(error);
	}
	return status;
}

static int find_process(struct job *job)
{
	struct hp_pids pids = {0};
	struct hp_err err;
	int r = hp_pids_by_name(job->name, &pids, &err);

	if (r == 0 && pids.n > 1)
		r = hp_err_set(&err, HOTPATCH_EAMBIGUOUS,
		               "%zu processes are called '%s': choose one with -p PID, as %d", pids.n, job->name,
		               (int)pids.v[0]);
	if (r == 0)
		job->watch.pid = pids.v[0];
	hp_pids_free(&pids);
	return r < 0 ? fail(job, &err, hp_output_status(r)) : HP_EXIT_DONE;
}

/* Here, or in the folder that build systems use. */
static void find_database(struct job *job)
{
	static const char file[] = "compile_commands.json";

	if (job->folder)
		snprintf(job->database, sizeof(job->database), "%s/%s", job->folder, file);
	else
		snprintf(job->database, sizeof(job->database), "%s%s",
		         access(file, F_OK) != 0 && access("build/compile_commands.json", F_OK) == 0 ? "build/" : "",
		         file);
	job->watch.database = job->database;
}

static int status_of(int code)
{
	return code == HOTPATCH_EBUILD ? HP_EXIT_BUILD : hp_output_status(code);
}

static int run_watch(struct job *job)
{
	struct hp_report report;
	struct hp_err err = {0};
	int status = job->name ? find_process(job) : HP_EXIT_DONE;

	if (status != HP_EXIT_DONE)
		return status;
	find_database(job);
	if (hp_runtime_find(job->library, sizeof(job->library), &err) < 0)
		return fail(job, &err, HP_EXIT_REFUSED);
	job->watch.library = job->library;
	hp_report_begin(&report, job->output.json, job->timings);
	switch (hp_watch_run(&job->watch, &report, &err)) {
	case HP_WATCH_FAILED:
		return fail(job, &err, status_of(err.code));
	case HP_WATCH_GONE:
		return HP_EXIT_GONE;
	default:
		if (!report.is_broken || report.is_broken == EPIPE) /* who reads has left */
			return HP_EXIT_DONE;
		fprintf(stderr, "hotpatch watch: standard output cannot be written to: %s; the watch has ended\n",
		        strerror(report.is_broken)); /* NOLINT(concurrency-mt-unsafe): there is one thread */
		return HP_EXIT_REFUSED;
	}
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	struct job job = {.command = command, .watch = {.has_parts = true, .holds = true}};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&job.output, command);
	while ((option = hp_next_option(argc, argv, "+hC:p:o:", options)) != -1) {
		bool known = take_option(&job, option, &status);
		if (known ? status != HP_EXIT_DONE : !hp_common_option(command, &job.output, option, &status))
			goto out;
	}
	if (optind < argc)
		job.watch.program = argv + optind;
	status = check_usage(&job);
	if (status == HP_EXIT_DONE)
		status = run_watch(&job);
out:
	job.output.json = false; /* every line was an object of its own */
	return hp_output_end(&job.output, status);
}

const struct hp_command hp_cmd_watch = {
	.name = "watch",
	.summary = "change a program as its sources are saved",
	.arguments = "[OPTION...] (-p PID | --name NAME | [--] PROGRAM [ARGUMENT...])",
	.help = "  -C FOLDER         the build folder, which has compile_commands.json (. or build)\n"
		"  -p, --pid PID     the process that was made from the sources as they are now\n"
		"  --name NAME       the one process whose program is called NAME\n"
		"  --mode MODE       auto (each save), manual (key r), safe-point (nobody in old code but in hotpatch_poll)\n"
		"  --keys            take keys from standard input though it is no terminal\n"
		"  -o, --output FILE keep the last generation there, as a patch file for run --with or apply\n"
		"  --timings         what the time since a save went into\n"
		"  --whole           compile large files whole before anything of them is applied\n"
		"  --no-hold         let a crash in reloaded code end the program at once\n"
		"  --poll            look at files five times a second, for file systems that do not tell\n",
	.run = run,
};
