#include "watch/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "types/array.h"

struct entry {
	struct hp_job job;
	struct timespec began;
};

struct hp_jobs {
	int epoll;
	size_t most, n_running;
	struct entry *v; /* in the order they were wanted */
	size_t n;
};

static int no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to run another compiler");
}

int hp_jobs_new(struct hp_jobs **ret_jobs, struct hp_err *err)
{
	struct hp_jobs *jobs = calloc(1, sizeof(*jobs));
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	if (!jobs)
		return no_memory(err);
	jobs->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (jobs->epoll < 0) {
		free(jobs);
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "cannot wait for compilers");
	}
	jobs->most = processors > 1 ? (size_t)processors : 1;
	*ret_jobs = jobs;
	return 0;
}

void hp_job_free(struct hp_job *job)
{
	hp_words_free(&job->words);
	free(job->folder);
	free(job->output);
	free(job->said);
	*job = (struct hp_job){0};
}

static void remove_entry(struct hp_jobs *jobs, size_t i)
{
	memmove(&jobs->v[i], &jobs->v[i + 1], (jobs->n - i - 1) * sizeof(*jobs->v));
	jobs->n--;
}

static void close_ends(struct hp_job *job)
{
	if (job->pidfd >= 0)
		close(job->pidfd);
	if (job->pipe >= 0)
		close(job->pipe);
	job->pidfd = job->pipe = -1;
}

/* The compiler is the first of a group of its own: what it runs goes with it. */
static void end_job(struct hp_jobs *jobs, struct hp_job *job)
{
	if (job->pid <= 0)
		return;
	kill(-job->pid, SIGTERM);
	hp_program_wait(job->pid);
	close_ends(job);
	jobs->n_running--;
}

void hp_jobs_free(struct hp_jobs *jobs)
{
	if (!jobs)
		return;
	for (size_t i = 0; i < jobs->n; i++) {
		end_job(jobs, &jobs->v[i].job);
		hp_job_free(&jobs->v[i].job);
	}
	free(jobs->v);
	close(jobs->epoll);
	free(jobs);
}

int hp_jobs_want(struct hp_jobs *jobs, const void *owner, int number, struct hp_words words, const char *folder,
                 const char *output, bool is_idle, struct hp_err *err)
{
	struct entry entry = {
		.job = {.owner = owner, .number = number, .words = words, .is_idle = is_idle, .pidfd = -1, .pipe = -1}};
	struct entry *v = hp_array_grow(jobs->v, jobs->n, sizeof(*v));

	if (v)
		jobs->v = v;
	entry.job.folder = strdup(folder);
	entry.job.output = strdup(output);
	entry.job.said = strdup("");
	if (!v || !entry.job.folder || !entry.job.output || !entry.job.said) {
		hp_job_free(&entry.job);
		return no_memory(err);
	}
	v[jobs->n++] = entry;
	return 0;
}

void hp_jobs_cancel(struct hp_jobs *jobs, const void *owner, int number)
{
	for (size_t i = jobs->n; i-- > 0;) {
		struct hp_job *job = &jobs->v[i].job;
		if (job->owner != owner || job->number != number)
			continue;
		end_job(jobs, job);
		hp_job_free(job);
		remove_entry(jobs, i);
	}
}

void hp_jobs_hurry(struct hp_jobs *jobs, const void *owner, int number)
{
	for (size_t i = 0; i < jobs->n; i++)
		if (jobs->v[i].job.owner == owner && jobs->v[i].job.number == number)
			jobs->v[i].job.is_idle = false;
}

bool hp_jobs_has(const struct hp_jobs *jobs, const void *owner, int number)
{
	for (size_t i = 0; i < jobs->n; i++)
		if (jobs->v[i].job.owner == owner && jobs->v[i].job.number == number)
			return true;
	return false;
}

size_t hp_jobs_count(const struct hp_jobs *jobs)
{
	size_t count = 0;

	for (size_t i = 0; i < jobs->n; i++)
		count += !jobs->v[i].job.is_idle;
	return count;
}

int hp_jobs_fd(const struct hp_jobs *jobs)
{
	return jobs->epoll;
}

/* -- Running --------------------------------------------------------------------------------------------------- */

static void say(struct hp_job *job, const char *text, size_t size)
{
	char *said = realloc(job->said, job->n_said + size + 1);

	if (!said)
		return;
	memcpy(said + job->n_said, text, size);
	job->said = said;
	job->n_said += size;
	said[job->n_said] = '\0'; /* NOLINT(-Wanalyzer-malloc-leak): the job has what it said */
}

static void hear(struct hp_job *job)
{
	char buffer[4096];
	ssize_t n = -1;

	while (job->pipe >= 0 && (n = read(job->pipe, buffer, sizeof(buffer))) > 0)
		say(job, buffer, (size_t)n);
	if (job->pipe < 0 || n < 0)
		return;
	close(job->pipe); /* it would be readable for ever */
	job->pipe = -1;
}

static bool wait_for(struct hp_jobs *jobs, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	return epoll_ctl(jobs->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* It is not to be started: it is done as one that failed. */
static void fail(struct hp_job *job, const char *why)
{
	say(job, why, strlen(why));
	say(job, "\n", 1); /* NOLINT(-Wanalyzer-malloc-leak): the job has what it said */
	job->status = 127; /* NOLINT(-Wanalyzer-malloc-leak): the job has what it said */
	job->pid = -1;
}

static void start(struct hp_jobs *jobs, struct entry *entry)
{
	struct hp_job *job = &entry->job;
	struct hp_err err = {.text = "there are no file descriptors left to run a compiler"};
	int ends[2];

	clock_gettime(CLOCK_MONOTONIC, &entry->began);
	if (pipe2(ends, O_CLOEXEC) < 0) {
		fail(job, err.text);
		return;
	}
	int r = hp_program_start_heard(job->words.items, job->folder, ends[1], &job->pid, &err);
	close(ends[1]);
	job->pipe = ends[0];
	fcntl(job->pipe, F_SETFL, O_NONBLOCK);
	if (r == 0) {
		jobs->n_running++;
		job->pidfd = pidfd_open(job->pid, 0);
	}
	if (r == 0 && job->pidfd >= 0 && wait_for(jobs, job->pidfd) && wait_for(jobs, job->pipe))
		return;
	end_job(jobs, job);
	close_ends(job);
	fail(job, err.text);
}

static size_t next_waiting(const struct hp_jobs *jobs)
{
	size_t idle = jobs->n;

	for (size_t i = 0; i < jobs->n; i++) {
		if (jobs->v[i].job.pid)
			continue;
		if (!jobs->v[i].job.is_idle)
			return i;
		idle = idle < jobs->n ? idle : i;
	}
	return idle;
}

static void start_waiting(struct hp_jobs *jobs)
{
	size_t i;

	while (jobs->n_running < jobs->most && (i = next_waiting(jobs)) < jobs->n)
		start(jobs, &jobs->v[i]);
}

/* What the compiler started may live longer and hold the pipe: its end is what counts. */
static bool is_done(struct hp_jobs *jobs, struct entry *entry)
{
	struct hp_job *job = &entry->job;
	struct timespec now;
	siginfo_t info = {0};

	if (job->pid <= 0)
		return job->pid < 0;
	hear(job);
	if (waitid(P_PID, (id_t)job->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != job->pid)
		return false;
	hear(job);
	job->status = hp_program_wait(job->pid);
	close_ends(job);
	jobs->n_running--;
	clock_gettime(CLOCK_MONOTONIC, &now);
	job->ms = (double)(now.tv_sec - entry->began.tv_sec) * 1e3 + (double)(now.tv_nsec - entry->began.tv_nsec) / 1e6;
	return true;
}

bool hp_jobs_take(struct hp_jobs *jobs, struct hp_job *ret_job)
{
	start_waiting(jobs);
	for (size_t i = 0; i < jobs->n; i++) {
		if (!is_done(jobs, &jobs->v[i]))
			continue;
		*ret_job = jobs->v[i].job;
		remove_entry(jobs, i);
		start_waiting(jobs);
		return true;
	}
	return false;
}
