#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "must.h"
#include "target.h"

enum { STACK_SIZE = 64 * 1024, SMOKE_PART = 8 };

const struct crowd_size crowd_sizes[CROWD_SIZES] = {{0, 0}, {1, 0}, {0, 8}, {0, 64}, {0, 512}};

struct crowd_member {
	pthread_t thread;
	struct crowd *crowd;
	pid_t *tid;
};

/* -- What they do -------------------------------------------------------------------------------------------------- */

static void *caller_run(void *arg)
{
	struct crowd_member *member = arg;
	int x = 0;
	*member->tid = gettid();
	sem_post(&member->crowd->ready);
	while (!atomic_load_explicit(&member->crowd->leave, memory_order_relaxed))
		x = target(x) & 0xffff;
	return NULL;
}

/* Nobody writes, and nobody may notice that the read was interrupted: those who stop threads have it restarted. */
static void *blocked_run(void *arg)
{
	struct crowd_member *member = arg;
	char byte;
	*member->tid = gettid();
	sem_post(&member->crowd->ready);
	must(read(member->crowd->pipe[0], &byte, 1) == 0, "a blocked thread was interrupted");
	return NULL;
}

/* -- Where they are ------------------------------------------------------------------------------------------------ */

/* /proc/self/task/TID/syscall is "running", or "-1 ..." outside a system call, or begins with its number (proc(5)). */
long crowd_system_call(pid_t tid)
{
	char text[256];
	snprintf(text, sizeof(text), "/proc/self/task/%d/syscall", (int)tid);
	int file = open(text, O_RDONLY | O_CLOEXEC);
	must(file >= 0, text);
	ssize_t got = read(file, text, sizeof(text) - 1);
	must(got > 0, "/proc/self/task/TID/syscall");
	close(file);
	text[got] = 0;
	return *text >= '0' && *text <= '9' ? strtol(text, NULL, 10) : -1;
}

void crowd_settle(const struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->blocked; i++)
		while (crowd_system_call(crowd->tids[crowd->callers + i]) != SYS_read)
			sched_yield();
}

/* -- The crowd ----------------------------------------------------------------------------------------------------- */

static void name_crowd(struct crowd *crowd)
{
	if (crowd->callers > 0)
		snprintf(crowd->name, sizeof(crowd->name), "%u running caller%s", crowd->callers,
		         crowd->callers > 1 ? "s" : "");
	else if (crowd->blocked > 0)
		snprintf(crowd->name, sizeof(crowd->name), "%u blocked thread%s", crowd->blocked,
		         crowd->blocked > 1 ? "s" : "");
	else
		snprintf(crowd->name, sizeof(crowd->name), "alone");
}

static void start_members(struct crowd *crowd)
{
	pthread_attr_t attributes;
	unsigned n = crowd->callers + crowd->blocked;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	for (unsigned i = 0; i < n; i++) {
		struct crowd_member *member = &crowd->members[i];
		*member = (struct crowd_member){.crowd = crowd, .tid = &crowd->tids[i]};
		errno = pthread_create(&member->thread, &attributes, i < crowd->callers ? caller_run : blocked_run,
		                       member);
		must(errno == 0, "a thread could not be started");
	}
	pthread_attr_destroy(&attributes);
	for (unsigned i = 0; i < n; i++)
		sem_wait(&crowd->ready);
}

void crowd_start(struct crowd *crowd, const struct crowd_size *size, const struct report *report)
{
	unsigned blocked = report_smoke(report) ? size->blocked / SMOKE_PART : size->blocked;
	unsigned n = size->callers + blocked;
	*crowd = (struct crowd){.callers = size->callers, .blocked = blocked};
	name_crowd(crowd);
	crowd->tids = calloc(n + 1, sizeof(*crowd->tids));
	crowd->members = calloc(n + 1, sizeof(*crowd->members));
	must(crowd->tids != NULL && crowd->members != NULL, "threads");
	must(sem_init(&crowd->ready, 0, 0) == 0 && pipe2(crowd->pipe, O_CLOEXEC) == 0, "a pipe");
	start_members(crowd);
	crowd_settle(crowd);
}

void crowd_end(struct crowd *crowd)
{
	atomic_store(&crowd->leave, true);
	close(crowd->pipe[1]);
	for (unsigned i = 0; i < crowd->callers + crowd->blocked; i++)
		pthread_join(crowd->members[i].thread, NULL);
	close(crowd->pipe[0]);
	sem_destroy(&crowd->ready);
	free(crowd->tids);
	free(crowd->members);
}
