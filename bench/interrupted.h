/* interrupted.h - counts the system calls of a program that notice a change, or what others do. */
#ifndef BENCH_INTERRUPTED_H
#define BENCH_INTERRUPTED_H

#include "report.h"

void interrupted_measure(struct report *report);

#endif
