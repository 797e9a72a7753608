/* must.h - what has to succeed for a figure to mean anything; where it does not, the benchmark ends with the reason. */
#ifndef BENCH_MUST_H
#define BENCH_MUST_H

#include <stdbool.h>

/* A step of the benchmark itself; errno says why it failed. */
void must(bool done, const char *what);

/* A call of hotpatch: its code. */
void must_patch(int code);

#endif
