/* run - starts a program with the runtime and its agent in it.
 *
 * The program takes this command's place: its number, its parent, its signals and its exit status are what they would
 * have been. The library is preloaded, and told by the environment to start its agent; it takes both out of the
 * environment again, so that programs started by this one run without.
 *
 *     --with FILE...     program: exec ---> runtime: agent, waits at a pipe -----------------------------> main
 *                        helper:  finds the agent ---> links and applies each FILE ---> ends: the pipe does
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/runtime.h"
#include "remote/link.h"
#include "remote/process.h"

enum { FILES_MAX = 32, AGENT_MS = 5000 };

struct job {
	struct hp_output output;
	bool children;
	const char *paths[FILES_MAX]; /* of patches to begin with */
	struct hp_patchfile *files[FILES_MAX];
	size_t n;
};

/* -- Patches to begin with ------------------------------------------------------------------------------------- */

static int apply_file(struct hp_remote *remote, const struct hp_patchfile *file, struct hp_err *err)
{
	const struct hp_link_options options = {.timeout_ms = AGENT_MS};
	struct hp_remote_result result = {0};
	struct hp_link *link = NULL;
	int r = hp_link_prepare(remote, file, &options, &link, &result, err);

	hp_remote_result_free(&result);
	if (r == 0)
		r = hp_link_commit(link, &result, err);
	hp_remote_result_free(&result);
	hp_link_free(link);
	return r;
}

/* The runtime begins a moment after exec. */
static int find_agent(pid_t pid, struct hp_remote **ret_remote, struct hp_err *err)
{
	int r = HOTPATCH_ENOFILE;

	for (int ms = 0; ms < AGENT_MS && kill(pid, 0) == 0; ms += 5) {
		r = hp_remote_open(pid, AGENT_MS, ret_remote, err);
		if (r != HOTPATCH_ENOFILE)
			return r;
		poll(NULL, 0, 5);
	}
	return r;
}

/* The program waits; where it cannot be what it is to be, it does not begin. One without an agent does not wait. */
static void bring_patches(const struct job *job, pid_t pid, const char *name)
{
	struct hp_remote *remote = NULL;
	struct hp_err err = {0};
	int r = find_agent(pid, &remote, &err);

	if (r == HOTPATCH_ENOFILE) {
		fprintf(stderr, "hotpatch run: '%s' has no agent and runs without its patches: %s\n", name, err.text);
		return;
	}
	for (size_t i = 0; i < job->n && r == 0; i++)
		r = apply_file(remote, job->files[i], &err);
	hp_remote_close(remote);
	if (r == 0)
		return;
	fprintf(stderr, "hotpatch run: %s; '%s' was not started\n", err.text, name);
	kill(pid, SIGTERM);
}

/* Not a child of the program, which would meet a child that it does not know. */
static int start_helper(const struct job *job, const char *name, int *ret_hold, struct hp_err *err)
{
	pid_t pid = getpid(), helper;
	int ends[2];

	if (pipe(ends) < 0 || (helper = fork()) < 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "cannot begin with patches");
	if (helper == 0) {
		close(ends[0]);
		if (fork() == 0)
			bring_patches(job, pid, name);
		_exit(0);
	}
	close(ends[1]);
	waitpid(helper, NULL, 0);
	*ret_hold = ends[0];
	return 0;
}

static int read_files(struct job *job, struct hp_err *err)
{
	int r = 0;

	for (size_t i = 0; i < job->n && r == 0; i++)
		r = hp_patchfile_read(job->paths[i], &job->files[i], err);
	return r;
}

/* -- The program ----------------------------------------------------------------------------------------------- */

/* The command has one thread, and is about to become the program. */
static void set_hold(int hold)
{
	char number[16];

	if (hold < 0)
		return;
	snprintf(number, sizeof(number), "%d", hold);
	setenv("HOTPATCH_HOLD", number, 1); /* NOLINT(concurrency-mt-unsafe): one thread */
}

/* 127 and 126 as the shell has them: the program's own statuses are passed on. */
static int start(struct job *job, char **argv)
{
	char library[4096];
	struct hp_err err;
	int hold = -1, error = hp_runtime_find(library, sizeof(library), &err);
	if (!error)
		error = read_files(job, &err);
	if (!error && job->n)
		error = start_helper(job, argv[0], &hold, &err);
	if (!error)
		error = hp_process_preload(argv[0], library, job->children, &err);
	if (error)
		return hp_output_failure(&job->output, HP_EXIT_REFUSED, &err, "nothing was started");
	set_hold(hold);
	execvp(argv[0], argv);
	(void)hp_err_system(&err, HOTPATCH_ENOFILE, errno, "'%s' cannot be started", argv[0]);
	return hp_output_failure(&job->output, HP_EXIT_REFUSED, &err, "nothing was started");
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {{"children", no_argument, NULL, 'c'},
	                                        {"with", required_argument, NULL, 'w'},
	                                        HP_COMMON_OPTIONS};
	struct job job = {0};
	int option, status = HP_EXIT_DONE;
	hp_output_begin(&job.output, command);
	while ((option = hp_next_option(argc, argv, "+hcw:", options)) != -1) {
		if (option == 'c') {
			job.children = true;
		} else if (option == 'w' && job.n == FILES_MAX) {
			status = hp_usage(command, "%d patches at most", FILES_MAX);
			goto out;
		} else if (option == 'w') {
			job.paths[job.n++] = optarg;
		} else if (!hp_common_option(command, &job.output, option, &status)) {
			goto out;
		}
	}
	if (optind == argc) {
		status = hp_usage(command, "which program?");
		goto out;
	}
	status = start(&job, argv + optind);
	for (size_t i = 0; i < job.n; i++)
		hp_patchfile_free(job.files[i]);
	return hp_output_end(&job.output, status);
out:
	job.output.json = false;
	return hp_output_end(&job.output, status);
}

const struct hp_command hp_cmd_run = {
	.name = "run",
	.summary = "start a program with the agent in it",
	.arguments = "[--children] [--with FILE]... [--] PROGRAM [ARGUMENT...]",
	.help = "  -c, --children    programs that it starts get an agent too\n"
		"  -w, --with FILE   a patch that is in force before main begins; in the order they are given\n",
	.run = run,
};
