#include "watch/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "remote/attach.h"
#include "remote/process.h"

enum { CONNECT_MS = 5000, START_MS = 2000, TRY_MS = 5 };

/* -- Starting -------------------------------------------------------------------------------------------------- */

/* In the child: what it says into failed is the errno of what went wrong. */
static void become(char **words, const char *library, bool keeps_input, int failed)
{
	sigset_t none;
	int null = keeps_input ? -1 : open("/dev/null", O_RDONLY), number;
	struct hp_err ignored;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL); /* NOLINT(concurrency-mt-unsafe): the child has one thread */
	signal(SIGPIPE, SIG_DFL);
	signal(SIGIO, SIG_DFL);
	if (hp_process_preload(words[0], library, false, &ignored) == 0 &&
	    (keeps_input || dup2(null, STDIN_FILENO) >= 0))
		execvp(words[0], words);
	number = errno;
	_exit(write(failed, &number, sizeof(number)) < 0 ? 126 : 127);
}

static int cannot_start(const char *program, int number, struct hp_err *err)
{
	return hp_err_system(err, HOTPATCH_ENOFILE, number, "'%s' cannot be started", program);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

int hp_watched_start(struct hp_watched *watched, char **words, const char *library, bool keeps_input,
                     struct hp_err *err)
{
	int ends[2], number = 0;

	*watched = (struct hp_watched){.library = library, .is_ours = true, .pidfd = -1};
	if (pipe2(ends, O_CLOEXEC) < 0)
		return cannot_start(words[0], errno, err);
	pid_t pid = fork();
	if (pid == 0)
		become(words, library, keeps_input, ends[1]);
	close(ends[1]);
	if (pid < 0)
		number = errno;
	else if (read(ends[0], &number, sizeof(number)) > 0)
		waitpid(pid, NULL, 0);
	close(ends[0]);
	if (number)
		return cannot_start(words[0], number, err);
	watched->pid = pid;
	watched->pidfd = pidfd_open(pid, 0);
	snprintf(watched->name, sizeof(watched->name), "%.63s", base_name(words[0]));
	return 0;
}

int hp_watched_find(struct hp_watched *watched, pid_t pid, const char *library, struct hp_err *err)
{
	struct hp_process process;

	*watched = (struct hp_watched){.pid = pid, .library = library, .pidfd = pidfd_open(pid, 0)};
	if (watched->pidfd < 0 || !hp_process_read(pid, &process))
		return hp_err_set(err, HOTPATCH_EGONE, "there is no process %d", (int)pid);
	snprintf(watched->name, sizeof(watched->name), "%s", process.name);
	return 0;
}

/* -- The agent ------------------------------------------------------------------------------------------------- */

static bool is_over(const struct timespec *began, long ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - began->tv_sec) * 1000 + (now.tv_nsec - began->tv_nsec) / 1000000 > ms;
}

/* The dynamic linker of a child may not have come to the runtime yet. What it does not come to, a shell script or a
 * static program, is a process like any other. */
static int open_child(struct hp_watched *watched, struct hp_err *err)
{
	struct timespec began;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &began);
	while ((r = hp_remote_open(watched->pid, CONNECT_MS, &watched->remote, err)) == HOTPATCH_ENOFILE &&
	       !is_over(&began, START_MS) && !hp_watched_has_ended(watched)) {
		struct pollfd end = {watched->pidfd, POLLIN, 0};
		poll(&end, 1, TRY_MS);
	}
	return r;
}

static int put_agent(struct hp_watched *watched, struct hp_err *err)
{
	struct hp_attach_options options = {.library = watched->library};
	struct hp_attached attached = {0};
	int r = hp_attach(watched->pid, &options, &attached, err);

	if (r < 0)
		return r;
	watched->is_attached = true;
	watched->stopped_ms = attached.stopped;
	return hp_remote_open(watched->pid, CONNECT_MS, &watched->remote, err);
}

static int open_agent(struct hp_watched *watched, bool is_first, struct hp_err *err)
{
	if (hp_watched_has_ended(watched))
		return hp_err_set(err, HOTPATCH_EGONE, "the process has ended");
	int r = watched->is_ours && is_first ? open_child(watched, err)
	                                     : hp_remote_open(watched->pid, CONNECT_MS, &watched->remote, err);
	if (r == HOTPATCH_ENOFILE && !hp_watched_has_ended(watched))
		r = put_agent(watched, err);
	if (r < 0)
		watched->remote = NULL;
	return r;
}

static bool is_there(const struct hp_remote *remote)
{
	return remote && !hp_remote_is_broken(remote);
}

/* With the last connection that holds, calls that are held end the process. So it is one of its own: another breaks
 * where a process that is stopped does not answer in time. An older runtime cannot hold: there a crash ends the
 * program. */
static int hold(struct hp_watched *watched, struct hp_err *err)
{
	struct hp_remote *holder;
	uint64_t signals;

	if (!watched->holds || is_there(watched->holder))
		return 0;
	int r = hp_remote_open(watched->pid, CONNECT_MS, &holder, err);
	if (r < 0)
		return r;
	if ((r = hp_remote_hold(holder, true, &signals, err)) < 0) {
		hp_remote_close(holder);
		watched->holds = r != HOTPATCH_ENOTSUP;
		return watched->holds ? r : 0;
	}
	hp_remote_close(watched->holder);
	watched->holder = holder;
	return 0;
}

int hp_watched_connect(struct hp_watched *watched, struct hp_err *err)
{
	struct hp_remote *old = watched->remote;
	int r = is_there(old) ? 0 : open_agent(watched, !old, err);

	if (r < 0)
		watched->remote = old;
	else if (watched->remote != old)
		hp_remote_close(old);
	return r < 0 ? r : hold(watched, err);
}

bool hp_watched_take_news(struct hp_watched *watched)
{
	if (watched->remote)
		(void)hp_remote_take_news(watched->remote);
	return watched->holder && hp_remote_take_news(watched->holder);
}

bool hp_watched_has_ended(struct hp_watched *watched)
{
	struct pollfd end = {watched->pidfd, POLLIN, 0};
	int status;

	if (watched->has_ended || poll(&end, 1, 0) == 0)
		return watched->has_ended;
	if (watched->is_ours && waitpid(watched->pid, &status, 0) == watched->pid)
		watched->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	watched->has_ended = true;
	return true;
}

void hp_watched_leave(struct hp_watched *watched)
{
	hp_remote_close(watched->remote);
	hp_remote_close(watched->holder);
	watched->remote = watched->holder = NULL;
	if (watched->pidfd >= 0)
		close(watched->pidfd);
	watched->pidfd = -1;
}
