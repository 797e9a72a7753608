#include "watch/builds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch/clock.h"

enum { NEW, OLD, PLAIN, RULE, TEXT, PART };

static int no_memory(const struct hp_source *unit, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to compile '%s'", unit->compile->source);
}

/* -- Starting -------------------------------------------------------------------------------------------------- */

static int want(struct hp_builds *builds, const struct hp_source *unit, int number, enum hp_variant variant,
                const char *view, const char *output, bool is_idle, struct hp_err *err)
{
	bool is_new = number == NEW || number == TEXT;
	const struct hp_compile *compile = is_new ? unit->compile : unit->base;
	struct hp_words words = {0};
	char *folder = NULL;
	int r = hp_command_make(compile, variant, view, output, number != NEW, &words, err);

	if (r < 0)
		return r;
	bool ok = asprintf(&folder, "%s%s", view ? view : "", compile->folder) >= 0;
	if (ok && number == NEW && builds->has_colours)
		ok = hp_words_add(&words, "-fdiagnostics-color=always");
	if (ok && number == RULE)
		ok = hp_words_add(&words, "-MF") && hp_words_add(&words, output);
	if (!ok) {
		free(folder);
		hp_words_free(&words);
		return no_memory(unit, err);
	}
	r = hp_jobs_want(builds->jobs, unit, number, words, folder, output, is_idle, err);
	free(folder);
	return r;
}

static char *output_path(struct hp_builds *builds, const char *kind)
{
	char name[64];

	snprintf(name, sizeof(name), "%u-%s", builds->count++, kind);
	return hp_workspace_path(&builds->texts->workspace, name);
}

/* What the program does not have was an empty file. */
static int start_base(struct hp_builds *builds, struct hp_source *unit, struct hp_err *err)
{
	const char *view = builds->texts->view;
	int r = 0;

	if (unit->state != HP_BASE_NONE)
		return 0;
	unit->plain = unit->plain ? unit->plain : output_path(builds, "plain.o");
	unit->old = unit->old ? unit->old : output_path(builds, "old.o");
	if (!unit->plain || !unit->old)
		return no_memory(unit, err);
	if (unit->is_new && !hp_texts_has_root(builds->texts, unit->base->path))
		return hp_err_set(err, HOTPATCH_EREFUSED,
		                  "'%s' is new and lies beside the folders that were there when watching began",
		                  unit->base->path);
	if (unit->is_new)
		r = hp_view_write(view, unit->base->path, "", 0, err);
	if (r == 0)
		r = want(builds, unit, OLD, HP_VARIANT_SECTIONED, view, unit->old, false, err);
	if (r == 0)
		r = want(builds, unit, PLAIN, HP_VARIANT_PLAIN, view, unit->plain, false, err);
	if (r == 0)
		unit->state = HP_BASE_COMPILING;
	return r;
}

/* -- Parts ----------------------------------------------------------------------------------------------------- */

static int start_text(struct hp_builds *builds, const struct hp_source *unit, bool is_idle, struct hp_err *err)
{
	char *output = output_path(builds, "text.i");
	int r = output ? want(builds, unit, TEXT, HP_VARIANT_TEXT, NULL, output, is_idle, err) : no_memory(unit, err);

	free(output);
	return r;
}

static bool is_worth_a_part(const struct hp_builds *builds, struct hp_source *unit)
{
	unit->part.why = hp_part_unfit(unit->compile);
	if (!unit->part.why && unit->base != unit->compile)
		unit->part.why = hp_part_unfit(unit->base);
	return builds->has_parts && !unit->part.why && unit->ms > HP_PART_WORTH_MS;
}

/* Parts are of one unit that alone is saved: what belongs together in several is applied together. */
static bool is_alone(const struct hp_builds *builds, const struct hp_source *unit)
{
	if (hp_jobs_count(builds->jobs))
		return false;
	for (size_t i = 0; i < builds->units->n; i++) {
		const struct hp_source *other = builds->units->v[i];
		if (other != unit && (other->is_dirty || other->is_fresh || other->is_failed))
			return false;
	}
	return true;
}

/* What was saved since, and not compared yet, may be in a text and not in the object. */
static bool is_as_compiled(const struct hp_builds *builds, const struct hp_source *unit)
{
	for (size_t i = 0; i < unit->n_files; i++) {
		const struct hp_source_file *file = &builds->units->files[unit->files[i]];
		if (hp_text_hash(file->path) != file->hash)
			return false;
	}
	return true;
}

static void keep_text(const struct hp_builds *builds, struct hp_source *unit)
{
	bool is_of_object = !unit->is_failed && unit->part.has_now && is_as_compiled(builds, unit);
	hp_part_keep_text(&unit->part, is_of_object ? unit->compile : NULL);
}

/* It is sooner or later without one: what fails here is no failure. */
static void start_part(struct hp_builds *builds, struct hp_source *unit)
{
	struct hp_part *part = &unit->part;
	struct hp_err ignored;

	hp_part_forget_text(part);
	part->is_wanted = false;
	if (!is_worth_a_part(builds, unit))
		return;
	part->is_wanted = is_alone(builds, unit) && !part->object && part->with == unit->compile && unit->is_made &&
	                  unit->state == HP_BASE_READY;
	if (start_text(builds, unit, !part->is_wanted, &ignored) < 0)
		part->is_wanted = false;
}

static int compile_part(struct hp_builds *builds, const struct hp_source *unit, const char *path, struct hp_err *err)
{
	struct hp_compile *compile = hp_part_compile(unit->compile, path);
	struct hp_words words = {0};
	char *output = output_path(builds, "part.o");
	int r = compile && output ? hp_command_make(compile, HP_VARIANT_SECTIONED, NULL, output, true, &words, err)
	                          : no_memory(unit, err);

	if (r == 0)
		r = hp_jobs_want(builds->jobs, unit, PART, words, unit->compile->folder, output, false, err);
	if (compile)
		hp_part_compile_free(compile);
	free(output);
	return r;
}

static void reduce(struct hp_builds *builds, struct hp_source *unit, const char *path)
{
	struct hp_err ignored;
	size_t size = 0;
	unit->part.is_optimised = hp_part_is_optimised(unit->compile) || hp_part_is_optimised(unit->base);
	char *reduced = hp_part_reduce(&unit->part, unit->made.diff, &size);

	/* In the place of the text, whose name the compiler does not tell anybody: markers in it have the source's. */
	FILE *file = reduced ? fopen(path, "we") : NULL;
	bool ok = file && fwrite(reduced, 1, size, file) == size;
	ok = file && fclose(file) == 0 && ok;
	if (!ok || compile_part(builds, unit, path, &ignored) < 0)
		unit->part.is_wanted = false;
	free(reduced);
}

static void take_text(struct hp_builds *builds, struct hp_source *unit, const struct hp_job *job)
{
	struct hp_err ignored;
	double began = hp_clock_ms();
	char *text = NULL;
	size_t size;

	if (job->status != 0 || hp_file_read(job->output, &text, &size, &ignored) < 0 ||
	    hp_part_take_text(&unit->part, text, size, &ignored) < 0)
		unit->part.is_wanted = false;
	unit->part.text_ms = job->ms;
	if (!hp_jobs_has(builds->jobs, unit, NEW))
		keep_text(builds, unit);
	else if (unit->part.is_wanted && unit->is_made)
		reduce(builds, unit, job->output);
	unit->part.compare_ms = hp_clock_ms() - began;
	if (!hp_jobs_has(builds->jobs, unit, PART))
		unlink(job->output);
}

/* One that does not compile is waited for as a whole. */
static void take_part(struct hp_source *unit, const struct hp_job *job)
{
	struct hp_part *part = &unit->part;

	if (job->status != 0) {
		part->why = "what changed does not compile alone";
		unlink(job->output);
		return;
	}
	part->object = strdup(job->output);
	if (!part->object) /* NOLINT(-Wanalyzer-malloc-leak): the part has it */
		return;
	part->ms = job->ms;
	hp_unit_forget_made(unit);
	unit->is_part = unit->is_fresh = true;
}

/* -- The whole ------------------------------------------------------------------------------------------------- */

static void cancel_new(struct hp_builds *builds, struct hp_source *unit)
{
	hp_jobs_cancel(builds->jobs, unit, NEW);
	hp_jobs_cancel(builds->jobs, unit, TEXT);
	hp_jobs_cancel(builds->jobs, unit, PART);
	if (!unit->part.is_applied)
		hp_unit_drop_part(unit);
}

int hp_builds_start(struct hp_builds *builds, struct hp_source *unit, struct hp_err *err)
{
	cancel_new(builds, unit);
	start_part(builds, unit);
	char *output = output_path(builds, "new.o");
	int r = output ? want(builds, unit, NEW, HP_VARIANT_TRACKED, NULL, output, false, err) : no_memory(unit, err);

	free(output);
	if (r == 0)
		r = start_base(builds, unit, err);
	if (r < 0)
		cancel_new(builds, unit);
	unit->is_failed = r < 0;
	unit->is_dirty = unit->is_untold = unit->may_miss = false;
	return r;
}

/* One that cannot be compiled, for link-time optimisation, says so when it is saved. */
static int learn_one(struct hp_builds *builds, struct hp_source *unit, bool is_idle, struct hp_err *err)
{
	char *output = output_path(builds, "rule.d");
	int r = output ? want(builds, unit, RULE, HP_VARIANT_DEPENDS, builds->texts->view, output, is_idle, err)
	               : no_memory(unit, err);

	free(output);
	if (r != HOTPATCH_EREFUSED)
		return r;
	unit->knows_files = true;
	return 0;
}

int hp_builds_learn(struct hp_builds *builds, bool is_idle, struct hp_err *err)
{
	int r = 0;

	for (size_t i = 0; i < builds->units->n && r == 0; i++) {
		struct hp_source *unit = builds->units->v[i];
		if (unit->knows_files)
			continue;
		if (!hp_jobs_has(builds->jobs, unit, RULE))
			r = learn_one(builds, unit, is_idle, err);
		else if (!is_idle)
			hp_jobs_hurry(builds->jobs, unit, RULE);
	}
	return r;
}

bool hp_builds_has(const struct hp_builds *builds, const struct hp_source *unit)
{
	return hp_jobs_has(builds->jobs, unit, NEW) || unit->state == HP_BASE_COMPILING;
}

/* -- What is done ---------------------------------------------------------------------------------------------- */

static void take_object(struct hp_source *unit, const char *path)
{
	char *object = strdup(path);

	if (!object) {
		unit->is_failed = true;
		return;
	}
	if (unit->object != unit->applied)
		hp_unit_remove_object(unit, &unit->object);
	hp_unit_forget_made(unit);
	unit->is_part = false;
	if (!unit->part.is_applied)
		hp_unit_remove_part(unit);
	unit->object = object;
	unit->is_fresh = true; /* NOLINT(-Wanalyzer-malloc-leak): the unit has it */
}

/* In the base's view, or the real tree (NULL) where it took ms until a moment ago. */
static int take_rule(struct hp_builds *builds, struct hp_source *unit, const char *path, const char *view, double ms,
                     struct hp_err *err)
{
	char *rule = NULL;
	size_t size;
	int r = hp_file_read(path, &rule, &size, err);

	if (r == 0)
		r = hp_unit_takes_rule(builds->units, unit, rule, view, ms, err);
	if (r == 0)
		unit->knows_files = true;
	unlink(path);
	free(rule);
	return r;
}

static int take_rule_of(struct hp_builds *builds, struct hp_source *unit, const struct hp_job *job, struct hp_err *err)
{
	char *path = NULL;

	if (asprintf(&path, "%s.d", job->output) < 0)
		return no_memory(unit, err);
	int r = take_rule(builds, unit, path, NULL, job->ms, err);
	free(path);
	return r;
}

/* The next save is compared with the text of this object. */
static void take_text_of_whole(struct hp_builds *builds, struct hp_source *unit)
{
	struct hp_err ignored;

	if (unit->part.has_now || !is_worth_a_part(builds, unit))
		keep_text(builds, unit);
	else if (!hp_jobs_has(builds->jobs, unit, TEXT))
		(void)!start_text(builds, unit, true, &ignored);
}

static void take_new(struct hp_builds *builds, struct hp_source *unit, struct hp_job *job, struct hp_err *err)
{
	struct hp_err ignored;

	free(unit->said);
	unit->said = job->said;
	job->said = NULL;
	unit->is_untold = true;
	unit->ms = job->ms;
	unit->is_failed = job->status != 0;
	/* Some compilers tell what they have read also where it does not compile; others have nothing to tell then. */
	if (take_rule_of(builds, unit, job, unit->is_failed ? &ignored : err) < 0)
		unit->is_failed = true;
	if (!unit->is_failed)
		take_object(unit, job->output);
	if (unit->is_failed)
		unlink(job->output);
	hp_jobs_cancel(builds->jobs, unit, PART);
	if (!unit->is_failed) {
		take_text_of_whole(builds, unit);
		return;
	}
	hp_part_forget_text(&unit->part);
	if (!unit->part.is_applied)
		hp_unit_drop_part(unit);
}

static void take_base(struct hp_builds *builds, struct hp_source *unit, const struct hp_job *job)
{
	if (job->status != 0) {
		hp_jobs_cancel(builds->jobs, unit, OLD);
		hp_jobs_cancel(builds->jobs, unit, PLAIN);
		unit->state = HP_BASE_FAILED;
	} else if (unit->state == HP_BASE_COMPILING && !hp_jobs_has(builds->jobs, unit, OLD) &&
	           !hp_jobs_has(builds->jobs, unit, PLAIN)) {
		unit->state = HP_BASE_READY;
	}
}

bool hp_builds_take(struct hp_builds *builds, struct hp_source **ret_unit, struct hp_err *err)
{
	struct hp_job job;

	if (!hp_jobs_take(builds->jobs, &job))
		return false;
	struct hp_source *unit = (struct hp_source *)(uintptr_t)job.owner;
	*ret_unit = job.number == NEW || job.number == PART ? unit : NULL;
	*err = (struct hp_err){0};
	if (job.number == NEW)
		take_new(builds, unit, &job, err);
	else if (job.number == TEXT)
		take_text(builds, unit, &job);
	else if (job.number == PART)
		take_part(unit, &job);
	else if (job.number != RULE)
		take_base(builds, unit, &job);
	else if (job.status == 0)
		(void)take_rule(builds, unit, job.output, builds->texts->view, job.ms, err);
	else
		unit->knows_files = true; /* it does not compile: what it has is all there is to know */
	hp_job_free(&job);
	return true;
}
