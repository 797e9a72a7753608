/* rendezvous.h - every thread is stopped by a signal: the way of runtimes and of libraries that patch their own
 * process.
 *
 * Each thread gets a real-time signal. Its handler says that it is there and waits; when all are there nobody runs, the
 * program could be changed, and all are let go.
 */
#ifndef BENCH_RENDEZVOUS_H
#define BENCH_RENDEZVOUS_H

#include <sys/types.h>

/* The handler, installed and taken back. System calls are restarted where the kernel can do that (SA_RESTART). */
void rendezvous_begin(void);
void rendezvous_end(void);

/* Stops these threads of this process, of which the calling one is none, and lets them go. Microseconds from the first
 * signal until all had arrived and were told to go on; returns when all have left the handler. */
double rendezvous_hold(const pid_t *tids, unsigned n);

#endif
