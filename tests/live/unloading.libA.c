/* unloading.libA - has data, and something to do at exit.
 *
 * build: cflags=-fno-sanitize=all
 */
#include <stdlib.h>

#include "hotpatch.h"

extern const char *patched(int a);

static int calls;
static char text[1 << 16] = "library";

static void at_exit(void)
{
	calls = -1;
}

__attribute__((constructor)) static void loaded(void)
{
	atexit(at_exit);
}

HOTPATCH const char *patched(int a)
{
	text[0x1000 + a] = 1;
	calls++;
	return text;
}
