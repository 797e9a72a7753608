/* clock - when something happens, in milliseconds of the monotonic clock. */
#ifndef HP_WATCH_CLOCK_H
#define HP_WATCH_CLOCK_H

#include <time.h>

static inline double hp_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

#endif
