/* sets.h - measures what a change of many functions at one instant costs. */
#ifndef BENCH_SETS_H
#define BENCH_SETS_H

#include "report.h"

void sets_measure(struct report *report);

#endif
