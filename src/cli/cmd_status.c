/* status - how it stands in running processes: the runtime, and of each patch whether old code still runs. */
#include <stdio.h>
#include <string.h>

#include "cli/survey.h"
#include "remote/place.h"
#include "remote/view.h"

static void tell_runtime(struct hp_output *output, struct hp_target *target, const struct hp_view *view)
{
	const struct hp_remote_hello *hello = hp_remote_hello(target->remote);
	const char *how = hello->by_run ? "started by run" : "attached, or served by the program";
	size_t live = 0, aside = 0;
	char since[64];

	for (size_t i = 0; i < view->patches.n; i++) {
		live += view->patches.v[i].live;
		aside += view->patches.v[i].aside;
	}
	hp_survey_time(hello->started, since, sizeof(since));
	hp_output_text(output, "%d%s%s%s: hotpatch %s, %s, since %s; %zu patch%s in force, %zu set aside, %zu reverted",
	               (int)target->pid, target->name[0] ? " (" : "", target->name, target->name[0] ? ")" : "",
	               hello->version, how, since, live, live == 1 ? "" : "es", aside, view->patches.n - live - aside);
	json_object_set_new(target->json, "version", json_string(hello->version));
	json_object_set_new(target->json, "agent", json_string(how));
	json_object_set_new(target->json, "since", json_integer((json_int_t)hello->started));
	json_object_set_new(target->json, "live", json_integer((json_int_t)live));
	json_object_set_new(target->json, "reverted", json_integer((json_int_t)(view->patches.n - live - aside)));
	json_object_set_new(target->json, "aside", json_integer((json_int_t)aside));
}

/* The memory of a reverted patch, and why it is still there. */
static void tell_kept(struct hp_output *output, const struct hp_remote_patch *patch, struct hp_places *places,
                      json_t *row)
{
	uint64_t size = 0;
	char where[512] = "";

	if (patch->live || patch->aside)
		return;
	for (size_t i = 0; i < patch->n_regions; i++)
		size += patch->regions[i].size;
	if (patch->address) {
		char what[256];
		hp_places_say(places, patch->target, false, what, sizeof(what));
		snprintf(where, sizeof(where), " (at %#llx in %s, to %s)", (unsigned long long)patch->address,
		         patch->place, what);
	}
	hp_output_text(output, "  patch '%s' is reverted; its %llu KiB are kept: %s%s", patch->name,
	               (unsigned long long)(size + 1023) / 1024, *patch->reason ? patch->reason : "not looked at yet",
	               where);
	json_object_set_new(row, "kept",
	                    json_pack("{s:I, s:s, s:s, s:I, s:I}", "bytes", (json_int_t)size, "reason", patch->reason,
	                              "place", patch->place, "address", (json_int_t)patch->address, "target",
	                              (json_int_t)patch->target));
}

/* An old definition that somebody still runs is worth a line; that of a reverted patch, too. */
static int tell_patch(struct hp_output *output, struct hp_target *target, const struct hp_remote_patch *patch,
                      struct hp_places *places, json_t *list, struct hp_err *err)
{
	struct hp_remote_result result = {0};
	int r = hp_remote_status(target->remote, patch->id, 0, &result, err);

	if (r == 0) {
		json_t *row = json_pack("{s:s, s:I, s:s, s:b, s:i}", "name", patch->name, "id", (json_int_t)patch->id,
		                        "state",
		                        patch->live    ? "live"
		                        : patch->aside ? "aside"
		                                       : "reverted",
		                        "left", (int)result.left, "blockers", (int)result.n_blockers);
		if (patch->aside)
			hp_output_text(output, "  patch '%s' is set aside: 'hotpatch use' puts it back", patch->name);
		else if (patch->live)
			hp_output_text(output, "  patch '%s' is in force%s", patch->name,
			               result.left ? "" : "; what it replaced is still run");
		else if (!result.left)
			hp_output_text(output, "  patch '%s' is reverted; its code is still run", patch->name);
		tell_kept(output, patch, places, row);
		json_array_append_new(list, row);
		if (!result.left)
			hp_target_tell_blockers(output, target, &result);
	}
	hp_remote_result_free(&result);
	return r;
}

/* What is to come, and who has to stay for it. */
static int tell_waits(struct hp_output *output, struct hp_target *target, struct hp_err *err)
{
	struct hp_remote_waits waits = {0};
	json_t *list = json_array();
	int r = hp_remote_wait(target->remote, NULL, &waits, err);

	for (size_t i = 0; i < waits.n; i++) {
		hp_output_text(output, "  %s (process %d applies it then)", waits.v[i].text, (int)waits.v[i].pid);
		json_array_append_new(list,
		                      json_pack("{s:s, s:i}", "text", waits.v[i].text, "by", (int)waits.v[i].pid));
	}
	json_object_set_new(target->json, "waiting", list);
	hp_remote_waits_free(&waits);
	return r;
}

/* Threads that a watch keeps (agent/crashes.h). */
static int tell_crashes(struct hp_output *output, struct hp_target *target, struct hp_places *places,
                        struct hp_err *err)
{
	struct hp_remote_crashes crashes;
	int r = hp_remote_crashes(target->remote, &crashes, err);
	json_t *list = json_array();

	for (size_t i = 0; r == 0 && i < crashes.n; i++) {
		const struct hp_remote_crash *crash = &crashes.v[i];
		const char *signal = sigabbrev_np(crash->signo);
		char where[256] = "";
		for (size_t k = 0; k < crash->n_frames && !*where; k++)
			if (*crash->frames[k].patch)
				hp_places_say(places, crash->frames[k].address, k > 0, where, sizeof(where));
		hp_output_text(
			output,
			"  thread %d '%s' has crashed in %s with SIG%s, and is kept; calls of what '%s' changed %s",
			crash->tid, crash->name, where, signal ? signal : "?", crash->patch,
			crashes.are_calls_held ? "wait" : "go on");
		json_array_append_new(list,
		                      json_pack("{s:i, s:s, s:i, s:s, s:s}", "tid", crash->tid, "thread", crash->name,
		                                "signal", crash->signo, "patch", crash->patch, "where", where));
	}
	json_object_set_new(target->json, "crashes", list);
	if (r == 0)
		hp_remote_crashes_free(&crashes);
	return r;
}

static int tell(struct hp_output *output, struct hp_target *target, struct hp_err *err)
{
	struct hp_view *view = NULL;
	struct hp_places *places = hp_places_new(target->remote);
	json_t *list = json_array();
	int r = hp_view_open(target->remote, NULL, &view, err);

	json_object_set_new(target->json, "patches", list);
	if (r == 0)
		tell_runtime(output, target, view);
	for (size_t i = 0; r == 0 && i < view->patches.n; i++)
		r = tell_patch(output, target, &view->patches.v[i], places, list, err);
	if (r == 0)
		r = tell_crashes(output, target, places, err);
	if (r == 0)
		r = tell_waits(output, target, err);
	hp_view_close(view);
	hp_places_free(places);
	return r;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	return hp_survey_run(command, argc, argv, tell);
}

const struct hp_command hp_cmd_status = {
	.name = "status",
	.summary = "say how it stands in running processes, and where old code still runs",
	.arguments = "[PID... | --name NAME | --all] [OPTION...]",
	.help = "  --name NAME       all processes whose program is called NAME\n"
		"  --all             all processes that have an agent; what is meant where none is named\n",
	.run = run,
};
