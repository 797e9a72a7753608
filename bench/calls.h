/* calls.h - measures what a call costs. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include "report.h"

void calls_measure(struct report *report);

#endif
