/* force - functions are replaced while they run, by themselves: main, then a chain in which each step sets the next.
 *
 * Without HOTPATCH_FORCE hotpatch waits until nobody is in the old body, and refuses at once where that can never
 * happen because the caller itself is in it. HOTPATCH_FORCE switches without asking: who is inside runs on to the end
 * of the old body, and every new call takes the new one. What must not run side by side is then for you to know.
 */
#include <stdio.h>

#include "hotpatch.h"

void step(void);

static void step_three(void)
{
	printf("  step 3: the last, it leaves things as they are\n");
}

static void step_two(void)
{
	printf("  step 2 begins\n");
	if (hotpatch_fn(step, step_three, .mode = HOTPATCH_FORCE) == 0)
		step();
	printf("  step 2 ends\n");
}

HOTPATCHABLE void step(void)
{
	printf("  step 1 begins\n");
	if (hotpatch_fn(step, step_two, .mode = HOTPATCH_FORCE) == 0)
		step(); /* the name now leads to step_two */
	printf("  step 1 ends\n");
}

static int new_main(int argc, char **argv)
{
	(void)argv;
	printf("  the new main, called with %d arguments\n", argc);
	return 0;
}

HOTPATCHABLE int main(int argc, char **argv)
{
	(void)argc;
	/* Asked politely, hotpatch sees that this very thread stands in main. */
	printf("main, politely: %s\n", hotpatch_code_name(hotpatch_fn(main, new_main)));

	int code = hotpatch_fn(main, new_main, .mode = HOTPATCH_FORCE);
	printf("main, by force: %s, and the old main runs on\n", hotpatch_code_name(code));
	if (code == 0)
		main(42, argv);

	printf("a chain:\n");
	step();
	printf("called again:\n");
	step();
	return 0;
}
