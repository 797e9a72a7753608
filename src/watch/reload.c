#include "watch/reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/patchwriter.h"
#include "make/pack.h"
#include "make/rules.h"
#include "remote/link.h"
#include "types/array.h"
#include "watch/clock.h"

enum { DRAIN_MS = 1 };

struct run {
	struct hp_units *units;
	struct hp_watched *watched;
	const struct hp_reload_options *options;
	struct hp_reload *reload;
	struct hp_findings findings; /* of the step */
	struct hp_make_unit *packed; /* borrowed from units */
	size_t n_packed;
	struct hp_generations generations;
	struct hp_err *err;
};

static int no_memory(const struct run *run)
{
	return hp_err_set(run->err, HOTPATCH_ENOMEM, "no memory for another generation");
}

/* -- Names ----------------------------------------------------------------------------------------------------- */

static bool is_told(const struct hp_names_told *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->v[i], name) == 0)
			return true;
	return false;
}

/* Each is told once. */
static int tell(const struct run *run, struct hp_names_told *names, const char *name)
{
	if (is_told(names, name))
		return 0;
	char **v = hp_array_grow(names->v, names->n, sizeof(*v)), *copy = strdup(name);
	if (v)
		names->v = v;
	if (!v || !copy) {
		free(copy);
		return no_memory(run);
	}
	v[names->n++] = copy;
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the names have it */
}

void hp_names_told_free(struct hp_names_told *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->v[i]);
	free(names->v);
	*names = (struct hp_names_told){0};
}

void hp_reload_free(struct hp_reload *reload)
{
	hp_names_told_free(&reload->files);
	hp_names_told_free(&reload->changed);
	hp_names_told_free(&reload->fresh);
	hp_names_told_free(&reload->removed);
	hp_names_told_free(&reload->kept);
	hp_names_told_free(&reload->initialisers);
	hp_remote_result_free(&reload->result);
}

/* -- The step -------------------------------------------------------------------------------------------------- */

static int tell_finding(const struct run *run, const struct hp_finding *finding)
{
	struct hp_reload *reload = run->reload;

	switch (finding->kind) {
	case HP_FOUND_CHANGED:
		return tell(run, &reload->changed, finding->name);
	case HP_FOUND_NEW_FUNCTION:
		return tell(run, &reload->fresh, finding->name);
	case HP_FOUND_REMOVED:
		return tell(run, &reload->removed, finding->name);
	case HP_FOUND_KEPT:
		return tell(run, &reload->initialisers, finding->name);
	default:
		return 0;
	}
}

/* Of which functions the difference between two objects tells. */
enum step_kind {
	STEP_ALL,
	STEP_PART,   /* the second object is a part */
	STEP_EDITS,  /* the first one is: those in it */
	STEP_OTHERS, /* all but those */
};

static int step_limit(const struct run *run, const struct hp_source *unit, struct hp_make_unit *made,
                      enum step_kind kind)
{
	const struct hp_part *part = &unit->part;
	bool (*limit)(struct hp_diff *, char *const *, size_t) =
		part->is_optimised ? hp_diff_limit_copies : hp_diff_limit;

	if (kind != STEP_PART || limit(made->diff, part->edits, part->n_edits))
		return 0;
	return hp_err_set(run->err, HOTPATCH_EREFUSED,
	                  "'%s' uses a function or a variable now that the program does not have",
	                  unit->compile->source);
}

static bool is_meant(const struct hp_source *unit, const struct hp_finding *finding, enum step_kind kind)
{
	if (kind != STEP_EDITS && kind != STEP_OTHERS)
		return true;
	return (finding->kind == HP_FOUND_CHANGED || finding->kind == HP_FOUND_NEW_FUNCTION) &&
	       hp_part_has_edit(&unit->part, finding->name) == (kind == STEP_EDITS);
}

/* Objects of one unit compared; plain is NULL for what is only told. */
static int compare_objects(const struct run *run, struct hp_source *unit, const char *plain_path, const char *old_path,
                           const char *new_path, struct hp_make_unit *ret_made)
{
	struct hp_atoms *old_atoms = NULL, *new_atoms = NULL;
	struct hp_object *plain = NULL;
	int r = plain_path ? hp_objects_plain(&unit->read, plain_path, &plain, run->err) : 0;

	if (r == 0)
		r = hp_objects_atoms(&unit->read, old_path, NULL, &old_atoms, run->err);
	if (r == 0)
		r = hp_objects_atoms(&unit->read, new_path, old_atoms, &new_atoms, run->err);
	if (r == 0)
		return hp_unit_of_atoms(unit->base, plain, old_atoms, new_atoms, ret_made, run->err);
	hp_object_free(plain);
	hp_atoms_free(old_atoms);
	hp_atoms_free(new_atoms);
	return r;
}

static int step_between(struct run *run, struct hp_source *unit, const char *before, const char *now,
                        enum step_kind kind)
{
	const struct hp_make_options none = {.name = "step"};
	struct hp_findings findings = {0};
	struct hp_make_unit made = {0};
	int r = compare_objects(run, unit, NULL, before, now, &made);

	if (r < 0)
		return r;
	r = step_limit(run, unit, &made, kind);
	if (r == 0)
		r = hp_select(&made, &none, &findings, run->err);
	for (size_t i = 0; i < findings.count && r == 0; i++)
		if (is_meant(unit, &findings.items[i], kind))
			r = tell_finding(run, &findings.items[i]);
	hp_findings_free(&findings);
	hp_unit_free(&made);
	return r;
}

/* The whole against the part that was applied before it: the functions of the part are compared with it, and all others
 * are to be as they were at the start. */
static int step_from_part(struct run *run, struct hp_source *unit)
{
	int r = step_between(run, unit, unit->part.object, unit->object, STEP_EDITS);

	if (r == 0)
		r = step_between(run, unit, unit->old, unit->object, STEP_OTHERS);
	run->reload->is_corrected = run->options->is_correction;
	return r;
}

/* What differs from the generation before, by name. */
static int step_unit(struct run *run, struct hp_source *unit)
{
	const char *before = unit->applied ? unit->applied : unit->old;
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the names have it */
	int r = tell(run, &run->reload->files, unit->compile->source);

	run->reload->is_part |= unit->is_part;
	if (r == 0 && unit->part.is_applied && !unit->is_part)
		return step_from_part(run, unit);
	return r < 0 ? r : step_between(run, unit, before, hp_unit_object(unit), unit->is_part ? STEP_PART : STEP_ALL);
}

static int take_step(struct run *run)
{
	int r = 0;

	for (size_t i = 0; i < run->units->n && r == 0; i++)
		if (run->units->v[i]->is_fresh)
			r = step_unit(run, run->units->v[i]);
	return r;
}

static bool has_step(const struct hp_reload *reload)
{
	return reload->changed.n || reload->fresh.n;
}

/* -- The whole ------------------------------------------------------------------------------------------------- */

static int compare_unit(struct run *run, struct hp_source *unit)
{
	if (unit->is_made)
		return 0;
	int r = compare_objects(run, unit, unit->plain, unit->old, hp_unit_object(unit), &unit->made);
	unit->is_made = r == 0;
	if (r == 0)
		r = step_limit(run, unit, &unit->made, unit->is_part ? STEP_PART : STEP_ALL);
	return r;
}

static bool has_change(const struct hp_findings *findings, size_t from)
{
	for (size_t i = from; i < findings->count; i++)
		if (findings->items[i].kind == HP_FOUND_CHANGED || findings->items[i].kind == HP_FOUND_NEW_FUNCTION)
			return true;
	return false;
}

static bool is_change(const struct hp_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		if (findings->items[i].kind == HP_FOUND_CHANGED)
			return true;
	return false;
}

/* What was chosen for the generation before may be chosen again. */
static int choose_in_unit(struct run *run, struct hp_source *unit, const struct hp_make_options *options)
{
	size_t before = run->findings.count;
	int r = compare_unit(run, unit);

	if (r < 0)
		return r;
	free(unit->made.packed);
	free(unit->made.whole);
	unit->made.packed = unit->made.whole = NULL;
	r = hp_select(&unit->made, options, &run->findings, run->err);
	if (r == 0)
		r = hp_rules_check(&unit->made, options, &run->findings, run->err);
	if (r == 0 && has_change(&run->findings, before))
		run->packed[run->n_packed++] = unit->made;
	return r;
}

static int choose(struct run *run, const struct hp_make_options *options)
{
	int r = 0;

	run->packed = calloc(run->units->n + 1, sizeof(*run->packed));
	if (!run->packed)
		return no_memory(run);
	for (size_t i = 0; i < run->units->n && r == 0; i++)
		if (hp_unit_object(run->units->v[i]))
			r = choose_in_unit(run, run->units->v[i], options);
	return r;
}

/* -- The program ----------------------------------------------------------------------------------------------- */

/* Live variables that the new code works on. */
static int tell_kept(const struct run *run, const struct hp_patchfile *file)
{
	int r = 0;

	for (size_t i = 0; i < file->n_bindings && r == 0; i++) {
		const struct hp_patch_binding *binding = &file->bindings[i];
		bool is_variable = binding->kind == HP_PATCH_VARIABLE || binding->kind == HP_PATCH_THREAD_LOCAL;
		if (is_variable && !(binding->flags & HP_BINDING_CONSTANT))
			r = tell(run, &run->reload->kept, binding->scope);
	}
	return r;
}

void hp_reload_stuck(const struct hp_reload *reload, struct hp_names_told *names)
{
	const struct run run = {0};

	hp_names_told_free(names);
	for (size_t i = 0; i < reload->result.n_blockers; i++)
		if (tell(&run, names, reload->result.blockers[i].function) < 0)
			return; /* they are waited for, that is all */
}

/* The initialisers of the step are not applied where they differ from those of the start too. */
static void leave_out_applied(struct run *run)
{
	struct hp_names_told *names = &run->reload->initialisers;
	size_t n = 0;

	for (size_t i = 0; i < names->n; i++) {
		bool is_kept = false;
		for (size_t k = 0; k < run->findings.count && !is_kept; k++)
			is_kept = run->findings.items[k].kind == HP_FOUND_KEPT &&
			          strcmp(run->findings.items[k].name, names->v[i]) == 0;
		if (is_kept)
			names->v[n++] = names->v[i];
		else
			free(names->v[i]);
	}
	names->n = n;
}

/* A thread that stayed in a function a moment ago (a main loop) stays there. */
static bool is_stuck(const struct run *run, const struct hp_patchfile *file)
{
	for (size_t i = 0; i < file->n_changes; i++)
		if (is_told(run->options->stuck, file->changes[i].name))
			return true;
	return false;
}

/* All at one instant, where nobody stays in old code; else new calls take the new one, and who is inside goes on. */
static int commit(struct run *run, struct hp_link *link)
{
	int r = hp_link_commit(link, &run->reload->result, run->err);

	if (hp_generations_is_in_use(r) && !run->options->patience.is_strict &&
	    !hp_remote_is_broken(run->watched->remote)) {
		hp_remote_result_free(&run->reload->result);
		hp_link_set_mode(link, HOTPATCH_DRAIN, DRAIN_MS);
		r = hp_link_commit(link, &run->reload->result, run->err);
	}
	return r == HOTPATCH_EINPROGRESS && run->reload->result.live ? 0 : r;
}

static void keep_lines(const struct run *run, const struct hp_link *link)
{
	const uint8_t *bytes;
	size_t size;

	for (size_t part = 0; hp_link_symfile(link, part, &bytes, &size); part++)
		hp_lines_add(run->options->lines, bytes, size);
}

static int link_file(struct run *run, const struct hp_patchfile *file)
{
	struct hp_link_options options = {.mode = HOTPATCH_WAIT,
	                                  .timeout_ms = run->options->patience.wait_ms,
	                                  .aside = true};
	struct hp_remote_result result = {0};
	struct hp_link *link = NULL;
	double began = hp_clock_ms();
	int r = hp_link_prepare(run->watched->remote, file, &options, &link, &result, run->err);

	run->reload->prepare_ms = hp_clock_ms() - began;
	hp_remote_result_free(&result);
	if (r == 0 && !run->options->patience.is_strict && is_stuck(run, file))
		hp_link_set_mode(link, HOTPATCH_DRAIN, DRAIN_MS);
	if (r == 0)
		r = commit(run, link);
	run->reload->commit_ms = hp_clock_ms() - began - run->reload->prepare_ms;
	if (r == 0) {
		keep_lines(run, link);
		r = tell_kept(run, file);
	}
	hp_link_free(link);
	return r;
}

/* What may fail without harm. */
static void tidy(struct run *run, const uint8_t *bytes, size_t size)
{
	const char *path = run->options->patch_file;
	struct hp_err ignored;

	(void)!hp_generations_thin(run->watched->remote, &ignored);
	run->reload->is_unkept = path && hp_patchwriter_save(path, bytes, size, &ignored) < 0;
}

static int apply(struct run *run, const struct hp_make_options *options)
{
	double began = hp_clock_ms();
	struct hp_patchfile *file = NULL;
	uint8_t *bytes = NULL;
	size_t size;
	int r = hp_pack(run->packed, run->n_packed, options, &run->findings, &bytes, &size, run->err);

	if (r == 0)
		r = hp_patchfile_parse(bytes, size, options->name, &file, run->err);
	run->reload->pack_ms = hp_clock_ms() - began;
	if (r == 0)
		r = link_file(run, file);
	if (r == 0)
		tidy(run, bytes, size);
	free(bytes);
	hp_patchfile_free(file);
	run->reload->kind = HP_RELOAD_APPLIED;
	return r;
}

static int go_back(struct run *run)
{
	double began = hp_clock_ms();
	int r = hp_generations_use(run->watched->remote, &run->generations, 0, &run->options->patience,
	                           &run->reload->result, run->err);

	run->reload->kind = HP_RELOAD_ORIGINAL;
	run->reload->commit_ms = hp_clock_ms() - began;
	return r;
}

/* Somebody has gone back, or forth, or has watched before: the step is not what changes in the program. */
static bool is_elsewhere(const struct run *run)
{
	return run->generations.current != run->options->last;
}

static int tell_whole(const struct run *run)
{
	int r = 0;

	for (size_t i = 0; i < run->findings.count && r == 0; i++)
		r = tell_finding(run, &run->findings.items[i]);
	return r;
}

static const char *name_in_force(const struct run *run)
{
	for (size_t i = 0; i < run->generations.n; i++)
		if (run->generations.v[i].number == run->generations.current)
			return run->generations.v[i].name;
	return NULL;
}

static int carry_out(struct run *run)
{
	char name[32];
	const char *replaced = name_in_force(run);
	struct hp_make_options options = {
		.name = name,
		.description = "made by hotpatch watch",
		.replaces = &replaced,
		.n_replaces = replaced != NULL,
	};
	double began = hp_clock_ms();
	int r = choose(run, &options);

	run->reload->number = run->generations.last + 1;
	snprintf(name, sizeof(name), "watch.%u", run->reload->number);
	run->reload->compare_ms += hp_clock_ms() - began;
	if (r == 0 && is_elsewhere(run))
		r = tell_whole(run);
	if (r < 0)
		return r;
	leave_out_applied(run);
	if (is_change(&run->findings))
		return apply(run, &options);
	if (replaced)
		return go_back(run);
	run->reload->kind = HP_RELOAD_NOTHING;
	return 0;
}

/* -- What is behind us ----------------------------------------------------------------------------------------- */

static void settle(struct hp_units *units)
{
	for (size_t i = 0; i < units->n; i++) {
		struct hp_source *unit = units->v[i];
		unit->is_fresh = false;
		unit->part.is_applied = unit->is_part;
		if (unit->is_part)
			continue;
		hp_unit_remove_part(unit);
		if (!unit->object || unit->applied == unit->object)
			continue;
		hp_unit_remove_object(unit, &unit->applied);
		unit->applied = unit->object;
	}
}

/* The next part of it is made of what differs from the base. */
static void know_large(const struct run *run)
{
	struct hp_err ignored;
	struct run quiet = *run;

	quiet.err = &ignored;
	for (size_t i = 0; i < run->units->n; i++) {
		struct hp_source *unit = run->units->v[i];
		if (unit->is_fresh && !unit->is_part && unit->ms > HP_PART_WORTH_MS)
			(void)!compare_unit(&quiet, unit);
	}
}

/* Who has undone what was applied in part does not get the whole of it instead. */
static bool is_to_be_applied(const struct run *run)
{
	if (run->options->is_correction)
		return has_step(run->reload) && !is_elsewhere(run);
	return has_step(run->reload) || is_elsewhere(run);
}

/* What was compared before there were objects. */
static double compare_texts_ms(const struct hp_units *units)
{
	double ms = 0;

	for (size_t i = 0; i < units->n; i++)
		if (units->v[i]->is_fresh && units->v[i]->is_part)
			ms += units->v[i]->part.compare_ms;
	return ms;
}

void hp_reload_run(struct hp_units *units, struct hp_watched *watched, const struct hp_reload_options *options,
                   struct hp_reload *ret_reload)
{
	struct run run = {
		.units = units,
		.watched = watched,
		.options = options,
		.reload = ret_reload,
		.err = &ret_reload->err,
	};
	*ret_reload = (struct hp_reload){.kind = HP_RELOAD_NOTHING};
	double began = hp_clock_ms();
	int r = take_step(&run);

	ret_reload->compare_ms = hp_clock_ms() - began + compare_texts_ms(units);
	if (r == 0)
		r = hp_watched_connect(watched, run.err);
	if (r == 0)
		r = hp_generations_read(watched->remote, &run.generations, run.err);
	if (r == 0 && is_to_be_applied(&run))
		r = carry_out(&run);
	else if (r == 0)
		know_large(&run);
	if (r < 0)
		ret_reload->kind = HP_RELOAD_REFUSED;
	else
		settle(units);
	hp_findings_free(&run.findings);
	hp_generations_free(&run.generations);
	free(run.packed);
}
