/* apply - brings a patch file into running processes.
 *
 *     one after the other     connect, prepare, commit | connect, prepare, commit | ...
 *     --all-or-none           connect, prepare | connect, prepare | ...   then   commit | commit | ...
 *                             and where a commit fails, those before it are reverted; so is its own process, where the
 *                             connection was lost and another one shows that it went through all the same
 */
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/later.h"
#include "cli/modes.h"
#include "cli/targets.h"
#include "remote/link.h"

#define OPTION_ALL_OR_NONE 0x1100
#define OPTION_LATER 0x1101
#define SETTLE_MS 2000 /* for an agent that was there just now */
#define NOT_KNOWN "what became of it is not known: 'hotpatch list' tells"

struct job {
	struct hp_output *output;
	struct hp_choice choice;
	struct hp_link_options options;
	bool all_or_none;
	struct hp_patchfile *file;
	struct hp_targets targets;
	struct hp_link **links; /* by target; NULL: not prepared */
	bool undivided;         /* signals wait; mask: which did before */
	sigset_t mask;
	struct hp_later *later; /* those that wait for more */
	size_t n_later;
};

static void tell_done(struct job *job, struct hp_target *target, const struct hp_link *link,
                      const struct hp_remote_result *result, bool in_progress)
{
	struct hp_link_report report;

	hp_link_tell(link, &report);
	target->status = HP_EXIT_DONE;
	hp_output_text(job->output, "%d: '%s' is applied: %zu function%s changed in %.1f ms%s", (int)target->pid,
	               job->file->name, report.n_functions, report.n_functions == 1 ? "" : "s",
	               (double)result->ns / 1e6,
	               in_progress ? "; calls that were under way still run the old code:" : "");
	json_object_set_new(target->json, "status", json_string("done"));
	json_object_set_new(target->json, "in_progress", json_boolean(in_progress));
	json_object_set_new(target->json, "id", json_integer((json_int_t)result->patch));
	json_object_set_new(target->json, "functions", json_integer((json_int_t)report.n_functions));
	json_object_set_new(target->json, "replaced", json_integer((json_int_t)report.n_replaced));
	json_object_set_new(target->json, "address", json_integer((json_int_t)report.address));
	json_object_set_new(target->json, "size", json_integer((json_int_t)report.size));
	json_object_set_new(target->json, "ms", json_real((double)result->ns / 1e6));
}

static bool prepare(struct job *job, size_t i)
{
	struct hp_target *target = &job->targets.v[i];
	struct hp_remote_result result = {0};
	struct hp_err err = {0};

	if (!hp_target_connect(job->output, &job->choice, target))
		return false;
	int r = hp_link_prepare(target->remote, job->file, &job->options, &job->links[i], &result, &err);
	if (r < 0)
		hp_target_fail(job->output, target, &err, &result, NULL);
	hp_remote_result_free(&result);
	return r == 0;
}

static void wait_for_more(struct job *job, size_t i, uint64_t patch)
{
	struct hp_later *later = &job->later[job->n_later++];
	struct hp_link_report report;

	hp_link_tell(job->links[i], &report);
	*later = (struct hp_later){.target = &job->targets.v[i], .patch = patch};
	hp_later_tell(job->output, job->file, later, &report);
}

/* Nothing that it is for is loaded yet. */
static bool is_all_absent(const struct job *job, size_t i)
{
	struct hp_link_report report;

	hp_link_tell(job->links[i], &report);
	return report.n_absent && !report.n_functions;
}

static bool commit(struct job *job, size_t i)
{
	struct hp_target *target = &job->targets.v[i];
	struct hp_remote_result result = {0};
	struct hp_err err = {0};
	int r = hp_link_commit(job->links[i], &result, &err);
	bool in_progress = r == HOTPATCH_EINPROGRESS && result.live;

	if (r == 0 || in_progress) {
		struct hp_link_report report;
		hp_link_tell(job->links[i], &report);
		tell_done(job, target, job->links[i], &result, in_progress);
		if (in_progress)
			hp_target_tell_blockers(job->output, target, &result);
		if (report.n_absent)
			wait_for_more(job, i, result.patch);
	} else {
		hp_target_fail(job->output, target, &err, &result,
		               result.live ? "the patch is in force" : hp_target_truth(target));
	}
	hp_remote_result_free(&result);
	return r == 0 || in_progress;
}

static void one_after_the_other(struct job *job)
{
	for (size_t i = 0; i < job->targets.n; i++)
		if (prepare(job, i)) {
			if (is_all_absent(job, i))
				wait_for_more(job, i, 0);
			else
				commit(job, i);
		}
	if (job->n_later)
		hp_later_wait(job->output, job->file, &job->options, job->later, job->n_later);
}

/* What was committed before another process failed. */
static void take_back(struct job *job, size_t i, struct hp_remote *remote)
{
	struct hp_target *target = &job->targets.v[i];
	struct hp_remote_revert request = {
		.name = job->file->name,
		.mode = job->options.mode,
		.timeout_ms = job->options.timeout_ms,
		.stall_ms = job->options.stall_ms,
	};
	struct hp_remote_result result = {0};
	struct hp_err err = {0};

	int r = hp_remote_revert(remote, &request, &result, &err);
	bool in_progress = r == HOTPATCH_EINPROGRESS && result.live;

	if (r == 0 || in_progress) {
		hp_err_set(&err, HOTPATCH_EREFUSED, "'%s' was reverted, because it could not be applied everywhere",
		           job->file->name);
		hp_target_fail(job->output, target, &err, &result,
		               in_progress ? "new calls are as before; calls that were under way still run its code:"
		                           : "everything is as before; the process runs on");
	} else if (hp_remote_is_broken(remote)) {
		hp_target_fail(job->output, target, &err, &result, NOT_KNOWN);
	} else {
		hp_target_fail(job->output, target, &err, &result,
		               "the patch stays in force here, although it could not be applied everywhere");
	}
	hp_remote_result_free(&result);
}

static int is_in_force(struct hp_remote *remote, const char *name, bool *ret_is, struct hp_err *err)
{
	struct hp_remote_patches patches;
	int r = hp_remote_patches(remote, &patches, err);

	if (r < 0)
		return r;
	*ret_is = false;
	for (size_t i = 0; i < patches.n; i++)
		*ret_is |= patches.v[i].live && strcmp(patches.v[i].name, name) == 0;
	hp_remote_patches_free(&patches);
	return 0;
}

/* The connection was lost on the way, and what became of it is not known: where the agent is still there, it is asked
 * again. It is one thread, and comes to a new connection's second request when it is through with the old one's. */
static void settle(struct job *job, size_t i)
{
	struct hp_target *target = &job->targets.v[i];
	struct hp_remote *again = NULL;
	struct hp_err err = {0};
	bool is_there = false;

	if (hp_remote_open(target->pid, SETTLE_MS, &again, &err) < 0)
		return;
	if (is_in_force(again, job->file->name, &is_there, &err) == 0) {
		if (is_there) {
			take_back(job, i, again);
		} else {
			hp_err_set(&err, HOTPATCH_EREFUSED, "'%s' is not in force", job->file->name);
			hp_target_fail(job->output, target, &err, NULL, NULL);
		}
	}
	hp_remote_close(again);
}

static void leave_out(struct job *job, size_t i)
{
	struct hp_target *target = &job->targets.v[i];
	struct hp_err err = {0};

	if (target->status != HP_EXIT_DONE)
		return; /* it has been told why */
	hp_err_set(&err, HOTPATCH_EREFUSED, "'%s' could not be applied everywhere", job->file->name);
	hp_target_fail(job->output, target, &err, NULL, NULL);
}

/* False: not in all of them; then it is in none. */
static bool commit_all(struct job *job, int stop)
{
	struct pollfd item = {stop, POLLIN, 0};
	size_t done = 0;

	while (done < job->targets.n && poll(&item, 1, 0) <= 0) {
		struct hp_remote *remote = job->targets.v[done].remote;
		hp_remote_stop_at(remote, stop);
		bool committed = commit(job, done);
		hp_remote_stop_at(remote, -1);
		if (!committed)
			break;
		done++;
	}
	if (done == job->targets.n)
		return true;
	if (hp_remote_is_broken(job->targets.v[done].remote))
		settle(job, done);
	for (size_t i = done; i-- > 0;)
		take_back(job, i, job->targets.v[i].remote);
	return false;
}

/* Signals that would end this command between two processes wait until it has been decided what holds in all, and end
 * it then. Those that say so end the waiting for functions in use. */
static bool commit_undivided(struct job *job)
{
	static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction action;
	sigset_t ends, all;

	sigemptyset(&ends);
	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN) /* nohup(1) */
			sigaddset(&ends, ending[i]);
	all = ends;
	sigaddset(&all, SIGPIPE);
	sigprocmask(SIG_BLOCK, &all, &job->mask); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	job->undivided = true;
	int stop = signalfd(-1, &ends, SFD_CLOEXEC);
	bool done = commit_all(job, stop);
	if (stop >= 0)
		close(stop);
	return done;
}

static void all_or_none(struct job *job)
{
	bool prepared = true;

	for (size_t i = 0; i < job->targets.n; i++)
		prepared &= prepare(job, i);
	if (prepared && commit_undivided(job))
		return;
	for (size_t i = 0; i < job->targets.n; i++)
		leave_out(job, i);
}

static int apply(struct job *job, const char *path)
{
	struct hp_err err = {0};

	if (hp_patchfile_read(path, &job->file, &err) < 0)
		return hp_output_failure(job->output, HP_EXIT_REFUSED, &err, NULL);
	json_object_set_new(job->output->root, "patch", json_string(job->file->name));
	int status = hp_targets_choose(job->output, &job->choice, job->file, &job->targets);
	if (status != HP_EXIT_DONE)
		return status;
	job->links = calloc(job->targets.n + 1, sizeof(struct hp_link *));
	job->later = calloc(job->targets.n + 1, sizeof(*job->later));
	if (!job->links || !job->later) {
		hp_err_set(&err, HOTPATCH_ENOMEM, "no memory for %zu processes", job->targets.n);
		return hp_output_failure(job->output, HP_EXIT_REFUSED, &err, NULL);
	}
	if (job->all_or_none)
		all_or_none(job);
	else
		one_after_the_other(job);
	return hp_targets_status(&job->targets);
}

static void clean_up(struct job *job)
{
	for (size_t i = 0; job->links && i < job->targets.n; i++)
		hp_link_free(job->links[i]);
	free(job->links);
	free(job->later);
	hp_targets_free(&job->targets);
	hp_patchfile_free(job->file);
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {
		HP_TARGET_OPTIONS,
		HP_MODE_OPTIONS,
		{"no-attach", no_argument, NULL, HP_OPTION_NO_ATTACH},
		{"all-or-none", no_argument, NULL, OPTION_ALL_OR_NONE},
		{"later", no_argument, NULL, OPTION_LATER},
		HP_COMMON_OPTIONS,
	};
	struct hp_output output;
	struct job job = {.output = &output, .choice.attach = true};
	struct hp_modes modes = {0};
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1) {
		bool known = true;
		if (option == OPTION_ALL_OR_NONE)
			job.all_or_none = true;
		else if (option == OPTION_LATER)
			job.options.later = true;
		else
			known = hp_choice_option(option, optarg, &job.choice) ||
			        hp_mode_option(command, option, optarg, &modes, &status);
		if (known ? status != HP_EXIT_DONE : !hp_common_option(command, &output, option, &status))
			goto usage;
	}
	if (optind == argc) {
		status = hp_usage(command, "which patch file?");
		goto usage;
	}
	if (job.options.later && job.all_or_none) {
		status = hp_usage(command, "--later takes what is there, --all-or-none everything or nothing");
		goto usage;
	}
	job.choice.pids = argv + optind + 1;
	job.options = (struct hp_link_options){.mode = modes.mode,
	                                       .timeout_ms = modes.timeout_ms,
	                                       .stall_ms = modes.stall_ms,
	                                       .later = job.options.later};
	status = apply(&job, argv[optind]);
	clean_up(&job);
	status = hp_output_end(&output, status);
	if (job.undivided)
		sigprocmask(SIG_SETMASK, &job.mask, NULL); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	return status;
usage:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_apply = {
	.name = "apply",
	.summary = "bring a patch into running processes",
	.arguments = "FILE.hp (PID... | --name NAME | --all) [OPTION...]",
	.help = "  --name NAME       all processes whose program is called NAME\n"
		"  --all             all processes that have loaded what the patch is for, by build-id\n"
		"  --all-or-none     prepare it in every process before it is applied in any\n"
		"  --later           leave out what is of libraries that are not loaded, stay, and apply it when they are\n"
		"  --no-attach       leave processes alone that have no agent\n" HP_MODE_HELP,
	.run = run,
};
