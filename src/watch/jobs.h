/* jobs - compilers that run beside each other, and what each of them said.
 *
 *     wanted ---> waiting, in order ---> running, at most one for each processor ---> done: status and text
 *                      '--- cancelled <---' (ended, with all it started)
 *
 * A job has an owner and a number, which mean something to who wants it.
 */
#ifndef HP_WATCH_JOBS_H
#define HP_WATCH_JOBS_H

#include <stdbool.h>
#include <sys/types.h>

#include "make/command.h"

struct hp_job {
	const void *owner;
	int number;
	struct hp_words words;
	char *folder, *output; /* output: the file it is to make */
	bool is_idle;          /* only runs while no other job waits */
	/* While it runs and behind. */
	pid_t pid;
	int pidfd, pipe;
	double ms; /* it has run */
	int status;
	char *said; /* NUL-terminated */
	size_t n_said;
};

struct hp_jobs;

int hp_jobs_new(struct hp_jobs **ret_jobs, struct hp_err *err) HP_MUST_CHECK;
void hp_jobs_free(struct hp_jobs *jobs); /* ends what runs; NULL is fine */

/* Takes words, also on failure. */
int hp_jobs_want(struct hp_jobs *jobs, const void *owner, int number, struct hp_words words, const char *folder,
                 const char *output, bool is_idle, struct hp_err *err) HP_MUST_CHECK;

/* Ends all of an owner that have that number, and forgets them. */
void hp_jobs_cancel(struct hp_jobs *jobs, const void *owner, int number);

/* Those that were idle are not any more: somebody waits for them. */
void hp_jobs_hurry(struct hp_jobs *jobs, const void *owner, int number);

/* Whether one of them waits or runs; how many there are in all (not counting idle ones). */
bool hp_jobs_has(const struct hp_jobs *jobs, const void *owner, int number);
size_t hp_jobs_count(const struct hp_jobs *jobs);

/* Readable when hp_jobs_take may have one. */
int hp_jobs_fd(const struct hp_jobs *jobs);

/* Starts what may run, and takes one that is done; false: none is. Its words, folder and text are the caller's:
 * hp_job_free. HOTPATCH_EBUILD where a compiler cannot be run is a job with status 127 that says so. */
bool hp_jobs_take(struct hp_jobs *jobs, struct hp_job *ret_job);
void hp_job_free(struct hp_job *job);

#endif
