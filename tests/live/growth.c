/* growth - B24: 10,000 changes leave memory and mappings as 100 did.
 *
 * build: variants=gcc-O2 limit=120
 *
 * Functions, closures and sets, made and freed, and a function that was not prepared redirected and restored; resident
 * memory and the number of mappings and descriptors are compared after a first part, which may load and reserve what it
 * needs for good.
 *
 * Seen to fail: with landings of closures not freed; with the question about first instructions not closed.
 */
#include "check.h"
#include "maps.h"

static volatile int one = 1;

HOTPATCHABLE int patched(int a)
{
	return a + one;
}

HOTPATCHABLE int neighbour(int a)
{
	return a + one;
}

APART int plain(int a)
{
	return a * 3 + one;
}

APART int two(int a)
{
	return a + 2 * one;
}

APART int closure(int a)
{
	int *context = hotpatch_context();

	return a + *context;
}

static void as_set(void)
{
	struct hotpatch *patch = hotpatch_new("growth");

	CHECK_OK(hotpatch_replace(patch, patched, two));
	CHECK_OK(hotpatch_replace_closure(patch, neighbour, closure, malloc(sizeof(int)), free));
	CHECK_OK(hotpatch_apply(patch));
	CHECK_INT(patched(0), 2);
	CHECK_OK(hotpatch_revert(patch));
	CHECK_OK(hotpatch_free(patch));
}

static void change(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		int *context = malloc(sizeof(*context));

		CHECK(context != NULL);
		*context = 3;
		CHECK_OK(hotpatch_fn(patched, two));
		CHECK_OK(hotpatch_closure(patched, closure, context, free));
		CHECK_INT(patched(0), 3);
		CHECK_OK(hotpatch_restore(patched));
		as_set();
		if (i % 16 == 0 && can_change_unprepared()) {
			CHECK_OK(hotpatch_fn(plain, two, .unprepared = true));
			CHECK_INT(plain(1), 3);
			CHECK_OK(hotpatch_restore(plain));
			CHECK_INT(plain(1), 4);
		}
	}
}

struct use {
	size_t mappings;
	long resident; /* kB */
	int descriptor;
};

static struct use use_now(void)
{
	struct use use = {0, 0, dup(0)};
	struct maps *maps = maps_read();
	char line[256];
	FILE *file = fopen("/proc/self/status", "re");

	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		sscanf(line, "VmRSS: %ld", &use.resident);
	fclose(file);
	use.mappings = maps->count;
	maps_free(maps);
	close(use.descriptor);
	return use;
}

int main(void)
{
	struct use before, after;

	deadline(110);
	change(100);
	before = use_now();
	change(2000); /* of five changes each, and a little */
	after = use_now();
	if (after.mappings > before.mappings + 1)
		FAIL("%zu mappings became %zu", before.mappings, after.mappings);
	if (after.resident > before.resident + 256)
		FAIL("%ld kB of resident memory became %ld", before.resident, after.resident);
	CHECK_INT(after.descriptor, before.descriptor);
	return 0;
}
