#include "keep.h"

#define GENERATION 0

static __attribute__((noinline)) int left(void)
{
	static volatile int calls;
	calls++;
	return GENERATION * 1000;
}

static __attribute__((noinline)) int right(void)
{
	static volatile int calls;
	calls++;
	return GENERATION;
}

static volatile int marker;

int pair(void)
{
	int n = left();
	marker = GENERATION; /* so that it changes with them, and all three as one */
	return n + right();
}
