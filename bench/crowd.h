/* crowd.h - who else is there while a definition is changed: threads that run, and threads that are blocked.
 *
 * A running one calls `target` without pause. A blocked one is in read(2), of a pipe nobody writes to, on a stack of
 * 64 KiB.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "report.h"

struct crowd {
	char name[48];             /* "alone", "1 running caller", "64 blocked threads" */
	unsigned callers, blocked; /* how many */
	pid_t *tids;               /* of all, the callers first */
	struct crowd_member *members;
	sem_t ready;
	atomic_bool leave; /* for the callers */
	int pipe[2];       /* the blocked ones read it, and leave when it is closed */
};

/* A size of crowd that is measured. */
struct crowd_size {
	unsigned callers, blocked;
};

enum { CROWD_SIZES = 5 };
extern const struct crowd_size crowd_sizes[CROWD_SIZES];

/* Returns when everybody is where they should be. A smoke test has an eighth of the blocked threads. */
void crowd_start(struct crowd *crowd, const struct crowd_size *size, const struct report *report);

/* Waits until those who should be blocked are so, again. */
void crowd_settle(const struct crowd *crowd);

void crowd_end(struct crowd *crowd);

/* The number of the system call in which a thread of this process is blocked; -1 where it is not. */
long crowd_system_call(pid_t tid);

#endif
