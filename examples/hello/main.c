/* hello - two functions get other bodies from a shared library.
 *
 * libhello.c is compiled on its own and knows nothing of this program but the names and types of the two functions.
 * Before anything changes, hotpatch compares the types on both sides (the debug information of -g has them).
 */
#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

/* An ordinary function, called like any other. The mark makes room for a jump at its entry, nothing else. */
HOTPATCHABLE void greet(const char *name)
{
	printf("Hello, %s.\n", name);
}

/* A large program has more than one "greet". A path tells them apart, whatever their names in C. */
HOTPATCHABLE_AS("garden::greet") void greet_in_garden(const char *name)
{
	printf("Hello, %s, mind the roses.\n", name);
}

/* Every call of hotpatch answers 0 or a negative code. The sentence that belongs to it waits in hotpatch_error(). */
static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "%s\n", hotpatch_error()->message);
		exit(1);
	}
}

int main(void)
{
	greet("Ada");
	greet_in_garden("Ada");

	must(hotpatch_lib(greet, "./libhello.so")); /* found by its name */
	greet("Ada");
	greet_in_garden("Ada"); /* not asked for, not changed */

	must(hotpatch_lib(greet_in_garden, "./libhello.so")); /* found by its path */
	greet("Ada");
	greet_in_garden("Ada");
	return 0;
}
