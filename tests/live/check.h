/* check - what every live test shares: checks that end the test with a sentence, a deadline so that nothing hangs, and
 * small helpers for threads.
 *
 * A test exits 0 (pass), 77 (skip, reason on stdout) or 1 (fail, sentence on stderr). A check may fail in any thread;
 * it ends the process without running atexit handlers.
 */
#ifndef TESTS_LIVE_CHECK_H
#define TESTS_LIVE_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hotpatch.h"

#define UNUSED __attribute__((unused))

/* Keeps a definition out of its callers without being a mark of hotpatch: what the tests use for bodies and callees. */
#if defined(__clang__)
#define APART __attribute__((noinline))
#else
#define APART __attribute__((noipa))
#endif

/* Built without preparation, but not without a purpose: every mark is off, and every change asks for such functions. */
#ifdef UNPREPARED
#undef HOTPATCHABLE
#define HOTPATCHABLE APART
#undef HOTPATCH_SIZE_
#define HOTPATCH_SIZE_ .size = sizeof(struct hotpatch_options), .unprepared = true
#endif

/* -- Checks ------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4), noreturn, unused)) static void check_fail(const char *file, int line,
                                                                               const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(stderr, "%s:%d: %s\n", file, line, text);
	fflush(NULL);
	_exit(1);
}

#define FAIL(...) check_fail(__FILE__, __LINE__, __VA_ARGS__)

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			FAIL("'%s' does not hold", #cond);                                                             \
	} while (0)

#define CHECK_INT(expression, want)                                                                                    \
	do {                                                                                                           \
		long long check_got_ = (long long)(expression), check_want_ = (long long)(want);                       \
		if (check_got_ != check_want_)                                                                         \
			FAIL("'%s' is %lld and should be %lld", #expression, check_got_, check_want_);                 \
	} while (0)

#define CHECK_STR(expression, want)                                                                                    \
	do {                                                                                                           \
		const char *check_got_ = (expression), *check_want_ = (want);                                          \
		if (check_got_ == NULL || strcmp(check_got_, check_want_) != 0)                                        \
			FAIL("'%s' is \"%s\" and should be \"%s\"", #expression, check_got_ ? check_got_ : "(null)",   \
			     check_want_);                                                                             \
	} while (0)

#define SKIP(reason)                                                                                                   \
	do {                                                                                                           \
		puts(reason);                                                                                          \
		fflush(NULL);                                                                                          \
		_exit(77);                                                                                             \
	} while (0)

/* Every error of every test is held to what the header says of messages: there is one, it belongs to the code, it is
 * one sentence, and it ends by telling whether anything was changed. */
UNUSED static void check_error(const char *file, int line, const char *call, int code)
{
	static const char nothing[] = "nothing was changed";
	const struct hotpatch_error *error = hotpatch_error();
	const char *tail;

	if (error->code != code)
		check_fail(file, line, "after '%s' hotpatch_error() has code %d, not %d", call, error->code, code);
	if (error->message == NULL || error->message[0] == '\0')
		check_fail(file, line, "'%s' failed without a message", call);
	if (strchr(error->message, '\n') != NULL)
		check_fail(file, line, "the message of '%s' is not one line: %s", call, error->message);
	if (error->n_blockers > 0 && error->blockers == NULL)
		check_fail(file, line, "the error of '%s' counts blockers and has none", call);
	if (code == HOTPATCH_EINPROGRESS)
		return;
	tail = strstr(error->message, nothing);
	if (tail == NULL || strlen(tail) > sizeof(nothing) + 1)
		check_fail(file, line, "the message of '%s' does not end in '%s': %s", call, nothing, error->message);
}

UNUSED static void check_code(const char *file, int line, const char *call, int got, int want)
{
	const char *got_name = hotpatch_code_name(got), *want_name = hotpatch_code_name(want);

	if (got != want)
		check_fail(file, line, "'%s' returned %s (%d) and should return %s; hotpatch_error() says: %s", call,
		           got_name ? got_name : "no code", got, want_name ? want_name : "no code",
		           hotpatch_error()->message ? hotpatch_error()->message : "(null)");
	if (want != HOTPATCH_OK)
		check_error(file, line, call, want);
}

#define CHECK_CODE(call, code) check_code(__FILE__, __LINE__, #call, (call), (code))
#define CHECK_OK(call) CHECK_CODE(call, HOTPATCH_OK)

/* The message of the last error says `part` (what, which, why). */
#define CHECK_SAYS(part)                                                                                               \
	do {                                                                                                           \
		if (strstr(hotpatch_error()->message, (part)) == NULL)                                                 \
			FAIL("the message does not say '%s': %s", (part), hotpatch_error()->message);                  \
	} while (0)

/* -- Deadline ----------------------------------------------------------------------------------------------- */

UNUSED static void deadline_passed(int signo)
{
	static const char text[] = "the test's deadline has passed: something hangs\n";
	ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)signo;
	(void)ignored;
	_exit(1);
}

/* -- Threads ------------------------------------------------------------------------------------------------ */

UNUSED static pthread_t thread_start(void *(*run)(void *), void *arg)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run, arg);

	if (r != 0)
		FAIL("a thread could not be started: %s", strerror(r));
	return thread;
}

UNUSED static void *thread_join(pthread_t thread)
{
	void *result;
	int r = pthread_join(thread, &result);

	if (r != 0)
		FAIL("a thread could not be joined: %s", strerror(r));
	return result;
}

UNUSED static int thread_id(void)
{
	return (int)syscall(SYS_gettid);
}

/* Unlike sem_wait this cannot be left early, whatever signals arrive: for waiting, where EINTR is not the question. */
UNUSED static void take(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		if (errno != EINTR)
			FAIL("sem_wait: %s", strerror(errno));
}

UNUSED static void give(sem_t *semaphore)
{
	if (sem_post(semaphore) != 0)
		FAIL("sem_post: %s", strerror(errno));
}

/* The state letter of a thread of this process: 'S' sleeping, 'R' running, ... '?' where it cannot be read. */
UNUSED static char thread_state(int tid)
{
	char path[64], text[512], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return '?';
	text[n] = '\0';
	end = strrchr(text, ')');
	return end != NULL && end[1] == ' ' ? end[2] : '?';
}

/* The calling thread, which only calls without end, leaves the processor to whoever has something to do. */
UNUSED static void step_back(void)
{
	(void)setpriority(PRIO_PROCESS, (id_t)thread_id(), 10);
}

UNUSED static void nap(unsigned milliseconds)
{
	struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};

	nanosleep(&time, NULL);
}

/* Polls until the condition holds; the test's deadline bounds it. */
#define AWAIT(cond)                                                                                                    \
	do {                                                                                                           \
		while (!(cond))                                                                                        \
			nap(1);                                                                                        \
	} while (0)

UNUSED static int64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* A number from the environment, for longer runs. */
UNUSED static unsigned setting(const char *variable, unsigned otherwise)
{
	const char *text = getenv(variable);

	return text != NULL && atoi(text) > 0 ? (unsigned)atoi(text) : otherwise;
}

/* Ends the test as failed after so many seconds, or HP_PATIENCE times as many. A signal, no thread: the tests count
 * threads. */
UNUSED static void deadline(unsigned seconds)
{
	signal(SIGALRM, deadline_passed);
	alarm(seconds * setting("HP_PATIENCE", 1));
}

/* How often a test does what it does unless told: a quarter, since the set of all tests is to take minutes; in the
 * checks (tests/live/build.sh) all of it in one variant. */
#if defined(WHOLE) && defined(__OPTIMIZE__) && !defined(__clang__)
#define IN_FULL true
#define OFTEN(times) (times)
#else
#define IN_FULL false
#define OFTEN(times) ((times) / 4)
#endif

/* Whether this is a static executable, which has no shared libraries and no inspect plugin. */
extern ElfW(Dyn) _DYNAMIC[] __attribute__((weak, visibility("hidden")));

UNUSED static bool is_static(void)
{
	return _DYNAMIC == NULL;
}

/* Whether functions that were not prepared can be changed: the inspect plugin makes the proof, and only for x86-64.
 * NO_PLUGIN: tests/live/build.sh. */
UNUSED static bool can_change_unprepared(void)
{
#if defined(NO_PLUGIN) || !defined(__x86_64__)
	return false;
#else
	return !is_static();
#endif
}

/* -- Blockers ----------------------------------------------------------------------------------------------- */

/* The last error names thread `tid` as standing in the way in `function`; its frames are told, and one of them is in
 * the function. A static executable's symbols are not known to the runtime. */
UNUSED static const struct hotpatch_blocker *check_blocker(const char *file, int line, int tid, const char *function)
{
	const struct hotpatch_error *error = hotpatch_error();
	const struct hotpatch_blocker *blocker = NULL;
	size_t i;

	for (i = 0; i < error->n_blockers; i++)
		if (error->blockers[i].thread == tid)
			blocker = &error->blockers[i];
	if (blocker == NULL)
		check_fail(file, line, "none of the %zu blockers is thread %d", error->n_blockers, tid);
	if (strcmp(blocker->function, function) != 0)
		check_fail(file, line, "the blocker is in '%s', not in '%s': %s", blocker->function, function,
		           error->message);
	if (blocker->reason == NULL || blocker->reason[0] == '\0')
		check_fail(file, line, "the blocker has no reason");
	if (blocker->n_frames == 0 || blocker->frames == NULL)
		check_fail(file, line, "the blocker has no frames");
	if (is_static())
		return blocker;
	for (i = 0; i < blocker->n_frames; i++)
		if (strcmp(blocker->frames[i].function, function) == 0)
			break;
	if (i == blocker->n_frames)
		check_fail(file, line, "none of the blocker's %zu frames is in '%s'", blocker->n_frames, function);
	if (blocker->frames[i].address == 0 || blocker->frames[i].image[0] == '\0')
		check_fail(file, line, "the blocker's frame in '%s' has no address or no image", function);
	return blocker;
}

#define CHECK_BLOCKER(tid, function) check_blocker(__FILE__, __LINE__, (tid), (function))

#endif
