/* tracer.h - every thread is stopped by ptrace: the way of debuggers and of tools that patch from outside.
 *
 * A child process seizes each thread of its parent, interrupts it, waits until all are stopped, and lets them go. The
 * child takes the time.
 */
#ifndef BENCH_TRACER_H
#define BENCH_TRACER_H

#include <sys/types.h>

struct tracer {
	pid_t child;
	int ask, answer; /* ends of pipes */
};

/* Starts the child, which holds copies of the caller's files until tracer_end. */
void tracer_begin(struct tracer *tracer, const pid_t *tids, unsigned n);

/* Has the child stop those threads and the one that called tracer_begin, and let them go. 0 and the microseconds it
 * took, or why the system refuses (errno). */
int tracer_hold(struct tracer *tracer, double *ret_us);

void tracer_end(struct tracer *tracer);

#endif
