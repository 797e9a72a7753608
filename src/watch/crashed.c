#include "watch/crashed.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/place.h"
#include "watch/generations.h"

enum { FRAMES_SAID = 12, FRAME_ROOM = 480 };

/* -- Words ------------------------------------------------------------------------------------------------------ */

/* Of siginfo_t (sigaction(2)). */
static const char *reason_of(const struct hp_remote_crash *crash, char *room, size_t size)
{
	unsigned long long address = crash->address;

	if (crash->signo == SIGSEGV && crash->code == SEGV_MAPERR)
		snprintf(room, size, "nothing is mapped at 0x%llx", address);
	else if (crash->signo == SIGSEGV && crash->code == SEGV_ACCERR)
		snprintf(room, size, "what is at 0x%llx may not be used so", address);
	else if (crash->signo == SIGSEGV)
		snprintf(room, size, "an address that none can be (a general protection fault)");
	else if (crash->signo == SIGBUS)
		snprintf(room, size, "there is no memory behind 0x%llx", address);
	else if (crash->signo == SIGFPE && crash->code == FPE_INTDIV)
		snprintf(room, size, "an integer divided by zero");
	else if (crash->signo == SIGFPE)
		snprintf(room, size, "arithmetic that has no result");
	else if (crash->signo == SIGILL)
		snprintf(room, size, "an instruction that is none, as of __builtin_trap");
	else
		snprintf(room, size, "the program ended itself, with abort or an assertion");
	return room;
}

/* " (reload 3)", or another patch's name, or nothing for the program's own code. */
static const char *origin_of(const char *patch, char *room, size_t size)
{
	unsigned number = hp_generation_number(patch);

	*room = '\0';
	if (number)
		snprintf(room, size, "reload %u", number);
	else if (*patch)
		snprintf(room, size, "patch '%s'", patch);
	return room;
}

/* But for those that have crashed, and the agent. */
static size_t count_others(pid_t pid, size_t crashed)
{
	char path[64];
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *folder = opendir(path);
	for (struct dirent *entry; folder && (entry = readdir(folder));)
		n += *entry->d_name != '.';
	if (folder)
		closedir(folder);
	return n > crashed + 1 ? n - crashed - 1 : 0;
}

/* -- Frames ----------------------------------------------------------------------------------------------------- */

struct frame {
	struct hp_line_told line;
	char place[256]; /* what it is called where no line is known */
	char text[FRAME_ROOM];
};

struct scene {
	const struct hp_remote_crash *crash;
	struct frame frames[sizeof(((struct hp_remote_crash *)0)->frames) / sizeof(struct hp_remote_crash_frame)];
	const struct frame *at; /* the innermost that is in code of a patch */
};

static void name_frame(struct frame *frame, const struct hp_remote_crash_frame *where, bool is_first,
                       struct hp_lines *lines, const struct hp_remote_images *images, struct hp_places *places,
                       pid_t pid)
{
	char origin[300];
	bool known = hp_lines_find(lines, images, pid, where->address, !is_first, &frame->line);

	if (!known || !*frame->line.function)
		hp_places_say(places, where->address, !is_first, frame->place, sizeof(frame->place));
	else
		snprintf(frame->place, sizeof(frame->place), "%s", frame->line.function);
	int n = snprintf(frame->text, sizeof(frame->text), "%s", frame->place);
	if (frame->line.line)
		n += snprintf(frame->text + n, sizeof(frame->text) - (size_t)n, " at %s:%d", frame->line.file,
		              frame->line.line);
	if (*origin_of(where->patch, origin, sizeof(origin)) && (size_t)n < sizeof(frame->text))
		snprintf(frame->text + n, sizeof(frame->text) - (size_t)n, " (%s)", origin);
}

static struct scene *see(const struct hp_remote_crash *crash, struct hp_lines *lines, struct hp_watched *watched)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct hp_remote_images images = {0};
	struct hp_err ignored;

	if (!scene)
		return NULL;
	if (hp_remote_images(watched->remote, &images, &ignored) < 0)
		images = (struct hp_remote_images){0};
	struct hp_places *places = hp_places_new(watched->remote);
	scene->crash = crash;
	for (size_t i = 0; i < crash->n_frames; i++) {
		name_frame(&scene->frames[i], &crash->frames[i], i == 0, lines, &images, places, watched->pid);
		if (!scene->at && *crash->frames[i].patch)
			scene->at = &scene->frames[i];
	}
	hp_places_free(places);
	hp_remote_images_free(&images);
	return scene;
}

/* -- One crash -------------------------------------------------------------------------------------------------- */

static json_t *frames_as_json(const struct scene *scene)
{
	json_t *list = json_array();

	for (size_t i = 0; i < scene->crash->n_frames; i++) {
		const struct frame *frame = &scene->frames[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i}", "function", frame->place, "file",
		                                      frame->line.file, "line", frame->line.line, "generation",
		                                      (int)hp_generation_number(scene->crash->frames[i].patch)));
	}
	return list;
}

static json_t *as_json(const struct scene *scene, bool is_held, size_t others)
{
	const struct hp_remote_crash *crash = scene->crash;
	const char *signal = sigabbrev_np(crash->signo);
	json_t *object = json_pack("{s:i, s:s, s:s+, s:i, s:s, s:b, s:i, s:o}", "tid", crash->tid, "thread",
	                           crash->name, "signal", "SIG", signal ? signal : "?", "generation",
	                           (int)hp_generation_number(crash->patch), "patch", crash->patch, "held", is_held,
	                           "others", (int)others, "frames", frames_as_json(scene));

	if (scene->at) {
		json_object_set_new(object, "function", json_string(scene->at->place));
		json_object_set_new(object, "file", json_string(scene->at->line.file));
		json_object_set_new(object, "line", json_integer(scene->at->line.line));
	}
	return object;
}

/* "#3", which a label has room for. */
static void say_frames(struct hp_report *report, const struct scene *scene)
{
	size_t n = scene->crash->n_frames;
	char label[16];

	for (size_t i = 0; i < n && i < FRAMES_SAID; i++) {
		snprintf(label, sizeof(label), "#%zu", i);
		hp_report_line(report, label, "%s", scene->frames[i].text);
	}
	if (n > FRAMES_SAID)
		hp_report_line(report, "", "and %zu more", n - FRAMES_SAID);
}

static void say_choice(struct hp_report *report, const char *origin, bool is_held, size_t others)
{
	if (!is_held) {
		hp_report_line(report, "kept", "the thread stays where it is; calls go on: %s is not in force any more",
		               origin);
		return;
	}
	if (others)
		hp_report_line(report, "held", "who calls what %s changed waits; there %s %zu other thread%s", origin,
		               others == 1 ? "is" : "are", others, others == 1 ? "" : "s");
	else
		hp_report_line(report, "held", "there is no other thread that could go on");
	hp_report_line(report, "now", "%sd ends the process, with a core",
	               others ? "save a change, or u, and they go on with that; " : "");
}

static void say_crash(struct hp_report *report, const struct scene *scene, bool is_held, size_t others)
{
	const struct hp_remote_crash *crash = scene->crash;
	const char *signal = sigabbrev_np(crash->signo);
	char reason[160], origin[300], where[320] = "";

	origin_of(crash->patch, origin, sizeof(origin));
	if (scene->at && scene->at->line.line)
		snprintf(where, sizeof(where), " at %s:%d", scene->at->line.file, scene->at->line.line);
	hp_report_say(report, "crash", as_json(scene, is_held, others),
	              "crash: %s%s, of %s, in thread %d '%s': SIG%s, %s", scene->at ? scene->at->place : "code", where,
	              origin, crash->tid, crash->name, signal ? signal : "?", reason_of(crash, reason, sizeof(reason)));
	if (report->json)
		return;
	say_frames(report, scene);
	say_choice(report, origin, is_held, others);
}

/* -- Afterwards ------------------------------------------------------------------------------------------------- */

static void say_going_on(struct hp_report *report, const struct hp_remote_crashes *crashes, pid_t pid)
{
	size_t others = count_others(pid, crashes->n);
	const struct hp_remote_crash *last = &crashes->v[crashes->n - 1];
	json_t *more =
		json_pack("{s:i, s:i, s:i}", "tid", last->tid, "crashed", (int)crashes->n, "others", (int)others);

	hp_report_say(report, "continued", more,
	              "calls go on%s; thread %d '%s' stays where it crashed, with what it has locked: "
	              "d ends the process, with a core",
	              others ? "" : ", but there is no other thread to make any", last->tid, last->name);
}

bool hp_crashed_look(struct hp_crashed *crashed, struct hp_report *report, struct hp_lines *lines,
                     struct hp_watched *watched)
{
	struct hp_remote_crashes crashes;
	struct hp_err ignored;

	if (!watched->remote || hp_remote_crashes(watched->remote, &crashes, &ignored) < 0)
		return false;
	for (; crashed->n < crashes.n; crashed->n++) {
		struct scene *scene = see(&crashes.v[crashed->n], lines, watched);
		if (scene)
			say_crash(report, scene, crashes.are_calls_held, count_others(watched->pid, crashes.n));
		free(scene);
		crashed->is_held |= crashes.are_calls_held;
	}
	if (crashes.n < crashed->n) /* another program is in its place */
		*crashed = (struct hp_crashed){.n = crashes.n};
	if (crashed->is_held && !crashes.are_calls_held)
		say_going_on(report, &crashes, watched->pid);
	crashed->is_held = crashes.are_calls_held;
	hp_remote_crashes_free(&crashes);
	return true;
}

void hp_crashed_let_die(const struct hp_crashed *crashed, struct hp_report *report, struct hp_watched *watched)
{
	struct hp_err err;

	if (!crashed->n)
		hp_report_say(report, "nothing", NULL, "no thread has crashed");
	else if (hp_watched_connect(watched, &err) == 0 && hp_remote_let_die(watched->remote, &err) == 0)
		return;
	else if (!hp_watched_has_ended(watched) && kill(watched->pid, SIGABRT) == 0)
		hp_report_say(report, "error", NULL, "%s; the process was sent SIGABRT", err.text);
}
