/* effort.h - how long to go on measuring: until there are enough samples, or the time is over. */
#ifndef BENCH_EFFORT_H
#define BENCH_EFFORT_H

#include "report.h"

struct effort {
	size_t least, enough; /* samples */
	uint64_t until;       /* of timing_now() */
};

/* From now on for so many seconds, fewer in a quick run. A smoke test takes ten samples, however long they take. */
struct effort effort_begin(const struct report *report, double seconds, double quick_seconds);

/* Whether n samples are too few. */
bool effort_more(const struct effort *effort, size_t n);

#endif
