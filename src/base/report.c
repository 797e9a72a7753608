#include "base/report.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/inspector.h"
#include "base/memory.h"

enum { BLOCKERS_MAX = 32, MESSAGE_FRAMES = 6 };

struct frames {
	struct hotpatch_frame frames[HP_FRAMES_MAX];
	struct hp_place places[HP_FRAMES_MAX];
	char name[32], function[128], reason[192];
};

struct report {
	struct hotpatch_error error;
	char message[2048];
	struct hotpatch_blocker blockers[BLOCKERS_MAX];
	struct frames *details; /* one for each blocker */
};

static pthread_key_t key;
static bool has_key; /* a program may have used up all there are: then failures have a code but no sentence */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct hotpatch_error no_error = {HOTPATCH_OK, "nothing has failed", 0, NULL};
static const struct hotpatch_error no_memory =
	{HOTPATCH_ENOMEM, "no memory is left to say more than the code that was returned; nothing was changed", 0,
         NULL};
static const struct hotpatch_error no_room = {HOTPATCH_ENOMEM,
                                              "no place is left to say more; see the code that was returned", 0, NULL};

/* The thread's last failure could not be reported; initial-exec, since other models allocate. */
static __thread bool unsaid __attribute__((tls_model("initial-exec")));

static void destroy(void *arg)
{
	struct report *report = arg;
	hp_memory_forget(report->details, report->error.n_blockers * sizeof(*report->details));
	free(report);
}

static void make_key(void)
{
	has_key = pthread_key_create(&key, destroy) == 0;
}

static struct report *report_of_thread(void)
{
	pthread_once(&once, make_key);
	if (!has_key)
		return NULL;
	struct report *report = pthread_getspecific(key);
	if (!report && (report = calloc(1, sizeof(*report)))) {
		if (pthread_setspecific(key, report) == 0)
			return report;
		free(report);
		report = NULL;
	}
	return report;
}

const struct hotpatch_error *hotpatch_error(void)
{
	pthread_once(&once, make_key);
	const struct report *report = has_key ? pthread_getspecific(key) : NULL;
	if (unsaid)
		return has_key ? &no_memory : &no_room;
	return report && report->error.code ? &report->error : &no_error;
}

bool hp_report_ready(void)
{
	bool ready = report_of_thread() || !has_key;
	unsaid |= !ready;
	return ready;
}

const char *hotpatch_code_name(int code)
{
	switch (code) {
	case HOTPATCH_OK:
		return "HOTPATCH_OK";
#define NAME(name, value, text)                                                                                        \
	case (value):                                                                                                  \
		return "HOTPATCH_" #name;
		HOTPATCH_ERROR_LIST(NAME)
#undef NAME
	default:
		return NULL;
	}
}

void hp_report_thread_name(int tid, char *name, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, name, size - 1) : 0;
	if (fd >= 0)
		close(fd);
	name[got > 0 ? got : 0] = 0;
	name[strcspn(name, "\n")] = 0;
}

static void name_frames(const struct hp_obstacle *obstacle, struct frames *details)
{
	for (size_t i = 0; i < obstacle->n_frames; i++) {
		struct hp_place *place = &details->places[i];
		hp_place_of(obstacle->frames[i], i == 0 && !obstacle->is_self, place);
		details->frames[i] =
			(struct hotpatch_frame){obstacle->frames[i], place->function, place->offset, place->image};
	}
}

/* A thread that asks for a change under its own feet has called us: the frames begin where it did, behind the public
 * function. Returns how many frames were ours. */
static size_t count_own_frames(const struct frames *details, size_t n)
{
	size_t own = 0;
	for (size_t i = 0; i < n && i < 16; i++) {
		const char *name = details->places[i].function, *end = name + strlen(name);
		if (strncmp(name, "hotpatch_", 9) == 0 &&
		    (strcmp(end - 3, "_at") == 0 || strcmp(end - 5, "_with") == 0))
			own = i + 1;
	}
	return own;
}

static void add_blocker(struct report *report, const struct hp_obstacle *obstacle)
{
	size_t i = report->error.n_blockers++;
	struct frames *details = &report->details[i];
	if (obstacle->tid)
		hp_report_thread_name(obstacle->tid, details->name, sizeof(details->name));
	snprintf(details->function, sizeof(details->function), "%s", obstacle->function);
	snprintf(details->reason, sizeof(details->reason), "%s", obstacle->reason);
	name_frames(obstacle, details);
	size_t own = obstacle->is_self ? count_own_frames(details, obstacle->n_frames) : 0;
	report->blockers[i] = (struct hotpatch_blocker){
		.thread = obstacle->tid,
		.name = details->name,
		.function = details->function,
		.reason = details->reason,
		.n_frames = obstacle->n_frames - own,
		.frames = details->frames + own,
	};
}

static void append(struct report *report, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(struct report *report, const char *format, ...)
{
	size_t used = strlen(report->message);
	va_list args;
	va_start(args, format);
	vsnprintf(report->message + used, sizeof(report->message) - used, format, args);
	va_end(args);
}

/* ": thread 71 'worker' is in 'work' (read+0x10 < work+0x2f < serve+0x81)" */
static void describe_blocker(struct report *report, const struct hotpatch_blocker *blocker)
{
	if (blocker->thread)
		append(report, "thread %d '%s' ", blocker->thread, blocker->name);
	append(report, "%s %s%s%s", blocker->reason, *blocker->function ? "'" : "",
	       *blocker->function ? blocker->function : "an old definition", *blocker->function ? "'" : "");
	for (size_t i = 0; i < blocker->n_frames && i < MESSAGE_FRAMES; i++) {
		const struct hotpatch_frame *frame = &blocker->frames[i];
		append(report, "%s", i ? " < " : " (");
		if (*frame->function)
			append(report, "%s+%#zx", frame->function, frame->offset);
		else
			append(report, "%#lx", (unsigned long)frame->address);
	}
	if (blocker->n_frames)
		append(report, blocker->n_frames > MESSAGE_FRAMES ? " < ...)" : ")");
}

static void forget_details(struct report *report)
{
	hp_memory_forget(report->details, report->error.n_blockers * sizeof(*report->details));
	report->details = NULL;
	report->error.n_blockers = 0;
}

void hp_report_forget(void)
{
	pthread_once(&once, make_key);
	struct report *report = has_key ? pthread_getspecific(key) : NULL;
	if (report)
		forget_details(report);
}

int hp_report_obstacles(int code, const struct hp_err *err, const char *truth, const struct hp_obstacle *obstacles,
                        size_t n)
{
	struct report *report = code ? report_of_thread() : NULL;
	if (code)
		unsaid = !report;
	if (!report)
		return code;
	forget_details(report);
	report->details = n ? calloc(n < BLOCKERS_MAX ? n : BLOCKERS_MAX, sizeof(*report->details)) : NULL;
	report->error = (struct hotpatch_error){code, report->message, 0, report->blockers};
	snprintf(report->message, sizeof(report->message), "%s", err->text);
	for (size_t i = 0; report->details && i < n && i < BLOCKERS_MAX; i++) {
		add_blocker(report, &obstacles[i]);
		if (i < 3) {
			append(report, i ? "; " : ": ");
			describe_blocker(report, &report->blockers[i]);
		}
	}
	if (n > 3)
		append(report, "; and %zu more threads", n - 3);
	append(report, "; %s", truth);
	return code;
}

int hp_report(int code, const struct hp_err *err)
{
	return hp_report_obstacles(code, err, "nothing was changed", NULL, 0);
}
