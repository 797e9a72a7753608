/* badinput.libC - marks a function the program has and one it has not. */
#include "hotpatch.h"

extern int target(int a);
extern int the_program_has_no_such_function(int a);

HOTPATCH int target(int a)
{
	return a + 2;
}

HOTPATCH int the_program_has_no_such_function(int a)
{
	return a + 2;
}
