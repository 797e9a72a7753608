/* resident.h - measures the memory that patched functions take. */
#ifndef BENCH_RESIDENT_H
#define BENCH_RESIDENT_H

#include "report.h"

void resident_measure(struct report *report, const char *folder);

#endif
