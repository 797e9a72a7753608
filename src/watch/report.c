#include "watch/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 100, TEXT_MAX = 1024, NAMES_MAX = 12 };

static const char plain[] = "\033[0m", bold[] = "\033[1m", green[] = "\033[32m", red[] = "\033[31m",
		  yellow[] = "\033[33m", faint[] = "\033[2m";

/* -- The way out ----------------------------------------------------------------------------------------------- */

void hp_report_begin(struct hp_report *report, bool json, bool timings)
{
	const char *no_colour = getenv("NO_COLOR"), *kind = getenv("TERM");

	*report = (struct hp_report){.json = json, .timings = timings, .is_terminal = !json && isatty(STDOUT_FILENO)};
	report->colours = report->is_terminal && !(no_colour && *no_colour) && !(kind && strcmp(kind, "dumb") == 0);
}

static const char *in(const struct hp_report *report, const char *colour)
{
	return report->colours ? colour : "";
}

static void flush(struct hp_report *report)
{
	if (fflush(stdout) != 0 && !report->is_broken)
		report->is_broken = errno;
}

/* "14:02:11" */
static const char *time_of_day(void)
{
	static char text[16];
	time_t now = time(NULL);
	struct tm local;

	localtime_r(&now, &local);
	strftime(text, sizeof(text), "%H:%M:%S", &local);
	return text;
}

/* Takes object. */
static void put_json(struct hp_report *report, const char *event, json_t *object)
{
	char stamp[40];
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_t *root = json_pack("{s:s, s:s}", "event", event, "time", stamp);
	if (object)
		json_object_update(root, object);
	json_decref(object);
	if (json_dumpf(root, stdout, JSON_COMPACT) < 0 && !report->is_broken)
		report->is_broken = errno ? errno : EIO;
	putchar('\n');
	json_decref(root);
	flush(report);
}

void hp_report_say(struct hp_report *report, const char *event, json_t *more, const char *format, ...)
{
	char text[2 * TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	hp_report_stop_spinning(report);
	if (report->json) {
		more = more ? more : json_object();
		json_object_set_new(more, "text", json_stringn_nocheck(text, strlen(text)));
		put_json(report, event, more);
		return;
	}
	json_decref(more);
	printf("%s%s%s %s\n", in(report, faint), time_of_day(), in(report, plain), text);
	flush(report);
}

/* -- Compilers ------------------------------------------------------------------------------------------------- */

void hp_report_compiler(struct hp_report *report, const struct hp_source *unit)
{
	if (!unit->said || !*unit->said)
		return;
	hp_report_stop_spinning(report);
	if (report->json) {
		json_t *text = json_stringn(unit->said, strlen(unit->said));
		put_json(report, "compiler",
		         json_pack("{s:s, s:b, s:o}", "file", unit->compile->path, "failed", unit->is_failed, "output",
		                   text ? text : json_string("(not UTF-8)")));
		return;
	}
	fflush(stdout);
	fputs(unit->said, stderr);
	fflush(stderr);
}

/* -- The spinner ----------------------------------------------------------------------------------------------- */

void hp_report_spin(struct hp_report *report, const char *stage)
{
	if (!report->is_terminal)
		return;
	printf("\r\033[K%c %s", "|/-\\"[report->turns++ % 4], stage);
	report->has_spinner = true;
	flush(report);
}

void hp_report_stop_spinning(struct hp_report *report)
{
	if (report->has_spinner)
		printf("\r\033[K");
	report->has_spinner = false;
}

/* -- One reload, as text --------------------------------------------------------------------------------------- */

struct text {
	char v[TEXT_MAX];
	size_t n;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(text->v + text->n, sizeof(text->v) - text->n, format, args);
	va_end(args);
	text->n = n < 0 || text->n + (size_t)n >= sizeof(text->v) ? sizeof(text->v) - 1 : text->n + (size_t)n;
}

static size_t width_of(const struct hp_report *report)
{
	struct winsize size;

	if (report->is_terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 40)
		return size.ws_col;
	return WIDTH;
}

/* As many as a line has room for: a block has six lines and no more. */
static void put_names(struct text *text, const struct hp_names_told *names, size_t width)
{
	for (size_t i = 0; i < names->n; i++) {
		size_t more = names->n - i;
		if (i && (text->n + strlen(names->v[i]) + 16 > width || i == NAMES_MAX)) {
			put(text, " and %zu more", more);
			return;
		}
		put(text, "%s%s", i ? ", " : "", names->v[i]);
	}
}

static void put_line(struct hp_report *report, const char *label, const char *colour, const struct text *text)
{
	printf("  %s%-13s%s%s\n", in(report, colour), label, in(report, plain), text->v);
}

void hp_report_line(struct hp_report *report, const char *label, const char *format, ...)
{
	struct text text = {0};
	va_list args;

	va_start(args, format);
	vsnprintf(text.v, sizeof(text.v), format, args);
	va_end(args);
	put_line(report, label, yellow, &text);
	flush(report);
}

static void put_functions(struct hp_report *report, const struct hp_reload *reload, size_t width)
{
	struct text text = {0};

	if (reload->changed.n)
		put_names(&text, &reload->changed, reload->fresh.n ? width / 2 : width - 16);
	else
		put(&text, "none");
	if (reload->fresh.n) {
		put(&text, "; new: ");
		put_names(&text, &reload->fresh, width - 16);
	}
	put_line(report, "changed", green, &text);
}

static void put_list(struct hp_report *report, const char *label, const char *colour, const char *before,
                     const struct hp_names_told *names, size_t width)
{
	struct text text = {0};

	if (!names->n)
		return;
	put(&text, "%s", before);
	put_names(&text, names, width - 16);
	put_line(report, label, colour, &text);
}

/* -- Who still runs old code ----------------------------------------------------------------------------------- */

/* The innermost frame in the function that stays: its first frame is where the instruction pointer is. */
static struct hp_line_told line_of(struct hp_lines *lines, const struct hp_remote_images *images, pid_t pid,
                                   const struct hp_remote_blocker *blocker)
{
	struct hp_line_told line, found = {0};

	for (size_t i = 0; i < blocker->n_frames; i++)
		if (hp_lines_find(lines, images, pid, blocker->frames[i], i > 0, &line) && line.line &&
		    strcmp(line.function, blocker->function) == 0) {
			found = line;
			break;
		}
	snprintf(found.function, sizeof(found.function), "%.127s", blocker->function);
	return found;
}

static void put_old(struct hp_report *report, const char *label, const struct hp_remote_result *result,
                    struct hp_lines *lines, const struct hp_remote_images *images, pid_t pid, size_t width)
{
	struct text text = {0};

	for (size_t i = 0; i < result->n_blockers; i++) {
		const struct hp_remote_blocker *blocker = &result->blockers[i];
		struct hp_line_told line = line_of(lines, images, pid, blocker);
		struct text one = {0};
		put(&one, "%s in thread %d '%s'", *line.function ? line.function : "old code", blocker->tid,
		    blocker->name);
		if (line.line)
			put(&one, " at %s:%d", line.file, line.line);
		if (i && text.n + one.n + 16 > width) {
			put(&text, " and %zu more", result->n_blockers - i);
			break;
		}
		put(&text, "%s%s", i ? ", " : "", one.v);
	}
	put_line(report, label, yellow, &text);
}

static json_t *old_as_json(const struct hp_remote_result *result, struct hp_lines *lines,
                           const struct hp_remote_images *images, pid_t pid)
{
	json_t *list = json_array();

	for (size_t i = 0; i < result->n_blockers; i++) {
		const struct hp_remote_blocker *blocker = &result->blockers[i];
		struct hp_line_told line = line_of(lines, images, pid, blocker);
		json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s, s:i}", "function", line.function, "tid",
		                                      blocker->tid, "thread", blocker->name, "file", line.file, "line",
		                                      line.line));
	}
	return list;
}

/* -- The whole ------------------------------------------------------------------------------------------------- */

static void put_times(struct hp_report *report, const struct hp_reload *reload, const struct hp_reload_times *times)
{
	printf("  %s%.0f ms since %s, compiler %.0f ms", in(report, faint), times->total_ms,
	       times->is_by_key ? "r" : "the save", times->compiler_ms);
	if (report->timings)
		printf(" (settle %.1f, compare %.1f, pack %.1f, prepare %.1f, commit %.1f)", times->settle_ms,
		       reload->compare_ms, reload->pack_ms, reload->prepare_ms, reload->commit_ms);
	if (report->timings && reload->is_part)
		printf("; the changed functions alone");
	if (report->timings && !reload->is_corrected && times->why_whole)
		printf("; compiled whole: %s", times->why_whole);
	printf("%s\n", in(report, plain));
}

static const char *outcome_of(enum hp_reload_kind kind)
{
	switch (kind) {
	case HP_RELOAD_APPLIED:
		return "applied";
	case HP_RELOAD_ORIGINAL:
		return "original";
	case HP_RELOAD_NOTHING:
		return "nothing";
	default:
		return "refused";
	}
}

static void put_head(struct hp_report *report, const struct hp_reload *reload, size_t width)
{
	const char *colour = reload->kind == HP_RELOAD_REFUSED ? red : reload->kind == HP_RELOAD_NOTHING ? faint : bold;
	struct text text = {0};

	put_names(&text, &reload->files, width - 40);
	printf("%s%s%s %s", in(report, faint), time_of_day(), in(report, plain), in(report, colour));
	if (reload->kind == HP_RELOAD_APPLIED)
		printf("reload %u: %s%s", reload->number, text.v,
		       reload->is_corrected ? ", compiled whole: that gives other code than the changed functions alone"
		                            : "");
	else if (reload->kind == HP_RELOAD_ORIGINAL)
		printf("%s: as at the start, and so is the program again", text.v);
	else if (reload->kind == HP_RELOAD_NOTHING)
		printf("%s: no function changed", text.v);
	else
		printf("%s: %s; nothing was changed; the process runs on", text.v, reload->err.text);
	printf("%s\n", in(report, plain));
}

static void put_block(struct hp_report *report, const struct hp_reload *reload, const struct hp_reload_times *times,
                      struct hp_lines *lines, const struct hp_remote_images *images, pid_t pid)
{
	size_t width = width_of(report);
	bool is_changed = reload->kind == HP_RELOAD_APPLIED || reload->kind == HP_RELOAD_ORIGINAL;

	put_head(report, reload, width);
	if (is_changed)
		put_functions(report, reload, width);
	if (reload->kind == HP_RELOAD_APPLIED)
		put_list(report, "kept", faint, "", &reload->kept, width);
	if (reload->kind != HP_RELOAD_REFUSED)
		put_list(report, "not applied", yellow, "the initialisers of ", &reload->initialisers, width);
	if (reload->result.n_blockers)
		put_old(report, is_changed ? "still old" : "in the way", &reload->result, lines, images, pid, width);
	put_times(report, reload, times);
}

static json_t *names_as_json(const struct hp_names_told *names)
{
	json_t *list = json_array();

	for (size_t i = 0; i < names->n; i++)
		json_array_append_new(list, json_string(names->v[i]));
	return list;
}

static json_t *as_json(const struct hp_reload *reload, const struct hp_reload_times *times)
{
	json_t *object = json_object();

	json_object_set_new(object, "outcome", json_string(outcome_of(reload->kind)));
	if (reload->kind == HP_RELOAD_APPLIED)
		json_object_set_new(object, "generation", json_integer(reload->number));
	json_object_set_new(object, "part", json_boolean(reload->is_part));
	json_object_set_new(object, "corrected", json_boolean(reload->is_corrected));
	if (times->why_whole && !reload->is_corrected)
		json_object_set_new(object, "whole", json_string(times->why_whole));
	json_object_set_new(object, "files", names_as_json(&reload->files));
	json_object_set_new(object, "changed", names_as_json(&reload->changed));
	json_object_set_new(object, "new", names_as_json(&reload->fresh));
	json_object_set_new(object, "removed", names_as_json(&reload->removed));
	json_object_set_new(object, "kept", names_as_json(&reload->kept));
	json_object_set_new(object, "initialisers", names_as_json(&reload->initialisers));
	if (reload->kind == HP_RELOAD_REFUSED)
		json_object_set_new(object, "error",
		                    json_pack("{s:s?, s:s}", "code", hotpatch_code_name(reload->err.code), "message",
		                              reload->err.text));
	json_object_set_new(object, "ms", json_real(times->total_ms));
	json_object_set_new(object, "timings",
	                    json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "settle", times->settle_ms, "compiler",
	                              times->compiler_ms, "compare", reload->compare_ms, "pack", reload->pack_ms,
	                              "prepare", reload->prepare_ms, "commit", reload->commit_ms));
	return object;
}

void hp_report_reload(struct hp_report *report, const struct hp_reload *reload, const struct hp_reload_times *times,
                      struct hp_lines *lines, struct hp_watched *watched)
{
	struct hp_remote_images images = {0};
	struct hp_err ignored;

	if (reload->result.n_blockers && hp_remote_images(watched->remote, &images, &ignored) < 0)
		images = (struct hp_remote_images){0};
	hp_report_stop_spinning(report);
	if (report->json) {
		json_t *object = as_json(reload, times);
		json_object_set_new(object, "running_old", old_as_json(&reload->result, lines, &images, watched->pid));
		put_json(report, "reload", object);
	} else {
		put_block(report, reload, times, lines, &images, watched->pid);
		flush(report);
	}
	hp_remote_images_free(&images);
}

void hp_report_use(struct hp_report *report, unsigned number, const struct hp_remote_result *result,
                   struct hp_lines *lines, struct hp_watched *watched)
{
	struct hp_remote_images images = {0};
	struct hp_err ignored;
	double us = (double)result->ns / 1e3;

	if (result->n_blockers && hp_remote_images(watched->remote, &images, &ignored) < 0)
		images = (struct hp_remote_images){0};
	json_t *more = json_pack("{s:i, s:f, s:o}", "generation", (int)number, "us", us, "running_old",
	                         old_as_json(result, lines, &images, watched->pid));
	if (number)
		hp_report_say(report, "generation", more, "generation %u is in force, in %.0f us", number, us);
	else
		hp_report_say(report, "generation", more, "the program is as it was started, in %.0f us", us);
	if (!report->json && result->n_blockers)
		put_old(report, "still old", result, lines, &images, watched->pid, width_of(report));
	flush(report);
	hp_remote_images_free(&images);
}
