/* many.h - 10,000 functions, prepared, and two further definitions for each. The trial (SMOKE=1 bench/run) has 1,000.
 */
#ifndef BENCH_MANY_H
#define BENCH_MANY_H

enum { MANY_BODIES = 2 };

struct many {
	const char *name;
	int (*function)(int);
	int (*bodies[MANY_BODIES])(int);
};

extern const struct many many[];
extern const unsigned n_many;

#endif
