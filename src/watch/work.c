#include "watch/work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch/clock.h"

enum {
	WAIT_MS = 30,   /* for old code, before calls are let into the new one */
	SAFE_MS = 5000, /* the same at a safe point, before it is refused */
	SPIN_AFTER_MS = 150,
	SPIN_MS = 100,
};

bool hp_work_is_strict(const struct hp_work *w)
{
	return w->mode == HP_WATCH_SAFE_POINT && !w->are_calls_held;
}

void hp_work_say_failure(struct hp_work *w, const struct hp_err *err)
{
	hp_report_say(w->report, "error", json_pack("{s:s?}", "code", hotpatch_code_name(err->code)),
	              "%s; nothing was changed; the process runs on", err->text);
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

/* Those that came since are watched, and compared with what they are taken for. */
static int adopt_files(struct hp_work *w, struct hp_err *err)
{
	int r = 0;

	for (; w->n_adopted < w->units.n_files && r == 0; w->n_adopted++) {
		struct hp_source_file *file = &w->units.files[w->n_adopted];
		r = hp_saves_add(w->saves, file->path, err);
		file->due = 0;
	}
	const char *why = hp_saves_why_polling(w->saves);
	if (r == 0 && why && !w->was_polling)
		hp_report_say(w->report, "polling", NULL, "files are looked at five times a second, because %s", why);
	w->was_polling |= why != NULL;
	return r;
}

static bool has_failed_unit(const struct hp_work *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_failed)
			return true;
	return false;
}

/* What failed may need just this file, which nobody knew of; not what editors leave beside it. */
static bool may_help(const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	return *name != '.' && *name != '#' && hp_text_is_source(name);
}

static bool is_compiling(const struct hp_work *w)
{
	return hp_jobs_count(w->jobs) > 0;
}

static bool is_reading(const struct hp_work *w, const struct hp_source *unit)
{
	return unit == w->taken || hp_builds_has(&w->builds, unit);
}

static bool is_being_read(const struct hp_work *w, size_t file)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (hp_unit_has_file(w->units.v[i], file) && is_reading(w, w->units.v[i]))
			return true;
	return false;
}

/* What came while they were compiled may be what they did not find: they do not always tell what they looked for. */
static void note_missed(struct hp_work *w, size_t file)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (is_reading(w, w->units.v[i]) && (file == HP_NO_FILE || !hp_unit_has_file(w->units.v[i], file)))
			w->units.v[i]->may_miss = true;
}

static void learn(struct hp_work *w, bool is_idle)
{
	struct hp_err err;

	if (hp_builds_learn(&w->builds, is_idle, &err) < 0)
		hp_work_say_failure(w, &err);
}

static void see(void *arg, const char *path, bool is_open)
{
	struct hp_work *w = arg;
	size_t file = hp_units_file(&w->units, path);
	bool is_database = strcmp(path, w->units.database) == 0;

	if (is_database)
		hp_touched_database(&w->touched, is_open);
	else if (file != HP_NO_FILE)
		hp_touched_file(&w->touched, file, is_open, is_being_read(w, file));
	else if (!may_help(path))
		return;
	if (!is_database)
		note_missed(w, file);
	/* A header may be one of units that are not known well yet. */
	if (!is_database && (file == HP_NO_FILE || !w->units.files[file].unit))
		learn(w, false);
	if (has_failed_unit(w))
		hp_touched_failed(&w->touched, is_open ? HP_OPEN_MS : HP_SETTLE_MS);
}

/* -- From saves to compilers ----------------------------------------------------------------------------------- */

static void read_database(struct hp_work *w)
{
	struct hp_err err;
	size_t changed = 0;

	w->touched.database_due = 0;
	if (hp_units_reread(&w->units, &changed, &err) < 0)
		hp_work_say_failure(w, &err);
	else if (changed)
		hp_report_say(w->report, "database", json_pack("{s:i}", "changed", (int)changed),
		              "the database was written: %zu file%s new or compiled otherwise", changed,
		              changed == 1 ? " is" : "s are");
}

static void compile_dirty(struct hp_work *w)
{
	struct hp_err err;

	for (size_t i = 0; i < w->units.n; i++) {
		struct hp_source *unit = w->units.v[i];
		if (!unit->is_dirty)
			continue;
		if (!w->saved_at) {
			w->settled_at = hp_clock_ms();
			w->saved_at = w->touched.first_seen ? w->touched.first_seen : w->settled_at;
		}
		w->has_failed = w->is_correction = false;
		w->waits_since = 0;
		if (hp_builds_start(&w->builds, unit, &err) < 0)
			hp_work_say_failure(w, &err);
	}
}

/* One file that is saved while nothing else is done: its compilers run while it comes to rest. */
static void begin_early(struct hp_work *w)
{
	size_t only = w->saved_at || is_compiling(w) ? HP_NO_FILE : hp_touched_only(&w->touched);

	if (only == HP_NO_FILE)
		return;
	hp_touched_compare(&w->touched, only);
	w->units.files[only].touched = true;
	compile_dirty(w);
}

static void settle(struct hp_work *w)
{
	struct hp_err err;
	double due = hp_touched_rest_at(&w->touched);

	if (!due || due > hp_clock_ms() || !hp_touched_is_at_rest(&w->touched))
		return;
	if (w->touched.database_due)
		read_database(w);
	if (adopt_files(w, &err) < 0)
		hp_work_say_failure(w, &err);
	hp_touched_compare_all(&w->touched);
	compile_dirty(w);
	w->touched.first_seen = 0;
}

/* -- From compilers to the program ----------------------------------------------------------------------------- */

enum { MISSES_MAX = 10 }; /* in a row; then somebody writes without end */

/* It may have failed for a file that has come since. */
static bool is_tried_again(struct hp_work *w, struct hp_source *unit)
{
	if (!unit->is_failed || !unit->may_miss || unit->n_missed++ >= MISSES_MAX)
		return false;
	hp_touched_unit(&w->touched, unit, HP_SETTLE_MS);
	return true;
}

/* What was saved until its compiler was done may have been read by it. */
static void see_behind(struct hp_work *w, const struct hp_source *unit)
{
	w->taken = unit;
	hp_saves_take(w->saves, see, w);
	w->taken = NULL;
}

static void take_builds(struct hp_work *w)
{
	struct hp_source *unit;
	struct hp_err err;

	while (hp_builds_take(&w->builds, &unit, &err)) {
		if (err.code)
			hp_work_say_failure(w, &err);
		if (adopt_files(w, &err) < 0)
			hp_work_say_failure(w, &err);
		if (!unit)
			continue;
		see_behind(w, unit);
		if (unit->is_dirty)
			compile_dirty(w);
		if (is_tried_again(w, unit))
			continue;
		/* The whole of what was applied already: it is compared now, or told of where it failed. */
		if (unit->part.is_applied && (!unit->is_part || unit->is_failed) && !w->saved_at) {
			w->saved_at = w->settled_at = unit->part.saved_at;
			w->is_correction = true;
			w->is_wanted = w->mode == HP_WATCH_MANUAL;
		}
	}
}

/* What compilers said, but for what may have been half a file. */
static void tell_compilers(struct hp_work *w)
{
	for (size_t i = 0; i < w->units.n && !hp_touched_rest_at(&w->touched); i++) {
		struct hp_source *unit = w->units.v[i];
		if (!unit->is_untold)
			continue;
		hp_report_compiler(w->report, unit);
		unit->is_untold = false;
		unit->n_missed = 0;
	}
}

static bool is_waiting(const struct hp_source *unit)
{
	return unit->is_fresh;
}

static bool is_at_fault(const struct hp_source *unit)
{
	return unit->is_failed || (unit->is_fresh && unit->state == HP_BASE_FAILED);
}

/* "a.c, b.c and 7 more"; how many they are. */
static size_t name_units(const struct hp_work *w, bool (*is_meant)(const struct hp_source *unit), char *text,
                         size_t room)
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < w->units.n; i++)
		if (is_meant(w->units.v[i]) && n++ < 4 && at < room)
			at += (size_t)snprintf(text + at, room - at, "%s%s", n > 1 ? ", " : "",
			                       w->units.v[i]->compile->source);
	if (n > 4 && at < room)
		snprintf(text + at, room - at, " and %zu more", n - 4);
	return n;
}

/* The text of the start does not compile: what is in the program is not known. */
static bool has_baseless_unit(const struct hp_work *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh && w->units.v[i]->state == HP_BASE_FAILED)
			return true;
	return false;
}

static void say_failed(struct hp_work *w, const char *what)
{
	char names[600] = "";

	if (w->has_failed)
		return;
	w->has_failed = true;
	name_units(w, is_at_fault, names, sizeof(names));
	hp_report_say(w->report, "failed", json_pack("{s:f}", "ms", hp_clock_ms() - w->saved_at),
	              "%s %s; the process runs on", names, what);
}

static double ms_of(const struct hp_source *unit)
{
	return unit->is_part ? unit->part.text_ms + unit->part.ms : unit->ms;
}

/* Why a large unit was not compiled in part, for --timings. */
static const char *why_whole(const struct hp_work *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh && !w->units.v[i]->is_part && w->units.v[i]->ms > HP_PART_WORTH_MS)
			return w->units.v[i]->part.why;
	return NULL;
}

static double compiler_ms(const struct hp_work *w)
{
	double most = 0;

	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh && ms_of(w->units.v[i]) > most)
			most = ms_of(w->units.v[i]);
	return most;
}

/* What is compiled is no more than the whole of a unit whose part is there; NULL. */
static struct hp_source *unit_with_part(const struct hp_work *w)
{
	if (w->mode != HP_WATCH_AUTO || hp_jobs_count(w->jobs) != 1)
		return NULL;
	for (size_t i = 0; i < w->units.n; i++) {
		struct hp_source *unit = w->units.v[i];
		if (unit->is_fresh && unit->is_part && hp_builds_has(&w->builds, unit))
			return unit;
	}
	return NULL;
}

/* A part that was not applied, for whatever reason, is left to the whole; true: nothing is to be said yet, or never. */
static bool is_passed_over(struct hp_work *w, struct hp_source *part, const struct hp_reload *reload)
{
	if (part && reload->kind != HP_RELOAD_APPLIED && reload->kind != HP_RELOAD_ORIGINAL) {
		hp_unit_drop_part(part);
		part->part.why = reload->kind == HP_RELOAD_REFUSED ? "what changed could not be applied alone"
		                                                   : "what changed alone gives the code there is";
		return true;
	}
	if (part || !reload->is_corrected || reload->kind != HP_RELOAD_NOTHING)
		return false;
	if (w->report->timings)
		hp_report_say(w->report, "compared", json_pack("{s:s}", "file", reload->files.v[0]),
		              "%s, compiled whole, gives %s", reload->files.v[0],
		              reload->changed.n ? "other code than was applied, and has been undone since"
		                                : "the code that was applied");
	return true;
}

/* False: the whole of what was a part is waited for. */
static bool reload(struct hp_work *w, struct hp_source *part)
{
	bool is_strict = hp_work_is_strict(w);
	struct hp_reload_options options = {
		.last = w->generation,
		.patience = {.wait_ms = is_strict ? SAFE_MS : WAIT_MS, .is_strict = is_strict},
		.lines = w->lines,
		.stuck = &w->stuck,
		.patch_file = w->patch_file,
		.is_correction = w->is_correction,
	};
	double waited = w->waits_since ? hp_clock_ms() - w->waits_since : 0;
	struct hp_reload_times times = {.compiler_ms = compiler_ms(w),
	                                .settle_ms = w->settled_at - w->saved_at + waited,
	                                .is_by_key = w->is_by_key,
	                                .why_whole = why_whole(w)};
	struct hp_reload reload;

	hp_reload_run(&w->units, w->watched, &options, &reload);
	times.total_ms = hp_clock_ms() - w->saved_at;
	if (reload.kind == HP_RELOAD_APPLIED || reload.kind == HP_RELOAD_ORIGINAL)
		w->generation = reload.kind == HP_RELOAD_APPLIED ? reload.number : 0;
	bool is_passed = is_passed_over(w, part, &reload);
	if (!is_passed)
		hp_report_reload(w->report, &reload, &times, w->lines, w->watched);
	if (reload.is_unkept)
		hp_report_say(w->report, "error", NULL, "'%s' could not be written; the process has the generation",
		              w->patch_file);
	if (reload.kind == HP_RELOAD_APPLIED)
		hp_reload_stuck(&reload, &w->stuck);
	if (part && !is_passed)
		part->part.saved_at = w->saved_at;
	hp_reload_free(&reload);
	return !part || !is_passed;
}

static void say_waiting(struct hp_work *w)
{
	char names[600] = "";
	size_t n = name_units(w, is_waiting, names, sizeof(names));

	hp_report_say(w->report, "waiting", json_pack("{s:i}", "files", (int)n), "%s %s compiled: r applies %s", names,
	              n == 1 ? "is" : "are", n == 1 ? "it" : "them");
}

static bool has_fresh_unit(const struct hp_work *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh)
			return true;
	return false;
}

/* Nothing is compiled, nothing is touched: what there is holds together. */
static void finish(struct hp_work *w)
{
	struct hp_source *part = unit_with_part(w);

	if (!w->saved_at || (is_compiling(w) && !part))
		return;
	hp_saves_take(w->saves, see, w);
	if (hp_touched_rest_at(&w->touched)) {
		w->waits_since = w->waits_since ? w->waits_since : hp_clock_ms();
		return;
	}
	if (has_failed_unit(w))
		say_failed(w, "could not be compiled");
	else if (has_baseless_unit(w))
		say_failed(w, "could not be compiled as it was when watching began, so nobody can tell what changed");
	else if (has_fresh_unit(w) && w->mode == HP_WATCH_MANUAL && !w->is_wanted)
		say_waiting(w);
	else if (has_fresh_unit(w) && !reload(w, part)) {
		w->waits_since = 0;
		return;
	}
	w->saved_at = w->waits_since = 0;
	w->is_wanted = w->is_by_key = w->is_correction = false;
}

bool hp_work_apply(struct hp_work *w)
{
	if (has_failed_unit(w))
		hp_touched_failed(&w->touched, 0);
	else if (!has_fresh_unit(w))
		return false;
	w->has_failed = false;
	w->is_wanted = true;
	if (!w->saved_at) {
		w->saved_at = w->settled_at = hp_clock_ms();
		w->is_by_key = true;
	}
	return true;
}

static void spin(struct hp_work *w)
{
	char stage[64];

	if (!w->saved_at || hp_clock_ms() - w->saved_at < SPIN_AFTER_MS)
		return;
	snprintf(stage, sizeof(stage), "compiling, %zu to go", hp_jobs_count(w->jobs));
	hp_report_spin(w->report, stage);
}

/* -- The whole ------------------------------------------------------------------------------------------------- */

static int earlier(int a, int b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

int hp_work_timeout(const struct hp_work *w)
{
	double rest = hp_touched_rest_at(&w->touched), now = hp_clock_ms();
	int ms = hp_saves_timeout(w->saves);

	if (rest)
		ms = earlier(ms, rest > now ? (int)(rest - now) + 1 : 0);
	return w->saved_at && w->report->is_terminal ? earlier(ms, SPIN_MS) : ms;
}

void hp_work_go_on(struct hp_work *w)
{
	hp_saves_take(w->saves, see, w);
	begin_early(w);
	settle(w);
	take_builds(w);
	tell_compilers(w);
	finish(w);
	spin(w);
}

void hp_work_learn(struct hp_work *w)
{
	learn(w, true);
}

static int take_texts(struct hp_work *w, struct hp_err *err)
{
	char **roots = NULL;
	size_t n = 0;
	int r = hp_units_roots(&w->units, &roots, &n, err);

	if (r == 0)
		r = hp_texts_take(&w->texts, roots, n, err);
	if (r == 0)
		hp_units_take_texts(&w->units, &w->texts);
	hp_units_free_roots(roots, n);
	return r;
}

int hp_work_begin(struct hp_work *w, const char *database, bool is_polling, struct hp_err *err)
{
	int r = hp_units_read(&w->units, database, err);

	w->touched.units = &w->units;
	if (r == HOTPATCH_ENOFILE)
		err->code = HOTPATCH_EBUILD; /* nobody can be asked how the program is built */
	if (r == 0)
		r = take_texts(w, err);
	if (r == 0)
		r = hp_saves_new(is_polling, &w->saves, err);
	if (r == 0)
		r = hp_saves_add(w->saves, w->units.database, err);
	if (r == 0)
		r = adopt_files(w, err);
	if (r == 0)
		r = hp_jobs_new(&w->jobs, err);
	if (r == 0 && !(w->lines = hp_lines_new()))
		r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory to watch a program");
	w->builds = (struct hp_builds){.units = &w->units,
	                               .texts = &w->texts,
	                               .jobs = w->jobs,
	                               .has_colours = w->report->colours && isatty(STDERR_FILENO)};
	return r;
}

void hp_work_end(struct hp_work *w)
{
	hp_jobs_free(w->jobs);
	hp_saves_free(w->saves);
	hp_lines_free(w->lines);
	hp_names_told_free(&w->stuck);
	hp_units_free(&w->units);
	hp_texts_free(&w->texts);
}
