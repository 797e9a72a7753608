/* failed.libA - a function that fits, and one of another type. */
#include "hotpatch.h"

extern int one(int stays);
extern long two(long a, char b);

HOTPATCH int one(int stays)
{
	return stays + 100;
}

HOTPATCH long two(long a, char b)
{
	return a + b;
}
