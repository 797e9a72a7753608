/* attach - puts the runtime and its agent into running processes. */
#include <getopt.h>
#include <string.h>

#include "cli/output.h"
#include "cli/runtime.h"
#include "remote/attach.h"
#include "remote/process.h"

static const char unchanged[] = "nothing was changed; the process runs on";

static void say(struct hp_output *output, json_t *row, pid_t pid, const struct hp_attached *attached)
{
	if (attached->already)
		hp_output_text(output, "process %d has an agent already", (int)pid);
	else
		hp_output_text(output, "process %d has an agent now; thread %d was stopped for %.1f ms%s", (int)pid,
		               (int)attached->thread, attached->stopped,
		               attached->by_memfd ? " and given a copy of the library, whose path it cannot open" : "");
	json_object_set_new(row, "already", json_boolean(attached->already));
	json_object_set_new(row, "thread", json_integer(attached->thread));
	json_object_set_new(row, "stopped_ms", json_real(attached->stopped));
	json_object_set_new(row, "by_memfd", json_boolean(attached->by_memfd));
}

static int attach_one(struct hp_output *output, json_t *rows, const char *library, pid_t pid, unsigned timeout_ms)
{
	struct hp_attach_options options = {library, timeout_ms};
	struct hp_attached attached;
	struct hp_err err;
	json_t *row = json_object();
	json_array_append_new(rows, row);
	json_object_set_new(row, "pid", json_integer(pid));
	int error = hp_attach(pid, &options, &attached, &err), status = HP_EXIT_DONE;
	if (error) {
		status = hp_output_status(error);
		hp_output_failure(output, status, &err, status == HP_EXIT_GONE ? "nothing was changed" : unchanged);
		json_object_set(row, "error", json_object_get(output->root, "error"));
	} else {
		say(output, row, pid, &attached);
	}
	json_object_set_new(row, "status",
	                    json_string(status == HP_EXIT_DONE   ? "done"
	                                : status == HP_EXIT_GONE ? "gone"
	                                                         : "refused"));
	return status;
}

static bool is_number(const char *word)
{
	return *word && word[strspn(word, "+-0123456789")] == 0;
}

/* A number, or the name of one or more processes. */
static int attach_word(struct hp_output *output, json_t *rows, const char *library, const char *word,
                       unsigned timeout_ms)
{
	pid_t pid;
	struct hp_pids pids;
	struct hp_err err;
	if (is_number(word)) /* of which it was seen that it is a process's */
		return hp_read_pid(output->command, word, &pid) == HP_EXIT_DONE
		               ? attach_one(output, rows, library, pid, timeout_ms)
		               : HP_EXIT_USAGE;
	int error = hp_pids_by_name(word, &pids, &err), status = HP_EXIT_DONE;
	if (error)
		return hp_output_failure(output, HP_EXIT_GONE, &err, "nothing was changed");
	for (size_t i = 0; i < pids.n; i++) {
		int one = attach_one(output, rows, library, pids.v[i], timeout_ms);
		status = one > status ? one : status;
	}
	hp_pids_free(&pids);
	return status;
}

static int attach_all(struct hp_output *output, char **words, unsigned timeout_ms)
{
	char library[4096];
	struct hp_err err;
	int status = HP_EXIT_DONE;
	json_t *rows = json_array();
	json_object_set_new(output->root, "processes", rows);
	if (hp_runtime_find(library, sizeof(library), &err) != 0)
		return hp_output_failure(output, HP_EXIT_REFUSED, &err, "nothing was changed");
	for (; *words; words++) {
		int one = attach_word(output, rows, library, *words, timeout_ms);
		status = one > status ? one : status;
	}
	return status;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {{"timeout", required_argument, NULL, 't'}, HP_COMMON_OPTIONS};
	struct hp_output output;
	unsigned timeout_ms = 0;
	pid_t pid;
	int option, status = HP_EXIT_DONE;
	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "ht:", options)) != -1) {
		if (option == 't')
			status = hp_read_ms(command, optarg, &timeout_ms);
		else if (!hp_common_option(command, &output, option, &status))
			goto out;
		if (status != HP_EXIT_DONE)
			goto out;
	}
	if (optind == argc)
		status = hp_usage(command, "which process?");
	for (int i = optind; i < argc && status == HP_EXIT_DONE; i++) /* before anything is done */
		if (is_number(argv[i]))
			status = hp_read_pid(command, argv[i], &pid);
	if (status != HP_EXIT_DONE)
		goto out;
	status = attach_all(&output, argv + optind, timeout_ms);
	return hp_output_end(&output, status);
out:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_attach = {
	.name = "attach",
	.summary = "put the agent into a running process",
	.arguments = "[--timeout MS] PID|NAME...",
	.help = "  -t, --timeout MS  how long to look for a thread at a safe place, and to wait for it (5000)\n",
	.run = run,
};
