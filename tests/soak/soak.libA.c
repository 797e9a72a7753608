/* soak.libA - definitions of the functions that libraries replace. */
#include "soak.h"

extern long left(struct visit *v);
extern long right(struct visit *v, int number);

HOTPATCH long left(struct visit *v)
{
	return run(v, LEFT, STAMP_A, true);
}

HOTPATCH long right(struct visit *v, int number)
{
	return run(v, RIGHT, STAMP_A, number == 77);
}
