/* throughput.h - measures what linking or preloading hotpatch costs malloc. */
#ifndef BENCH_THROUGHPUT_H
#define BENCH_THROUGHPUT_H

#include "report.h"

void throughput_measure(struct report *report, const char *folder);

#endif
