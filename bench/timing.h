/* timing.h - the clock and the statistics of the benchmark. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stddef.h>
#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC_RAW, which no time daemon speeds up or slows down. */
uint64_t timing_now(void);

/* Microseconds since a moment that timing_now() told. */
double timing_us_since(uint64_t begin);

/* A number of measurements of one thing. All zero is an empty one. */
struct samples {
	double *values;
	size_t n, capacity;
};

void samples_add(struct samples *samples, double value);
void samples_clear(struct samples *samples);

struct summary {
	size_t n;
	double min, p25, p50, p75, p99, max;
};

/* Sorts the samples. All zero where there are none. */
struct summary samples_summary(struct samples *samples);

#endif
