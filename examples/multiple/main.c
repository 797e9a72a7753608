/* multiple - two libraries replace the same function, one after the other, and then the original returns.
 *
 * A library that has been replaced stays in memory: something of it may still be in use, as the string below is.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

HOTPATCHABLE const char *season(int month)
{
	return month < 6 ? "the first half of the year" : "the second half of the year";
}

static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "%s\n", hotpatch_error()->message);
		exit(1);
	}
}

int main(void)
{
	printf("as compiled: month 4 is in %s\n", season(4));

	must(hotpatch_lib(season, "./libnorth.so"));
	const char *north = season(4);
	printf("libnorth: month 4 is in %s\n", north);

	must(hotpatch_lib(season, "./libsouth.so"));
	printf("libsouth: month 4 is in %s\n", season(4));
	printf("and libnorth's answer can still be read: %s\n", north);

	/* A library is loaded once; going back to it is another change of definition. */
	must(hotpatch_lib(season, "./libnorth.so"));
	printf("libnorth: month 4 is in %s\n", season(4));

	must(hotpatch_restore(season));
	printf("restored: month 4 is in %s\n", season(4));
	return 0;
}
