/* apply.h - measures what a change of definition costs the thread that makes it, and what each mode costs. */
#ifndef BENCH_APPLY_H
#define BENCH_APPLY_H

#include "report.h"

void apply_measure(struct report *report);

#endif
