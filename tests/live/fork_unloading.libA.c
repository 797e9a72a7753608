#include "hotpatch.h"

HOTPATCH int patched(int a)
{
	return a + 40;
}
