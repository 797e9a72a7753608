/* footprint.h - what hotpatch costs a program beside time: room in the file, at the start, in memory, for malloc. */
#ifndef BENCH_FOOTPRINT_H
#define BENCH_FOOTPRINT_H

#include "report.h"

/* folder: where the benchmark was built; the programs it starts lie in its `programs`. */
void footprint_measure(struct report *report, const char *folder);

/* A figure that is one value: every quantile of it is. */
struct summary footprint_one(double value);

/* Adds a row of one value, without a ratio. */
void footprint_add(struct report *report, const char *what, const char *with, const char *unit, double value);

#endif
