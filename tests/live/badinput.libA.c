/* badinput.libA - fits for `target`; `moved` has another struct, `bad::twice` is there twice, `nowhere` is not. */
#include "hotpatch.h"

struct point {
	int x;
	char name[8];
	int y;
};

extern int target(int a);
extern int moved(struct point *point);
extern int twice_one(int a);
extern int twice_two(int a);

HOTPATCH int target(int a)
{
	return a + 2;
}

HOTPATCH int moved(struct point *point)
{
	return point->x + 2;
}

HOTPATCH_AS("bad::twice") int twice_one(int a)
{
	return a + 21;
}

HOTPATCH_AS("bad::twice") int twice_two(int a)
{
	return a + 22;
}
