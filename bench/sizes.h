/* sizes.h - measures how much larger a program gets when every function of it is prepared. */
#ifndef BENCH_SIZES_H
#define BENCH_SIZES_H

#include "report.h"

void sizes_measure(struct report *report, const char *folder);

#endif
