#include "cli/targets.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/runtime.h"
#include "remote/attach.h"
#include "remote/process.h"

enum { CONNECT_MS = 5000 };

/* -- Choosing -------------------------------------------------------------------------------------------------- */

bool hp_choice_option(int option, const char *argument, struct hp_choice *choice)
{
	if (option == HP_OPTION_NAME)
		choice->name = argument;
	else if (option == HP_OPTION_ALL)
		choice->all = true;
	else if (option == HP_OPTION_NO_ATTACH)
		choice->attach = false;
	else
		return false;
	return true;
}

static void read_name(struct hp_target *target)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)target->pid);
	FILE *file = fopen(path, "re");
	if (!file || !fgets(target->name, sizeof(target->name), file))
		target->name[0] = '\0';
	target->name[strcspn(target->name, "\n")] = '\0';
	if (file)
		fclose(file);
}

static int add_target(struct hp_output *output, struct hp_targets *targets, json_t *list, pid_t pid)
{
	for (size_t i = 0; i < targets->n; i++)
		if (targets->v[i].pid == pid)
			return HP_EXIT_DONE;
	void *grown = realloc(targets->v, (targets->n + 1) * sizeof(*targets->v));
	if (!grown) {
		struct hp_err err;
		hp_err_set(&err, HOTPATCH_ENOMEM, "no memory for %zu processes", targets->n);
		return hp_output_failure(output, HP_EXIT_REFUSED, &err, NULL);
	}
	targets->v = grown;
	struct hp_target *target = &targets->v[targets->n++];
	*target = (struct hp_target){.pid = pid, .json = json_object()};
	read_name(target);
	json_object_set_new(target->json, "pid", json_integer(pid));
	json_object_set_new(target->json, "name", json_string(target->name));
	json_array_append_new(list, target->json);
	return HP_EXIT_DONE;
}

static int add_pids(struct hp_output *output, struct hp_targets *targets, json_t *list, struct hp_pids *pids)
{
	int status = HP_EXIT_DONE;

	for (size_t i = 0; i < pids->n && status == HP_EXIT_DONE; i++)
		status = add_target(output, targets, list, pids->v[i]);
	hp_pids_free(pids);
	return status;
}

static int add_argument(struct hp_output *output, struct hp_targets *targets, json_t *list, const char *argument)
{
	pid_t pid;
	int status = hp_read_pid(output->command, argument, &pid);

	return status == HP_EXIT_DONE ? add_target(output, targets, list, pid) : status;
}

static int fail(struct hp_output *output, const struct hp_err *err)
{
	return hp_output_failure(output, hp_output_status(err->code), err, NULL);
}

static int add_by_name(struct hp_output *output, struct hp_targets *targets, json_t *list, const char *name)
{
	struct hp_pids pids = {0};
	struct hp_err err;

	if (hp_pids_by_name(name, &pids, &err) < 0)
		return fail(output, &err);
	return add_pids(output, targets, list, &pids);
}

/* All processes that have loaded an image the patch is for; without a build-id to know it by, that is refused. */
static int add_by_file(struct hp_output *output, struct hp_targets *targets, json_t *list,
                       const struct hp_patchfile *file)
{
	int status = HP_EXIT_DONE;
	struct hp_err err;

	for (size_t i = 0; i < file->n_targets && status == HP_EXIT_DONE; i++) {
		struct hp_pids pids = {0};
		if (!file->targets[i].build_id_size)
			continue;
		int r = hp_pids_by_build_id(file->targets[i].build_id, file->targets[i].build_id_size, &pids, &err);
		if (r < 0 && r != HOTPATCH_EGONE)
			return fail(output, &err);
		status = add_pids(output, targets, list, &pids);
		if (targets->n)
			return status; /* a patch over several images goes where the first of them is */
	}
	if (status == HP_EXIT_DONE) {
		hp_err_set(&err, HOTPATCH_ENOFILE, "no process has loaded what '%s' is for%s", file->path,
		           file->n_targets ? "" : ", as far as can be known: it names no build-id; give process ids");
		return hp_output_failure(output, HP_EXIT_GONE, &err, NULL);
	}
	return status;
}

static int add_all(struct hp_output *output, struct hp_targets *targets, json_t *list)
{
	struct hp_pids pids = {0};
	struct hp_err err;

	if (hp_pids_with_agent(&pids, &err) < 0)
		return fail(output, &err);
	return add_pids(output, targets, list, &pids);
}

static int choose(struct hp_output *output, const struct hp_choice *choice, const struct hp_patchfile *file,
                  struct hp_targets *targets, json_t *list)
{
	int status = HP_EXIT_DONE;

	if (choice->name)
		return add_by_name(output, targets, list, choice->name);
	if (choice->all)
		return file ? add_by_file(output, targets, list, file) : add_all(output, targets, list);
	for (char **pid = choice->pids; *pid && status == HP_EXIT_DONE; pid++)
		status = add_argument(output, targets, list, *pid);
	return status;
}

int hp_targets_choose(struct hp_output *output, const struct hp_choice *choice, const struct hp_patchfile *file,
                      struct hp_targets *ret_targets)
{
	json_t *list = json_array();
	int ways = !!choice->name + choice->all + !!*choice->pids;
	struct hp_err err;

	*ret_targets = (struct hp_targets){0};
	json_object_set_new(output->root, "processes", list);
	if (ways != 1)
		return hp_usage(output->command, "%s",
		                ways ? "process ids, --name and --all exclude each other"
		                     : "of which processes? Give process ids, --name or --all");
	int status = choose(output, choice, file, ret_targets, list);
	if (status != HP_EXIT_DONE || ret_targets->n || choice->may_be_none)
		return status;
	hp_err_set(&err, HOTPATCH_ENOFILE, choice->name ? "no process is called '%s'" : "no process has an agent",
	           choice->name);
	return hp_output_failure(output, HP_EXIT_GONE, &err, NULL);
}

void hp_targets_free(struct hp_targets *targets)
{
	for (size_t i = 0; i < targets->n; i++)
		hp_remote_close(targets->v[i].remote);
	free(targets->v);
}

int hp_targets_status(const struct hp_targets *targets)
{
	int status = HP_EXIT_DONE;

	for (size_t i = 0; i < targets->n; i++) {
		int one = targets->v[i].status;
		if (one != HP_EXIT_DONE && one != status)
			status = status == HP_EXIT_DONE ? one : HP_EXIT_REFUSED;
	}
	return status;
}

/* -- Telling --------------------------------------------------------------------------------------------------- */

static json_t *tell_frames(struct hp_output *output, struct hp_places *places, const struct hp_remote_blocker *blocker)
{
	json_t *frames = json_array();
	char place[400];

	for (size_t i = 0; i < blocker->n_frames; i++) {
		hp_places_say(places, blocker->frames[i], i > 0, place, sizeof(place));
		if (!output->json)
			fprintf(stderr, "    %s\n", place);
		json_array_append_new(frames, json_string(place));
	}
	return frames;
}

void hp_target_tell_blockers(struct hp_output *output, struct hp_target *target, const struct hp_remote_result *result)
{
	if (!result || !result->n_blockers)
		return;
	struct hp_places *places = hp_places_new(target->remote);
	json_t *list = json_array();
	fflush(stdout); /* what is said there comes before this */
	for (size_t i = 0; i < result->n_blockers; i++) {
		const struct hp_remote_blocker *b = &result->blockers[i];
		if (!output->json)
			fprintf(stderr, "  thread %d '%s' %s%s%s%s\n", b->tid, b->name, b->reason,
			        b->function[0] ? " '" : "", b->function, b->function[0] ? "'" : "");
		json_t *one = json_pack("{s:i, s:s, s:s, s:s}", "tid", b->tid, "name", b->name, "reason", b->reason,
		                        "function", b->function);
		json_object_set_new(one, "frames", tell_frames(output, places, b));
		json_array_append_new(list, one);
	}
	json_object_set_new(target->json, "blockers", list);
	hp_places_free(places);
}

const char *hp_target_truth(const struct hp_target *target)
{
	return hp_remote_is_broken(target->remote) ? "what became of it is not known: 'hotpatch list' tells" : NULL;
}

static const char *status_name(int status)
{
	return status == HP_EXIT_GONE ? "gone" : "refused";
}

void hp_target_fail(struct hp_output *output, struct hp_target *target, const struct hp_err *err,
                    const struct hp_remote_result *result, const char *truth)
{
	char message[sizeof(err->text) + 200];

	target->status = hp_output_status(err->code);
	if (!truth)
		truth = target->status == HP_EXIT_GONE ? "nothing was changed"
		                                       : "nothing was changed; the process runs on";
	snprintf(message, sizeof(message), "%s; %s", err->text, truth);
	fflush(stdout);
	if (!output->json)
		fprintf(stderr, "hotpatch %s: process %d%s%s%s: %s\n", output->command->name, (int)target->pid,
		        target->name[0] ? " (" : "", target->name, target->name[0] ? ")" : "", message);
	json_object_set_new(target->json, "status", json_string(status_name(target->status)));
	json_object_set_new(target->json, "error",
	                    json_pack("{s:s?, s:s}", "code", hotpatch_code_name(err->code), "message", message));
	hp_target_tell_blockers(output, target, result);
}

/* -- Connecting ------------------------------------------------------------------------------------------------ */

static bool is_there(const struct hp_target *target)
{
	return kill(target->pid, 0) == 0 || errno != ESRCH;
}

/* The program goes on as it was, but for one thread more. */
static int put_agent(struct hp_output *output, struct hp_target *target, struct hp_err *err)
{
	char library[PATH_MAX];
	struct hp_attach_options options = {.library = library};
	struct hp_attached attached = {0};
	int r = hp_runtime_find(library, sizeof(library), err);

	if (r == 0)
		r = hp_attach(target->pid, &options, &attached, err);
	if (r < 0)
		return r;
	hp_output_text(output, "%d: has an agent now; thread %d was stopped for %.1f ms", (int)target->pid,
	               (int)attached.thread, attached.stopped);
	json_object_set_new(target->json, "stopped_ms", json_real(attached.stopped));
	return 0;
}

bool hp_target_connect(struct hp_output *output, const struct hp_choice *choice, struct hp_target *target)
{
	struct hp_err err = {0};
	int r = 0;

	if (!is_there(target))
		r = hp_err_set(&err, HOTPATCH_EGONE, "there is no such process");
	else
		r = hp_remote_open(target->pid, CONNECT_MS, &target->remote, &err);
	if (r == HOTPATCH_ENOFILE && choice->attach && (r = put_agent(output, target, &err)) == 0)
		r = hp_remote_open(target->pid, CONNECT_MS, &target->remote, &err);
	if (r == 0)
		return true;
	target->remote = NULL;
	hp_target_fail(output, target, &err, NULL, NULL);
	return false;
}
