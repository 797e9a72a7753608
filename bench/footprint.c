/* footprint.c - the parts of the footprint, from the file to the running program. */
#include "footprint.h"

#include <stdio.h>

#include "resident.h"
#include "sizes.h"
#include "startup.h"
#include "throughput.h"

struct summary footprint_one(double value)
{
	return (struct summary){
		.n = 1,
		.min = value,
		.p25 = value,
		.p50 = value,
		.p75 = value,
		.p99 = value,
		.max = value,
	};
}

void footprint_add(struct report *report, const char *what, const char *with, const char *unit, double value)
{
	report_add(report, REPORT_FOOTPRINT, &(struct figure){what, with, 0, unit, footprint_one(value), {0}});
}

void footprint_measure(struct report *report, const char *folder)
{
	fprintf(stderr, "bench: footprint, sizes\n");
	sizes_measure(report, folder);
	fprintf(stderr, "bench: footprint, start-up\n");
	startup_measure(report, folder);
	fprintf(stderr, "bench: footprint, malloc\n");
	throughput_measure(report, folder);
	fprintf(stderr, "bench: footprint, memory\n");
	resident_measure(report, folder);
}
