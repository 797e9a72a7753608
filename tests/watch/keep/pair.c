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

int pair(void)
{
	int n = left();
	return n + right();
}
