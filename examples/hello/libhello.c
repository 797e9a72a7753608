/* libhello - the new bodies. HOTPATCH marks what may replace a function of the same name or path. */
#include <stdio.h>

#include "hotpatch.h"

HOTPATCH void greet(const char *name)
{
	printf("Good morning, %s!\n", name);
}

HOTPATCH_AS("garden::greet") void any_name_will_do(const char *name)
{
	printf("Good morning, %s! The roses are out.\n", name);
}
