/* soak.libC - one function, for hotpatch_lib. */
#include "soak.h"

extern long plain(struct visit *v, double number);

HOTPATCH long plain(struct visit *v, double number)
{
	return run(v, PLAIN, STAMP_C, number == 2.5);
}
