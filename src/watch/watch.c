#include "watch/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "watch/crashed.h"
#include "watch/keys.h"
#include "watch/work.h"

enum { USE_MS = 30 }; /* for old code, before calls are let into the other */

struct watch {
	const struct hp_watch_options *options;
	struct hp_report *report;
	struct hp_work work;
	struct hp_watched watched;
	struct hp_crashed crashed;
	bool has_news;        /* and crashed does not know them yet */
	struct hp_keys *keys; /* NULL: there are none */
	int signals;
	bool is_ending; /* the program was asked to */
	bool is_left;
	struct hp_err *err;
};

/* -- The end --------------------------------------------------------------------------------------------------- */

/* From a terminal the program has the signal too. One that was found is not ours to end. */
static void take_signals(struct watch *w)
{
	struct signalfd_siginfo info;

	while (read(w->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGCONT) {
			hp_keys_again(w->keys);
			continue;
		}
		if (!w->watched.is_ours || w->is_ending) {
			w->is_left = true;
			continue;
		}
		w->is_ending = true;
		if (w->crashed.is_held)
			hp_crashed_let_die(&w->crashed, w->report, &w->watched);
		else if (info.ssi_signo != SIGINT || info.ssi_code <= 0)
			kill(w->watched.pid, (int)info.ssi_signo);
	}
}

static enum hp_watch_end end_of(struct watch *w)
{
	const struct hp_watched *watched = &w->watched;
	json_t *more = json_pack("{s:i}", "pid", (int)watched->pid);

	if (!watched->is_ours) {
		hp_report_say(w->report, "ended", more, "process %d '%s' has ended", (int)watched->pid, watched->name);
		return w->is_ending ? HP_WATCH_LEFT : HP_WATCH_GONE;
	}
	json_object_set_new(more, "status", json_integer(watched->status));
	hp_report_say(w->report, "ended", more, "process %d '%s' has ended with status %d", (int)watched->pid,
	              watched->name, watched->status);
	return w->is_ending ? HP_WATCH_LEFT : watched->status == 0 ? HP_WATCH_ENDED : HP_WATCH_GONE;
}

/* -- Keys ------------------------------------------------------------------------------------------------------- */

static const char *const mode_names[HP_WATCH_MODES] = {
	[HP_WATCH_AUTO] = "auto: every save that compiles is applied",
	[HP_WATCH_MANUAL] = "manual: r applies what was saved",
	[HP_WATCH_SAFE_POINT] = "safe point: applied when all threads are out of the old code, or in hotpatch_poll",
};

static int read_generations(struct watch *w, struct hp_generations *ret, struct hp_err *err)
{
	int r = hp_watched_connect(&w->watched, err);
	return r < 0 ? r : hp_generations_read(w->watched.remote, ret, err);
}

static void go(struct watch *w,
               int (*where)(const struct hp_generations *generations, unsigned *ret_number, struct hp_err *err))
{
	const struct hp_patience patience = {.wait_ms = USE_MS, .is_strict = hp_work_is_strict(&w->work)};
	struct hp_generations generations = {0};
	struct hp_remote_result result = {0};
	struct hp_err err;
	unsigned number = 0;
	int r = read_generations(w, &generations, &err);

	if (r == 0)
		r = where(&generations, &number, &err);
	if (r == 0)
		r = hp_generations_use(w->watched.remote, &generations, number, &patience, &result, &err);
	if (r < 0)
		hp_work_say_failure(&w->work, &err);
	else
		hp_report_use(w->report, number, &result, w->work.lines, &w->watched);
	hp_remote_result_free(&result);
	hp_generations_free(&generations);
}

static void say_status(struct watch *w)
{
	struct hp_generations generations = {0};
	struct hp_err err;
	char numbers[400] = "0";
	size_t at = 1;
	json_t *list = json_array();

	if (read_generations(w, &generations, &err) < 0) {
		hp_work_say_failure(&w->work, &err);
		json_decref(list);
		return;
	}
	for (size_t i = 0; i < generations.n; i++) {
		json_array_append_new(list, json_integer(generations.v[i].number));
		if (at < sizeof(numbers))
			at += (size_t)snprintf(numbers + at, sizeof(numbers) - at, " %u", generations.v[i].number);
	}
	hp_report_say(w->report, "status",
	              json_pack("{s:i, s:o, s:i}", "generation", (int)generations.current, "generations", list, "pid",
	                        (int)w->watched.pid),
	              "process %d '%s' has generation %u of %s; mode %s", (int)w->watched.pid, w->watched.name,
	              generations.current, numbers, mode_names[w->work.mode]);
	hp_generations_free(&generations);
}

static void next_mode(struct watch *w)
{
	w->work.mode = (w->work.mode + 1) % HP_WATCH_MODES;
	hp_report_say(w->report, "mode", json_pack("{s:i}", "mode", (int)w->work.mode), "mode %s",
	              mode_names[w->work.mode]);
}

static void apply_now(struct watch *w)
{
	if (!hp_work_apply(&w->work))
		hp_report_say(w->report, "nothing", NULL, "nothing waits to be applied");
}

static void take_key(struct watch *w, char key)
{
	switch (key) {
	case 'r':
		apply_now(w);
		break;
	case 'u':
		go(w, hp_generations_before);
		break;
	case 'U':
		go(w, hp_generations_after);
		break;
	case 'm':
		next_mode(w);
		break;
	case 's':
		say_status(w);
		break;
	case 'q':
		w->is_left = true;
		break;
	case 'Q':
		w->is_ending = true;
		if (w->crashed.is_held)
			hp_crashed_let_die(&w->crashed, w->report, &w->watched);
		else
			kill(w->watched.pid, SIGTERM);
		break;
	case 'd':
		hp_crashed_let_die(&w->crashed, w->report, &w->watched);
		break;
	case '\n':
	case ' ':
		break;
	default:
		hp_report_say(w->report, "keys", NULL,
		              "r reload, u undo, U redo, m mode, s status, q leave (the process runs on), Q end it, "
		              "d let it die of a crash");
	}
}

static void take_keys(struct watch *w)
{
	for (char key; !w->is_left && (key = hp_keys_take(w->keys));)
		take_key(w, key);
}

/* -- Crashes ---------------------------------------------------------------------------------------------------- */

/* One was told of, or what is done about the last may have been done: by a save, a key, or another command. */
static void look_for_crashes(struct watch *w)
{
	struct hp_err err;

	w->has_news |= hp_watched_take_news(&w->watched);
	if ((w->has_news || w->crashed.is_held) && hp_watched_connect(&w->watched, &err) == 0 &&
	    hp_crashed_look(&w->crashed, w->report, w->work.lines, &w->watched))
		w->has_news = false;
	w->work.are_calls_held = w->crashed.is_held;
}

/* -- The loop -------------------------------------------------------------------------------------------------- */

static void wait_for_something(struct watch *w)
{
	struct pollfd fds[] = {
		{w->watched.pidfd, POLLIN, 0},
		{w->signals, POLLIN, 0},
		{hp_jobs_fd(w->work.jobs), POLLIN, 0},
		{hp_saves_fd(w->work.saves), POLLIN, 0},
		{hp_keys_fd(w->keys), POLLIN, 0},
		{hp_remote_fd(w->watched.remote), POLLIN, 0},
		{hp_remote_fd(w->watched.holder), POLLIN, 0},
		{STDOUT_FILENO, 0, 0},
	};
	const struct pollfd *output = &fds[sizeof(fds) / sizeof(fds[0]) - 1];

	poll(fds, sizeof(fds) / sizeof(fds[0]), hp_work_timeout(&w->work));
	if (output->revents & POLLERR) /* nobody reads any more */
		w->report->is_broken = EPIPE;
}

static enum hp_watch_end loop(struct watch *w)
{
	while (!w->is_left && !w->report->is_broken) {
		hp_work_go_on(&w->work);
		look_for_crashes(w);
		wait_for_something(w);
		take_signals(w);
		if (hp_watched_has_ended(&w->watched))
			return end_of(w);
		take_keys(w);
	}
	if (w->crashed.is_held)
		hp_report_say(w->report, "left", NULL, "left; process %d '%s' ends by its crash", (int)w->watched.pid,
		              w->watched.name);
	else
		hp_report_say(w->report, "left", NULL, "left; process %d '%s' runs on", (int)w->watched.pid,
		              w->watched.name);
	return HP_WATCH_LEFT;
}

/* -- The beginning --------------------------------------------------------------------------------------------- */

static int catch_signals(struct watch *w)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCONT);
	sigprocmask(SIG_BLOCK, &set, NULL); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGIO, SIG_IGN); /* of a lease: saves.h */
	w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return w->signals < 0 ? hp_err_system(w->err, HOTPATCH_ESYSTEM, errno, "cannot receive signals") : 0;
}

/* What the sources are now is then what it has now, not what it was made from. */
static int check_original(struct watch *w)
{
	struct hp_generations generations = {0};
	int r = hp_generations_read(w->watched.remote, &generations, w->err);
	unsigned current = generations.current;

	hp_generations_free(&generations);
	if (r < 0 || !current)
		return r;
	return hp_err_set(
		w->err, HOTPATCH_ESTATE,
		"process %d has reload %u of an earlier watch, and nobody knows any more what its sources were "
		"when it was started: go back to those and 'hotpatch use 0 %d', or start it anew",
		(int)w->watched.pid, current, (int)w->watched.pid);
}

static int connect(struct watch *w)
{
	int r = w->options->program
	                ? hp_watched_start(&w->watched, w->options->program, w->options->library, false, w->err)
	                : hp_watched_find(&w->watched, w->options->pid, w->options->library, w->err);

	w->watched.holds = w->options->holds;
	if (r == 0)
		r = hp_watched_connect(&w->watched, w->err);
	return r < 0 ? r : check_original(w);
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
	                        (int)w->work.units.n, "database", w->work.units.database),
	              "watching %zu file%s of %s for process %d '%s'%s", w->work.units.n,
	              w->work.units.n == 1 ? "" : "s", w->options->database, (int)watched->pid, watched->name,
	              attached);
}

/* What was saved behind the build may or may not be in the program: nobody compares before something is saved. */
static void say_newer(struct watch *w)
{
	char path[64], names[600] = "";
	struct stat program;
	size_t n = 0, at = 0;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)w->watched.pid);
	if (stat(path, &program) < 0)
		return;
	for (size_t i = 0; i < w->work.units.n; i++) {
		const struct hp_compile *compile = w->work.units.v[i]->compile;
		const struct hp_text *text = hp_texts_find(&w->work.texts, compile->path);
		if (text && text->modified.tv_sec > program.st_mtim.tv_sec && n++ < 4)
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%.100s", n > 1 ? ", " : "",
			                       compile->source);
	}
	if (n)
		hp_report_say(w->report, "newer", json_pack("{s:i}", "files", (int)n),
		              "%s%s newer than the program: what was saved before now is taken to be in it", names,
		              n > 4   ? " and more are"
		              : n > 1 ? " are"
		                      : " is");
}

static void end(struct watch *w)
{
	hp_report_stop_spinning(w->report);
	hp_keys_close(w->keys);
	hp_watched_leave(&w->watched);
	hp_work_end(&w->work);
	if (w->signals >= 0)
		close(w->signals);
}

/* Whatever can fail comes before the program is started. */
static int begin(struct watch *w)
{
	int r = hp_work_begin(&w->work, w->options->database, w->options->is_polling, w->err);

	w->work.builds.has_parts = w->options->has_parts;
	if (r == 0)
		r = catch_signals(w);
	return r < 0 ? r : connect(w);
}

enum hp_watch_end hp_watch_run(const struct hp_watch_options *options, struct hp_report *report, struct hp_err *err)
{
	struct watch w = {.options = options, .report = report, .signals = -1, .watched = {.pidfd = -1}, .err = err};
	enum hp_watch_end result = HP_WATCH_FAILED;

	w.work = (struct hp_work){.report = report,
	                          .watched = &w.watched,
	                          .mode = options->mode,
	                          .patch_file = options->patch_file};
	int r = begin(&w);
	if (r == 0) {
		say_begin(&w);
		say_newer(&w);
		w.keys = hp_keys_open(options->has_keys);
		hp_work_learn(&w.work);
		result = loop(&w);
	} else if (w.watched.is_ours && w.watched.pid && hp_watched_has_ended(&w.watched)) {
		result = end_of(&w);
	}
	end(&w);
	return result;
}
