#include "cli/later.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_MS = 10 }; /* between two questions: what a library runs as it was, at most, before it is noticed */

static void say_absent(const struct hp_patchfile *file, const struct hp_link_report *report, char *text, size_t room)
{
	snprintf(text, room, "'%.80s' waits for a library with '%.80s'", file->name, report->absent);
	if (report->n_absent > 1)
		snprintf(text, room, "'%.80s' waits for libraries with '%.80s' and %zu more", file->name,
		         report->absent, report->n_absent - 1);
}

void hp_later_tell(struct hp_output *output, const struct hp_patchfile *file, struct hp_later *later,
                   const struct hp_link_report *report)
{
	struct hp_remote_waits waits = {0};
	struct hp_err ignored;
	char text[256] = "";

	later->n_absent = report->n_absent;
	if (report->n_absent) {
		say_absent(file, report, text, sizeof(text));
		hp_output_text(output, "%d: %s", (int)later->target->pid, text);
		fflush(stdout);
	}
	if (hp_remote_wait(later->target->remote, text, &waits, &ignored) == 0)
		hp_remote_waits_free(&waits);
	json_object_set_new(later->target->json, "waiting", json_integer((json_int_t)report->n_absent));
}

/* What may be otherwise the next time. */
static bool is_passing(int code)
{
	return code == HOTPATCH_EBUSY || code == HOTPATCH_ETIMEDOUT || code == HOTPATCH_ESTATE;
}

static int commit(struct hp_later *later, struct hp_link *link, struct hp_remote_result *result, struct hp_err *err)
{
	int r = hp_link_commit(link, result, err);

	if (r == 0 || result->live)
		later->patch = result->patch;
	return result->live ? 0 : r;
}

/* Something was loaded: more of the patch may be there. */
static int try_again(struct hp_output *output, const struct hp_patchfile *file, struct hp_link_options options,
                     struct hp_later *later, struct hp_err *err)
{
	struct hp_remote_result result = {0};
	struct hp_link_report report = {0};
	struct hp_link *link = NULL;

	options.later = true;
	options.instead = later->patch;
	int r = hp_link_prepare(later->target->remote, file, &options, &link, &result, err);
	if (r == 0)
		hp_link_tell(link, &report);
	if (r == 0 && report.n_absent < later->n_absent) {
		hp_remote_result_free(&result);
		r = commit(later, link, &result, err);
		if (r == 0) {
			hp_output_text(output, "%d: '%s' is applied to what was loaded: %zu functions in %.1f ms",
			               (int)later->target->pid, file->name, report.n_functions,
			               (double)result.ns / 1e6);
			json_object_set_new(later->target->json, "functions",
			                    json_integer((json_int_t)report.n_functions));
			json_object_set_new(later->target->json, "id", json_integer((json_int_t)result.patch));
			hp_later_tell(output, file, later, &report);
		}
	}
	hp_remote_result_free(&result);
	hp_link_free(link);
	return r;
}

static void give_up(struct hp_output *output, struct hp_later *later, const struct hp_err *err)
{
	later->is_over = true;
	hp_target_fail(output, later->target, err, NULL,
	               later->patch ? "what was applied before stays in force" : hp_target_truth(later->target));
}

static void look(struct hp_output *output, const struct hp_patchfile *file, const struct hp_link_options *options,
                 struct hp_later *later)
{
	struct hp_remote_waits waits = {0};
	struct hp_err err = {0};
	int r = hp_remote_wait(later->target->remote, NULL, &waits, &err);
	uint64_t loads = waits.loads;

	hp_remote_waits_free(&waits);
	if (r == 0 && loads == later->loads)
		return;
	if (r == 0)
		r = try_again(output, file, *options, later, &err);
	if (r == 0 || !is_passing(r))
		later->loads = loads;
	if (r < 0 && !is_passing(r))
		give_up(output, later, &err);
	later->is_over |= later->n_absent == 0;
}

void hp_later_wait(struct hp_output *output, const struct hp_patchfile *file, const struct hp_link_options *options,
                   struct hp_later *list, size_t n)
{
	for (size_t left = n; left > 0;) {
		struct timespec pause = {0, LOOK_MS * 1000000L};
		nanosleep(&pause, NULL);
		left = 0;
		for (size_t i = 0; i < n; i++) {
			if (!list[i].is_over)
				look(output, file, options, &list[i]);
			left += !list[i].is_over;
		}
	}
}
