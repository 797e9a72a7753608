/* prepared - a whole program compiled with -fpatchable-function-entry, without a mark in it.
 *
 * build: variants=gcc-O0-prepared,gcc-O2-prepared,gcc-Os-prepared,clang-O0-prepared,clang-O2-prepared
 * build: gcc-O2-cet-prepared
 *
 * Every function of it can be patched, static ones and main included; each twice, and restored to its bytes. Compilers
 * may still reason about functions that are not marked, so what is changed here is called through pointers.
 *
 * Seen to fail: with jumps not taken back.
 */
#include "check.h"

static volatile int one = 1;

int global(int a);
int global(int a)
{
	return a + one;
}

static int local(int a)
{
	return a + one;
}

__attribute__((cold)) static int rare(int a)
{
	return a + one;
}

static int two(int a)
{
	return a + 2 * one;
}

static int three(int a)
{
	return a + 3 * one;
}

typedef int function(int);

static const struct hotpatch_options defaults = {.size = sizeof(defaults)};

static int change(function *entry, function *body)
{
	return hotpatch_fn_at(hotpatch_marks_(), "entry", (hotpatch_any)entry, (hotpatch_any)body, &defaults);
}

/* The bodies are prepared as well. A definition is a function's own code: what becomes of calls of that function is
 * another matter. */
static void each(function *volatile entry)
{
	unsigned char before[48];
	function *volatile again = three;

	memcpy(before, (const char *)(uintptr_t)entry - 16, sizeof(before));
	CHECK_INT(entry(0), 1);
	CHECK_OK(change(entry, two));
	CHECK_INT(entry(0), 2);
	CHECK_OK(change(entry, three));
	CHECK_INT(entry(0), 3);
	CHECK_OK(change(three, two));
	CHECK_INT(entry(0), 3);
	CHECK_INT(again(0), 2);
	CHECK_OK(hotpatch_restore(three));
	CHECK_INT(entry(0), 3);
	CHECK_INT(again(0), 3);
	CHECK_OK(hotpatch_restore_at(hotpatch_marks_(), "entry", (hotpatch_any)entry, &defaults));
	CHECK_INT(entry(0), 1);
	CHECK(memcmp(before, (const char *)(uintptr_t)entry - 16, sizeof(before)) == 0);
}

static int turns;

int main(int argc, char **argv);

static int other_main(int argc, char **argv)
{
	(void)argv;
	return argc + 10;
}

/* Found out by calling main again. */
static int patched_main(int argc, char **argv)
{
	int (*volatile again)(int, char **) = main;

	CHECK_OK(hotpatch_fn(main, other_main, .mode = HOTPATCH_FORCE));
	CHECK_INT(again(argc, argv), argc + 10);
	CHECK_OK(hotpatch_restore(main, .mode = HOTPATCH_FORCE));
	CHECK_INT(again(argc, argv), 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (turns++ > 0)
		return 0;
	deadline(30);
	each(global);
	each(local);
	each(rare);
	return patched_main(argc, argv);
}
