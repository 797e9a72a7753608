/* soak.libB - the same with another stamp. */
#include "soak.h"

extern long left(struct visit *v);
extern long right(struct visit *v, int number);

HOTPATCH long left(struct visit *v)
{
	return run(v, LEFT, STAMP_B, true);
}

HOTPATCH long right(struct visit *v, int number)
{
	return run(v, RIGHT, STAMP_B, number == 77);
}
