/* callers.h - measures how long callers of a function are held while its definition is changed. */
#ifndef BENCH_CALLERS_H
#define BENCH_CALLERS_H

#include "report.h"

void callers_measure(struct report *report);

#endif
