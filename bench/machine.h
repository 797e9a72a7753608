/* machine.h - what the figures of a report belong to: the machine, the compiler, the day, and who else was there. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdbool.h>

/* Seconds of all processors together. */
struct machine_time {
	double all, busy, own; /* own: of busy, what this program and those it started used */
	double stolen;         /* the hypervisor gave it to others */
};

struct machine {
	char cpu[128]; /* the processor's name */
	long cpus;
	bool is_virtual;
	char kernel[160]; /* "Linux 6.1.0" */
	const char *compiler;
	char date[32]; /* 2024-12-31T23:59:59Z */
	double load;   /* average of the minute before the start */
	struct machine_time start;
	double others, stolen; /* share of the processors' time between start and end, 0 to 1 */
};

void machine_begin(struct machine *ret_machine);
void machine_end(struct machine *machine); /* fills in what others used */

/* Whether others used so much of the machine that the figures may be too high. */
bool machine_busy(const struct machine *machine);

#endif
