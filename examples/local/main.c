/* local - a function gets another body from the program itself: first a function, then a closure.
 *
 * A closure is a function together with a context of its own. C has none; hotpatch keeps the context beside the body,
 * which asks for it first thing. The destructor runs once, when the closure has been replaced and nobody is in it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "hotpatch.h"

HOTPATCHABLE int add(int a, int b)
{
	return a + b;
}

/* The type must be that of add. Another one, say (long, int), is an error when this file is compiled. */
static int add_and_tell(int a, int b)
{
	printf("  %d and %d were added\n", a, b);
	return a + b;
}

struct bonus {
	int each;  /* what every sum is given on top */
	int given; /* how often */
};

static int add_with_bonus(int a, int b)
{
	struct bonus *bonus = hotpatch_context();
	bonus->given++;
	return a + b + bonus->each;
}

static void bonus_free(void *context)
{
	struct bonus *bonus = context;
	printf("  the closure is gone, it gave %d bonuses of %d\n", bonus->given, bonus->each);
	free(bonus);
}

static struct bonus *bonus_new(int each)
{
	struct bonus *bonus = calloc(1, sizeof(*bonus));
	if (bonus == NULL)
		exit(1);
	bonus->each = each;
	return bonus;
}

static void must(int code)
{
	if (code != 0) {
		fprintf(stderr, "%s\n", hotpatch_error()->message);
		exit(1);
	}
}

int main(void)
{
	printf("as compiled: %d\n", add(2, 3));

	must(hotpatch_fn(add, add_and_tell));
	printf("a function: %d\n", add(2, 3));

	must(hotpatch_closure(add, add_with_bonus, bonus_new(10), bonus_free));
	printf("a closure: %d\n", add(2, 3));
	printf("a closure: %d\n", add(4, 5));

	/* The same body with another context is another closure; this one ends the first. */
	must(hotpatch_closure(add, add_with_bonus, bonus_new(100), bonus_free));
	printf("another closure: %d\n", add(2, 3));

	/* The name of add is its original entry, patched; the original body is still to be had. */
	printf("the original, asked for: %d\n", hotpatch_original(add)(2, 3));

	must(hotpatch_restore(add));
	printf("restored: %d\n", add(2, 3));
	return 0;
}
