/* libnorth - the seasons of the northern half of the world. */
#include "hotpatch.h"

/* Tables, helpers and variables of a library are its own. */
static const char *const quarters[] = {"winter", "spring", "summer", "autumn"};

HOTPATCH const char *season(int month)
{
	return quarters[month % 12 / 3];
}
