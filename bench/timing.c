/* timing.c - the clock and the statistics of the benchmark. */
#include "timing.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

uint64_t timing_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double timing_us_since(uint64_t begin)
{
	return (double)(timing_now() - begin) / 1e3;
}

void samples_add(struct samples *samples, double value)
{
	if (samples->n == samples->capacity) {
		samples->capacity = samples->capacity > 0 ? 2 * samples->capacity : 1024;
		samples->values = realloc(samples->values, samples->capacity * sizeof(double));
		if (samples->values == NULL) {
			perror("bench");
			exit(1);
		}
	}
	samples->values[samples->n++] = value;
}

void samples_clear(struct samples *samples)
{
	free(samples->values);
	*samples = (struct samples){0};
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The value that a fraction q of the samples does not exceed, interpolated between its neighbours. */
static double quantile(const struct samples *sorted, double q)
{
	double at = q * (double)(sorted->n - 1);
	size_t below = (size_t)at;
	size_t above = below + 1 < sorted->n ? below + 1 : below;
	double weight = at - (double)below;
	return sorted->values[below] * (1 - weight) + sorted->values[above] * weight;
}

struct summary samples_summary(struct samples *samples)
{
	if (samples->n == 0)
		return (struct summary){0};
	qsort(samples->values, samples->n, sizeof(double), compare);
	return (struct summary){
		.n = samples->n,
		.min = samples->values[0],
		.p25 = quantile(samples, 0.25),
		.p50 = quantile(samples, 0.50),
		.p75 = quantile(samples, 0.75),
		.p99 = quantile(samples, 0.99),
		.max = samples->values[samples->n - 1],
	};
}
