/* libstep.c - a library with bodies for the kinds of call (kinds.c): one that patches, one to point to. */
#include <stdint.h>

#include "hotpatch.h"

uint64_t far_step(uint64_t x);

HOTPATCH uint64_t by_library(uint64_t x)
{
	return x + 1;
}

uint64_t far_step(uint64_t x)
{
	return x + 1;
}
