/* others.h - measures the two ways others use to stop a program: a signal to every thread, and ptrace. */
#ifndef BENCH_OTHERS_H
#define BENCH_OTHERS_H

#include "report.h"

void others_measure(struct report *report);

#endif
