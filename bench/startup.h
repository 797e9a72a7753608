/* startup.h - measures what linking or preloading hotpatch costs a program that patches nothing. */
#ifndef BENCH_STARTUP_H
#define BENCH_STARTUP_H

#include "report.h"

void startup_measure(struct report *report, const char *folder);

#endif
