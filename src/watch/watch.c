#include "watch/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "watch/builds.h"
#include "watch/saves.h"

enum {
	SETTLE_MS = 20,        /* after a file was closed */
	OPEN_MS = 300,         /* after it was written to and not closed */
	SETTLE_MOST_MS = 2000, /* somebody writes without end */
	WAIT_MS = 30,          /* for old code, before calls are let into the new one */
	SPIN_AFTER_MS = 150,
	SPIN_MS = 100,
	END_MS = 5000, /* for a program that was asked to end */
};

struct watch {
	const struct hp_watch_options *options;
	struct hp_report *report;
	struct hp_units units;
	struct hp_texts texts;
	struct hp_saves *saves;
	struct hp_jobs *jobs;
	struct hp_builds builds;
	struct hp_watched watched;
	struct hp_lines *lines;
	size_t n_adopted;  /* files that are watched */
	double first_seen; /* of what is touched; 0: nothing */
	double saved_at;   /* first save of what is being worked on; 0: nothing is */
	double settled_at;
	double database_due;        /* it is to be read again; 0: no */
	bool has_failed;            /* units are, and it was said */
	bool was_polling;           /* and it was said */
	unsigned generation;        /* the last one made */
	struct hp_names_told stuck; /* functions that threads stay in */
	int signals;
	bool is_ending; /* the program was asked to */
	bool is_left;
	struct hp_err *err;
};

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void say_failure(struct watch *w, const struct hp_err *err)
{
	hp_report_say(w->report, "error", json_pack("{s:s?}", "code", hotpatch_code_name(err->code)),
	              "%s; nothing was changed; the process runs on", err->text);
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

/* Those that came since are watched, and compared with what they are taken for. */
static int adopt_files(struct watch *w, struct hp_err *err)
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

static bool has_failed_unit(const struct watch *w)
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

static void touch_failed(struct watch *w, double due)
{
	for (size_t i = 0; i < w->units.n; i++) {
		if (!w->units.v[i]->is_failed)
			continue;
		w->units.v[i]->is_dirty = true;
		struct hp_source_file *file = &w->units.files[hp_units_file(&w->units, w->units.v[i]->compile->path)];
		file->touched = true;
		file->due = due;
	}
}

static void learn(struct watch *w, bool is_idle)
{
	struct hp_err err;

	if (hp_builds_learn(&w->builds, is_idle, &err) < 0)
		say_failure(w, &err);
}

static void see(void *arg, const char *path, bool is_open)
{
	struct watch *w = arg;
	size_t file = hp_units_file(&w->units, path);
	double now = now_ms(), due = now + (is_open ? OPEN_MS : SETTLE_MS);

	if (strcmp(path, w->units.database) == 0) {
		w->database_due = due;
	} else if (file != SIZE_MAX) {
		w->units.files[file].touched = true;
		w->units.files[file].due = due;
		if (!w->first_seen)
			w->first_seen = now;
	} else if (!may_help(path)) {
		return;
	} else {
		learn(w, false);
	}
	if (has_failed_unit(w))
		touch_failed(w, due);
}

/* When all that is touched is at rest; 0: nothing is touched. */
static double rest_at(const struct watch *w)
{
	double due = w->database_due;
	bool is_touched = due > 0;

	for (size_t i = 0; i < w->units.n_files; i++)
		if (w->units.files[i].touched) {
			is_touched = true;
			due = w->units.files[i].due > due ? w->units.files[i].due : due;
		}
	if (!is_touched)
		return 0;
	double most = w->first_seen + SETTLE_MOST_MS;
	return w->first_seen && due > most ? most : due > 1 ? due : 1;
}

/* -- From saves to compilers ----------------------------------------------------------------------------------- */

static void read_database(struct watch *w)
{
	struct hp_err err;
	size_t changed = 0;

	w->database_due = 0;
	if (hp_units_reread(&w->units, &changed, &err) < 0)
		say_failure(w, &err);
	else if (changed)
		hp_report_say(w->report, "database", json_pack("{s:i}", "changed", (int)changed),
		              "the database was written: %zu file%s new or compiled otherwise", changed,
		              changed == 1 ? " is" : "s are");
}

static void dirty_units(struct watch *w, size_t file)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (hp_unit_has_file(w->units.v[i], file))
			w->units.v[i]->is_dirty = true;
}

/* One that is being compiled may have been read while it was written, whatever it has now. */
static bool is_being_read(const struct watch *w, size_t file)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (hp_unit_has_file(w->units.v[i], file) && hp_builds_has(&w->builds, w->units.v[i]))
			return true;
	return false;
}

/* A file that has gone comes back, or its units are changed so that they do without. */
static void compare_file(struct watch *w, size_t index)
{
	struct hp_source_file *file = &w->units.files[index];
	uint64_t hash = hp_text_hash(file->path);

	file->touched = false;
	if (!hash || (hash == file->hash && !(w->first_seen && is_being_read(w, index))))
		return;
	file->hash = hash;
	dirty_units(w, index);
}

static void compile_dirty(struct watch *w)
{
	struct hp_err err;

	for (size_t i = 0; i < w->units.n; i++) {
		struct hp_source *unit = w->units.v[i];
		if (!unit->is_dirty)
			continue;
		if (!w->saved_at)
			w->saved_at = w->first_seen ? w->first_seen : now_ms();
		w->has_failed = false;
		if (hp_builds_start(&w->builds, unit, &err) < 0)
			say_failure(w, &err);
	}
}

static void settle(struct watch *w)
{
	struct hp_err err;
	double due = rest_at(w);

	if (!due || due > now_ms())
		return;
	if (w->database_due)
		read_database(w);
	if (adopt_files(w, &err) < 0)
		say_failure(w, &err);
	for (size_t i = 0; i < w->units.n_files; i++)
		if (w->units.files[i].touched)
			compare_file(w, i);
	w->settled_at = now_ms();
	compile_dirty(w);
	w->first_seen = 0;
}

/* -- From compilers to the program ----------------------------------------------------------------------------- */

static void take_builds(struct watch *w)
{
	struct hp_source *unit;
	struct hp_err err;

	while (hp_builds_take(&w->builds, &unit, &err)) {
		if (err.code)
			say_failure(w, &err);
		if (adopt_files(w, &err) < 0)
			say_failure(w, &err);
		if (!unit)
			continue;
		if (unit->is_dirty)
			compile_dirty(w);
		else
			hp_report_compiler(w->report, unit);
	}
}

static bool is_compiling(const struct watch *w)
{
	return hp_jobs_count(w->jobs) > 0;
}

static void name_failed(const struct watch *w, char *text, size_t room)
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < w->units.n; i++) {
		const struct hp_source *unit = w->units.v[i];
		if (!unit->is_failed && !(unit->is_fresh && unit->state == HP_BASE_FAILED))
			continue;
		if (n++ < 4 && at < room)
			at += (size_t)snprintf(text + at, room - at, "%s%s", n > 1 ? ", " : "", unit->compile->source);
	}
	if (n > 4 && at < room)
		snprintf(text + at, room - at, " and %zu more", n - 4);
}

/* The text of the start does not compile: what is in the program is not known. */
static bool has_baseless_unit(const struct watch *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh && w->units.v[i]->state == HP_BASE_FAILED)
			return true;
	return false;
}

static void say_failed(struct watch *w, const char *what)
{
	char names[600] = "";

	if (w->has_failed)
		return;
	w->has_failed = true;
	name_failed(w, names, sizeof(names));
	hp_report_say(w->report, "failed", json_pack("{s:f}", "ms", now_ms() - w->saved_at),
	              "%s %s; the process runs on", names, what);
}

static double compiler_ms(const struct watch *w)
{
	double most = 0;

	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh && w->units.v[i]->ms > most)
			most = w->units.v[i]->ms;
	return most;
}

static void reload(struct watch *w)
{
	struct hp_reload_options options = {.number = w->generation + 1,
	                                    .wait_ms = WAIT_MS,
	                                    .lines = w->lines,
	                                    .stuck = &w->stuck};
	struct hp_reload_times times = {.compiler_ms = compiler_ms(w), .settle_ms = w->settled_at - w->saved_at};
	struct hp_reload reload;

	hp_reload_run(&w->units, &w->watched, &options, &reload);
	times.total_ms = now_ms() - w->saved_at;
	if (reload.kind == HP_RELOAD_APPLIED)
		w->generation++;
	hp_report_reload(w->report, &reload, &times, w->lines, &w->watched);
	if (reload.kind == HP_RELOAD_APPLIED)
		hp_reload_stuck(&reload, &w->stuck);
	hp_reload_free(&reload);
}

static bool has_fresh_unit(const struct watch *w)
{
	for (size_t i = 0; i < w->units.n; i++)
		if (w->units.v[i]->is_fresh)
			return true;
	return false;
}

/* Nothing is compiled, nothing is touched: what there is holds together. */
static void finish(struct watch *w)
{
	if (!w->saved_at || is_compiling(w))
		return;
	hp_saves_take(w->saves, see, w);
	if (rest_at(w))
		return;
	if (has_failed_unit(w))
		say_failed(w, "could not be compiled");
	else if (has_baseless_unit(w))
		say_failed(w, "could not be compiled as it was when watching began, so nobody can tell what changed");
	else if (has_fresh_unit(w))
		reload(w);
	w->saved_at = 0;
}

static void spin(struct watch *w)
{
	char stage[64];

	if (!w->saved_at || now_ms() - w->saved_at < SPIN_AFTER_MS)
		return;
	snprintf(stage, sizeof(stage), "compiling, %zu to go", hp_jobs_count(w->jobs));
	hp_report_spin(w->report, stage);
}

/* -- The end --------------------------------------------------------------------------------------------------- */

/* From a terminal the program has the signal too. One that was found is not ours to end. */
static void take_signals(struct watch *w)
{
	struct signalfd_siginfo info;

	while (read(w->signals, &info, sizeof(info)) == sizeof(info)) {
		if (!w->watched.is_ours || w->is_ending) {
			w->is_left = true;
			continue;
		}
		w->is_ending = true;
		if (info.ssi_signo != SIGINT || info.ssi_code <= 0)
			kill(w->watched.pid, (int)info.ssi_signo);
	}
}

static enum hp_watch_end end_of(struct watch *w)
{
	const struct hp_watched *watched = &w->watched;
	json_t *more = json_pack("{s:i}", "pid", (int)watched->pid);

	if (!watched->is_ours) {
		hp_report_say(w->report, "ended", more, "process %d '%s' has ended", (int)watched->pid, watched->name);
		return HP_WATCH_GONE;
	}
	json_object_set_new(more, "status", json_integer(watched->status));
	hp_report_say(w->report, "ended", more, "process %d '%s' has ended with status %d", (int)watched->pid,
	              watched->name, watched->status);
	return w->is_ending ? HP_WATCH_LEFT : watched->status == 0 ? HP_WATCH_ENDED : HP_WATCH_GONE;
}

/* -- The loop -------------------------------------------------------------------------------------------------- */

static int earlier(int a, int b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

static int timeout_of(const struct watch *w)
{
	double rest = rest_at(w), now = now_ms();
	int ms = hp_saves_timeout(w->saves);

	if (rest)
		ms = earlier(ms, rest > now ? (int)(rest - now) + 1 : 0);
	if (w->saved_at && w->report->is_terminal)
		ms = earlier(ms, SPIN_MS);
	return w->is_ending ? earlier(ms, END_MS) : ms;
}

static void wait_for_something(struct watch *w)
{
	struct pollfd fds[] = {
		{w->watched.pidfd, POLLIN, 0},
		{w->signals, POLLIN, 0},
		{hp_jobs_fd(w->jobs), POLLIN, 0},
		{hp_saves_fd(w->saves), POLLIN, 0},
	};

	poll(fds, sizeof(fds) / sizeof(fds[0]), timeout_of(w));
}

static enum hp_watch_end loop(struct watch *w)
{
	while (!w->is_left && !w->report->is_broken) {
		take_builds(w);
		finish(w);
		wait_for_something(w);
		take_signals(w);
		if (hp_watched_has_ended(&w->watched))
			return end_of(w);
		hp_saves_take(w->saves, see, w);
		settle(w);
		spin(w);
	}
	hp_report_say(w->report, "left", NULL, "left; process %d '%s' runs on", (int)w->watched.pid, w->watched.name);
	return HP_WATCH_LEFT;
}

/* -- The beginning --------------------------------------------------------------------------------------------- */

static int take_texts(struct watch *w)
{
	char **roots = NULL;
	size_t n = 0;
	int r = hp_units_roots(&w->units, &roots, &n, w->err);

	if (r == 0)
		r = hp_texts_take(&w->texts, roots, n, w->err);
	if (r == 0)
		hp_units_take_texts(&w->units, &w->texts);
	hp_units_free_roots(roots, n);
	return r;
}

static int catch_signals(struct watch *w)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->signals < 0 ? hp_err_system(w->err, HOTPATCH_ESYSTEM, errno, "cannot receive signals") : 0;
}

/* Whatever can fail comes before the program is started. */
static int begin(struct watch *w)
{
	int r = hp_units_read(&w->units, w->options->database, w->err);

	if (r == HOTPATCH_ENOFILE)
		w->err->code = HOTPATCH_EBUILD; /* nobody can be asked how the program is built */
	if (r == 0)
		r = take_texts(w);
	if (r == 0)
		r = hp_saves_new(w->options->is_polling, &w->saves, w->err);
	if (r == 0)
		r = hp_saves_add(w->saves, w->units.database, w->err);
	if (r == 0)
		r = adopt_files(w, w->err);
	if (r == 0)
		r = hp_jobs_new(&w->jobs, w->err);
	if (r == 0 && !(w->lines = hp_lines_new()))
		r = hp_err_set(w->err, HOTPATCH_ENOMEM, "no memory for a session");
	if (r == 0)
		r = catch_signals(w);
	return r;
}

static int connect(struct watch *w)
{
	int r = w->options->program
	                ? hp_watched_start(&w->watched, w->options->program, w->options->library, false, w->err)
	                : hp_watched_find(&w->watched, w->options->pid, w->options->library, w->err);

	return r < 0 ? r : hp_watched_connect(&w->watched, w->err);
}

static void say_begin(struct watch *w)
{
	const struct hp_watched *watched = &w->watched;
	char attached[80] = "";

	if (watched->is_attached)
		snprintf(attached, sizeof(attached), "; it has an agent now, and was stopped for %.1f ms",
		         watched->stopped_ms);
	hp_report_say(w->report, "watching",
	              json_pack("{s:i, s:s, s:i, s:s}", "pid", (int)watched->pid, "name", watched->name, "files",
	                        (int)w->units.n, "database", w->units.database),
	              "watching %zu file%s of %s for process %d '%s'%s", w->units.n, w->units.n == 1 ? "" : "s",
	              w->options->database, (int)watched->pid, watched->name, attached);
}

static void end(struct watch *w)
{
	hp_report_stop_spinning(w->report);
	hp_watched_leave(&w->watched);
	hp_jobs_free(w->jobs);
	hp_saves_free(w->saves);
	hp_lines_free(w->lines);
	hp_names_told_free(&w->stuck);
	hp_units_free(&w->units);
	hp_texts_free(&w->texts);
	if (w->signals >= 0)
		close(w->signals);
}

enum hp_watch_end hp_watch_run(const struct hp_watch_options *options, struct hp_report *report, struct hp_err *err)
{
	struct watch w = {.options = options, .report = report, .signals = -1, .watched = {.pidfd = -1}, .err = err};
	enum hp_watch_end result = HP_WATCH_FAILED;
	int r = begin(&w);

	w.builds = (struct hp_builds){.units = &w.units,
	                              .texts = &w.texts,
	                              .jobs = w.jobs,
	                              .has_colours = report->colours && isatty(STDERR_FILENO)};
	if (r == 0)
		r = connect(&w);
	if (r == 0) {
		say_begin(&w);
		learn(&w, true);
		result = loop(&w);
	} else if (w.watched.is_ours && w.watched.pid && hp_watched_has_ended(&w.watched)) {
		result = end_of(&w);
	}
	end(&w);
	return result;
}
