#include "keep.h"

static __thread int mine = 5;
static volatile int made; /* so that no compiler runs the constructor itself */
static int table[4] = {1, 2, 3, 4};
static struct box box = {2, 3};
static const char *const saying = "old";
static const int primes[] = {2, 3, 5, 7};

__attribute__((constructor)) static void construct(void)
{
	made += 1;
}

int per_thread(int n)
{
	mine += n;
	return mine;
}

int constructed(int n)
{
	return made * 10 + n * 3 / 7;
}

int twice(int n)
{
	static int calls = 100;
	calls += n;
	return calls;
}

int sum(int n)
{
	table[n & 3] += n;
	return table[0] + table[1] + table[2] + table[3];
}

int size(int n)
{
	box.width += n;
	return box.width * box.height;
}

int motto(int n)
{
	return saying[n] * 3 / 3;
}

int prime(int n)
{
	return primes[n] * 3 / 3;
}
