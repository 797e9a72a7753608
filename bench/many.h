/* many.h - 10,000 functions, prepared, and two further definitions for each. */
#ifndef BENCH_MANY_H
#define BENCH_MANY_H

enum { MANY = 10000, MANY_BODIES = 2 };

struct many {
	const char *name;
	int (*function)(int);
	int (*bodies[MANY_BODIES])(int);
};

extern const struct many many[MANY];

#endif
