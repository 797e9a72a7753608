/* reclaim.libB - registers what is to be called at exit, and answers with functions.
 *
 * build: cflags=-fno-sanitize=all
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "hotpatch.h"

extern const char *greet(int what);
extern void (*given)(int);
extern int exits;

static void at_exit(void)
{
	exits++;
}

__attribute__((constructor)) static void loaded(void)
{
	atexit(at_exit);
}

static void function(int value)
{
	(void)value;
}

HOTPATCH const char *greet(int what)
{
	given = what ? function : NULL;
	return "";
}
