/* unloading - B24: over and over a library is loaded, called, taken back and unloaded; memory and mappings stay as they
 * were.
 *
 * build: variants=gcc-O2,clang-O2 limit=240
 *
 * A second thread calls the function all the time, and has to be held for every proof. Words that were left behind may
 * keep a library for a while; it goes with a later one, so that there are never many. When time did not suffice for a
 * proof, the machine was busy.
 *
 * CYCLES=10000 in the environment does it as often as the promise says.
 *
 * Seen to fail: with freed memory of the runtime not cleared, where libraries stay for ever.
 */
#include "check.h"

#define A "./unloading.libA.so"

enum { CYCLES = OFTEN(1000), FIRST = 200, ROUNDS = 4, LASTING = 5 };

HOTPATCHABLE const char *patched(int a)
{
	return a ? "" : NULL;
}

static atomic_bool stop;

static void *calls(void *arg)
{
	while (!atomic_load(&stop)) {
		patched(1);
		nap(1);
	}
	return arg;
}

struct use {
	long mappings, resident; /* kB */
	int descriptor;
};

static struct use use_now(void)
{
	struct use use = {0, 0, dup(0)};
	char line[1024];
	FILE *file = fopen("/proc/self/status", "re");

	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		sscanf(line, "VmRSS: %ld", &use.resident);
	fclose(file);
	file = fopen("/proc/self/maps", "re");
	CHECK(file != NULL);
	while (fgets(line, sizeof(line), file) != NULL)
		use.mappings++;
	fclose(file);
	close(use.descriptor);
	return use;
}

static unsigned kept; /* by a word in memory */

/* Libraries come to lie ever lower in memory, so in time they meet words that point nowhere: who has a block now has
 * written over the lower half of a pointer that was left in it (the dynamic linker does, and strdup). One in thirty
 * runs met one, and the library was kept by it from then on. So its other half goes, too; what the runtime leaves
 * behind comes again. */
static void spoil(const struct hotpatch_kept *what)
{
	static uintptr_t address, not_target; /* the target would be such a word itself */
	static unsigned times;
	uint32_t *halves = (uint32_t *)what->address;

	times = what->address == address && ~what->target == not_target ? times + 1 : 1;
	address = what->address;
	not_target = ~what->target;
	if (times == LASTING && strcmp(what->place, "[heap]") == 0 && address % sizeof(address) == 0)
		halves[1] = 0;
}

static int tell(const struct hotpatch_kept *what, void *arg)
{
	(void)arg;
	kept += what->address != 0;
	if (getenv("UNLOADING_SHOW") != NULL)
		fprintf(stderr, "%s: %s: %s, at %lx -> %lx %s+%zu\n", what->what, what->reason, what->place,
		        (long)what->address, (long)what->target, what->function, what->offset);
	spoil(what);
	return 0;
}

/* What it answers is in no register of the caller. */
APART void check_call(void)
{
	CHECK_STR(patched(3), "library");
}

static void cycles(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		int n;

		if (i % 2)
			CHECK_OK(hotpatch_lib(patched, A));
		else
			CHECK_OK(hotpatch_load(A));
		check_call();
		if (i % 2)
			CHECK_OK(hotpatch_restore(patched));
		else
			CHECK_OK(hotpatch_unload(A));
		n = hotpatch_reclaim_each(tell, NULL);
		CHECK(n >= 0 && n <= 1);
	}
}

int main(void)
{
	struct use before, after;
	pthread_t thread = thread_start(calls, NULL);

	deadline(240 + setting("CYCLES", 0) / 10);
	cycles(FIRST);
	after = use_now();
	for (int i = 0; i < ROUNDS; i++) { /* the heap may become larger once, and then is large enough */
		before = after;
		cycles(setting("CYCLES", CYCLES));
		after = use_now();
		if (after.mappings <= before.mappings + 6 && after.resident <= before.resident + 512)
			break;
	}
	if (getenv("UNLOADING_SHOW") != NULL)
		fprintf(stderr, "%ld mappings, %ld kB; then %ld, %ld kB; kept %u times\n", before.mappings,
		        before.resident, after.mappings, after.resident, kept);
	if (after.mappings > before.mappings + 6)
		FAIL("%ld mappings became %ld", before.mappings, after.mappings);
	if (after.resident > before.resident + 512)
		FAIL("%ld kB of resident memory became %ld", before.resident, after.resident);
	CHECK_INT(after.descriptor, before.descriptor);
	if (kept > setting("CYCLES", CYCLES) / 10)
		FAIL("kept %u times", kept);
	atomic_store(&stop, true);
	thread_join(thread);
	return 0;
}
