/* badinput.libD - needs what nobody defines, so that the dynamic linker refuses it. */
#include "hotpatch.h"

extern int target(int a);
extern int badinput_is_not_defined_anywhere(int a);

HOTPATCH int target(int a)
{
	return badinput_is_not_defined_anywhere(a);
}
