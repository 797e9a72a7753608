/* functions.c - many functions, for programs of which they are all there is.
 *
 * They lie 256 bytes apart, about as far as those of a real program (bench/sizes.c says how far those of hotpatch do).
 */
#include "functions.h"

#define DEFINE(n)                                                                                                      \
	__attribute__((aligned(256))) int function_##n(int x)                                                          \
	{                                                                                                              \
		return x + 1;                                                                                          \
	}
EACH_FUNCTION(DEFINE)
