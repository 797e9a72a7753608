/* library.libC - two plain functions. */
#include "hotpatch.h"

extern int plain(int a);
extern int other(int a);

HOTPATCH int plain(int a)
{
	return a + 300;
}

HOTPATCH int other(int a)
{
	return a + 301;
}
