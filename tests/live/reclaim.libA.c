/* reclaim.libA - answers with a string of its own, and with pointers to what else it has.
 *
 * build: cflags=-fno-sanitize=all
 */
#include <stdlib.h>

#include "hotpatch.h"

extern const char *greet(int what);
extern void (*on_unload)(void);

static int counter;
static char text[] = "hello from a library";

HOTPATCH const char *greet(int what)
{
	counter++;
	return what == 1 ? text : what == 2 ? (const char *)&counter : "a constant of a library";
}

__attribute__((destructor)) static void unloaded(void)
{
	if (on_unload)
		on_unload();
}
