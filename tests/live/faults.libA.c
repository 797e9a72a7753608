/* faults.libA - definitions of all three functions. */
#include "hotpatch.h"

extern int one(int a), two(int a), three(int a);

HOTPATCH int one(int a)
{
	return a + 2;
}

HOTPATCH int two(int a)
{
	return a + 2;
}

HOTPATCH int three(int a)
{
	return a + 2;
}
