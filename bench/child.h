/* child.h - programs of their own that are measured: started, timed, asked. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdbool.h>

/* A way to start a program. */
struct child {
	char program[4096];
	bool preload; /* with libhotpatch in LD_PRELOAD: the one the benchmark itself runs with */
	bool serve;   /* with the agent too, as `hotpatch run` starts it */
};

/* A program of the folder `programs` in `folder`. */
struct child child_of(const char *folder, const char *program, bool preload);

/* Microseconds from before its start until its end, without arguments. */
double child_time(const struct child *child);

/* What it prints: lines "NAME VALUE". */
struct answers {
	char text[4096];
};

void child_ask(const struct child *child, const char *first, const char *second, struct answers *ret);

/* One that does a piece of work whenever it reads a byte, and then answers; it ends at the end of its input. */
struct worker {
	const struct child *child;
	int pid, input, output;
};

struct worker worker_begin(const struct child *child, const char *argument);
void worker_turn(const struct worker *worker, struct answers *ret);
void worker_end(const struct worker *worker);
/* One that does not read. */
void worker_kill(const struct worker *worker);

/* The names of code that a process left for perf go with it (src/agent/debugger.c): what ends a worker does that. */
void child_forget(int pid);

double answers_get(const struct answers *answers, const char *name);

#endif
