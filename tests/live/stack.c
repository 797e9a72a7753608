/* stack - patches lie on one another, and any may go first.
 *
 * Three sets on one function, with one of hotpatch_fn's changes among them or not, applied in every order and reverted
 * in every order. After each step the function runs the topmost that remains, hotpatch_original leads from each
 * definition to the one beneath it and at last to the original, and hotpatch_for_each lists the levels as they lie.
 *
 * Seen to fail: with hotpatch_original always leading to the original.
 */
#include "check.h"

enum { SETS = 3, ORDERS = 6, MAX = 8 };

static volatile int base = 1;

/* Each definition adds its digit to what the one beneath it makes: the result tells who lies on whom. */
HOTPATCHABLE long stacked(int depth)
{
	return base + 0 * depth;
}

HOTPATCHABLE long neighbour(int depth)
{
	return base + 0 * depth;
}

#define LEVEL(name, digit)                                                                                             \
	APART long name(int depth)                                                                                     \
	{                                                                                                              \
		return hotpatch_original(stacked)(depth + 1) * 10 + digit;                                             \
	}                                                                                                              \
	APART long neighbour_##name(int depth)                                                                         \
	{                                                                                                              \
		return hotpatch_original(neighbour)(depth + 1) * 10 + digit;                                           \
	}

LEVEL(two, 2)
LEVEL(three, 3)
LEVEL(four, 4)
LEVEL(five, 5)

typedef long body(int);

static body *const bodies[SETS] = {two, three, four};
static body *const neighbours[SETS] = {neighbour_two, neighbour_three, neighbour_four};
static const char *const names[SETS] = {"two", "three", "four"};
static struct hotpatch *sets[SETS];

static const int orders[ORDERS][SETS] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* -- What should lie there ----------------------------------------------------------------------------------- */

enum { OF_FN = -1 }; /* a level that hotpatch_fn made, which only `stacked` has */

static int levels[MAX], count;

static void push(int level)
{
	levels[count++] = level;
}

static void drop(int level)
{
	for (int i = 0, kept = 0, all = count; i < all; i++)
		if (levels[i] != level)
			levels[kept++] = levels[i];
		else
			count--;
}

static long expected(bool with_fn)
{
	long result = 1;

	for (int i = 0; i < count; i++)
		if (levels[i] != OF_FN)
			result = result * 10 + levels[i] + 2;
		else if (with_fn)
			result = result * 10 + 5;
	return result;
}

struct listing {
	int at;
	time_t now;
};

static void check_level(const struct hotpatch_info *info, const struct listing *listing)
{
	int level = levels[listing->at];

	CHECK(listing->at < count);
	CHECK_STR(info->function, "stacked");
	CHECK_STR(info->patch, level == OF_FN ? "" : names[level]);
	CHECK(info->body == (hotpatch_any)(level == OF_FN ? five : bodies[level]));
	CHECK_STR(info->definition, level == OF_FN ? "five" : names[level]);
	CHECK_INT(info->level, listing->at + 1);
	CHECK_INT(info->current, listing->at + 1 == count);
	/* time() counts in ticks and may be behind. */
	CHECK(info->since.tv_sec > listing->now - 100 && info->since.tv_sec <= listing->now + 1);
}

static int list(const struct hotpatch_info *info, void *arg)
{
	struct listing *listing = arg;

	if (info->address != (hotpatch_any)stacked)
		return 0;
	check_level(info, listing);
	listing->at++;
	return 0;
}

static void check_all(void)
{
	struct listing listing = {0, time(NULL)};

	CHECK_INT(stacked(0), expected(true));
	CHECK_INT(neighbour(0), expected(false));
	CHECK_INT(hotpatch_original(stacked)(0), 1); /* from outside: the original */
	CHECK_INT(hotpatch_for_each(list, &listing), 0);
	CHECK_INT(listing.at, count);
}

/* -- Every order --------------------------------------------------------------------------------------------- */

static void apply(int set)
{
	CHECK_OK(hotpatch_apply(sets[set]));
	push(set);
	check_all();
}

static void revert(int set)
{
	CHECK_OK(hotpatch_revert(sets[set]));
	drop(set);
	check_all();
}

static void in_orders(const int *up, const int *down)
{
	for (int i = 0; i < SETS; i++)
		apply(up[i]);
	for (int i = 0; i < SETS; i++)
		revert(down[i]);
	CHECK_INT(count, 0);
}

/* hotpatch_fn's change is the topmost the moment it is made, wherever its predecessor lay. */
static void with_fn(const int *down)
{
	apply(0);
	CHECK_OK(hotpatch_fn(stacked, five));
	push(OF_FN);
	check_all();
	apply(1);
	CHECK_OK(hotpatch_fn(stacked, five));
	drop(OF_FN);
	push(OF_FN);
	check_all();
	apply(2);
	for (int i = 0; i < SETS; i++)
		revert(down[i]);
	CHECK_OK(hotpatch_restore(stacked));
	drop(OF_FN);
	check_all();
}

/* A change that is made and gone again in between leaves those above and below. */
static void in_between(void)
{
	apply(0);
	apply(1);
	revert(0);
	apply(2);
	apply(0);
	revert(2);
	apply(2);
	revert(1);
	revert(0);
	revert(2);
}

/* Restoring takes all levels of the one function away; the sets hold for their other functions. */
static void restored(void)
{
	apply(0);
	apply(1);
	CHECK_OK(hotpatch_restore(stacked));
	CHECK_INT(stacked(0), 1);
	CHECK_INT(neighbour(0), 123);
	CHECK_OK(hotpatch_revert(sets[0]));
	CHECK_INT(stacked(0), 1);
	CHECK_INT(neighbour(0), 13);
	CHECK_OK(hotpatch_revert(sets[1]));
	CHECK_INT(stacked(0), 1);
	CHECK_INT(neighbour(0), 1);
	drop(0);
	drop(1);
	check_all();
}

static int stop_at_second(const struct hotpatch_info *info, void *arg)
{
	(void)info;
	return ++*(int *)arg == 2 ? 42 : 0;
}

static void listing_stops(void)
{
	int calls = 0;

	apply(0);
	apply(1);
	CHECK_INT(hotpatch_for_each(stop_at_second, &calls), 42);
	CHECK_INT(calls, 2);
	revert(1);
	revert(0);
}

int main(void)
{
	deadline(30);
	for (int i = 0; i < SETS; i++) {
		sets[i] = hotpatch_new(names[i]);
		CHECK_OK(hotpatch_replace(sets[i], stacked, bodies[i]));
		CHECK_OK(hotpatch_replace(sets[i], neighbour, neighbours[i]));
	}
	check_all();
	for (int up = 0; up < ORDERS; up++)
		for (int down = 0; down < ORDERS; down++)
			in_orders(orders[up], orders[down]);
	for (int down = 0; down < ORDERS; down++)
		with_fn(orders[down]);
	in_between();
	restored();
	listing_stops();
	for (int i = 0; i < SETS; i++)
		CHECK_OK(hotpatch_free(sets[i]));
	return 0;
}
