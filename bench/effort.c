#include "effort.h"

enum { LEAST = 10, ENOUGH = 5000 };

struct effort effort_begin(const struct report *report, double seconds, double quick_seconds)
{
	double time = report_quick(report) ? quick_seconds : seconds;
	return (struct effort){
		.least = LEAST,
		.enough = report_smoke(report) ? LEAST : ENOUGH,
		.until = timing_now() + (uint64_t)(time * 1e9),
	};
}

bool effort_more(const struct effort *effort, size_t n)
{
	return n < effort->least || (n < effort->enough && timing_now() < effort->until);
}
