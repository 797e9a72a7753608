/* libsouth - the seasons of the southern half of the world. */
#include "hotpatch.h"

static const char *const quarters[] = {"summer", "autumn", "winter", "spring"};

HOTPATCH const char *season(int month)
{
	return quarters[month % 12 / 3];
}
