#include "target.h"

#include "hotpatch.h"
#include "must.h"

HOTPATCHABLE int target(int x)
{
	return x + 1;
}

#ifdef __clang__
__attribute__((noinline, weak))
#else
__attribute__((noipa))
#endif
int target_unprepared(int x)
{
	__asm__ volatile("nop");
	return x + 1;
}

int target_one(int x)
{
	return x + 1;
}

int target_two(int x)
{
	return 1 + x;
}

void target_change(unsigned number)
{
	switch (number % 3) {
	case 0:
		must_patch(hotpatch_fn(target, target_one));
		break;
	case 1:
		must_patch(hotpatch_fn(target, target_two));
		break;
	default:
		target_restore();
	}
}

void target_restore(void)
{
	must_patch(hotpatch_restore(target));
}
