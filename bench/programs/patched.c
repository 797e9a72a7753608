/* patched.c - what memory a program holds before, while and after its functions are patched.
 *
 *     patched set               all functions, as one set: before it, applied, reverted and freed
 *     patched one               one function, the first that is patched: before it, patched
 *     patched nameless          the same, where it takes the inspect plugin to find the name
 *     patched sets N            N times a set of one function made, applied, reverted and freed
 *     patched closures N        N times a closure put on a function and taken off
 *
 * The last two say how things stand after a first few hundred times, and at the end.
 */
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "hotpatch.h"
#include "memory.h"

enum { WARM_UP = 1000 };

static const struct {
	const char *name;
	int (*function)(int);
} functions[] = {
#define ENTRY(n) {"function_" #n, function_##n},
	EACH_FUNCTION(ENTRY)
#undef ENTRY
};

/* -- How things stand ------------------------------------------------------------------------------------------ */

/* KiB. own: pages of no file, or copies of its pages; of these: text, copies of the functions' pages; near, what
 * hotpatch generates code into. heap: what has been allocated and not been freed. */
struct standing {
	double rss, own, text, near, heap;
	size_t mappings;
};

static bool holds_functions(const struct mapping *mapping)
{
	uintptr_t first = (uintptr_t)functions[0].function, last = (uintptr_t)functions[N_FUNCTIONS - 1].function;
	return mapping->executable && mapping->high > first && mapping->low <= last;
}

/* Code that is of no file, and the data that lies directly below it (src/code/near.h). */
static double near_of(const struct memory *memory)
{
	size_t sum = 0;
	for (size_t i = 0; i < memory->n; i++) {
		const struct mapping *code = &memory->mappings[i], *data = i > 0 ? code - 1 : code;
		if (code->named || !code->executable)
			continue;
		sum += code->own;
		if (!data->named && !data->executable && data->high == code->low)
			sum += data->own;
	}
	return (double)sum;
}

static struct standing standing(void)
{
	static struct memory memory;
	struct mallinfo2 heap = mallinfo2();

	memory_read(&memory);
	struct standing now = {
		.rss = (double)memory_rss(&memory),
		.own = (double)memory_own(&memory),
		.near = near_of(&memory),
		.heap = (double)(heap.uordblks + heap.hblkhd) / 1024,
		.mappings = memory.n,
	};
	for (size_t i = 0; i < memory.n; i++)
		if (holds_functions(&memory.mappings[i]))
			now.text += (double)memory.mappings[i].own;
	return now;
}

static void tell(const char *when, struct standing then)
{
	printf("%s.rss %.3f\n%s.own %.3f\n", when, then.rss, when, then.own);
	printf("%s.text %.3f\n%s.near %.3f\n%s.heap %.3f\n", when, then.text, when, then.near, when, then.heap);
	printf("%s.mappings %zu\n", when, then.mappings);
}

/* -- What is done ---------------------------------------------------------------------------------------------- */

static void must(bool done, const char *what)
{
	if (done)
		return;
	fprintf(stderr, "patched: %s: %s\n", what, hotpatch_error()->message);
	exit(1);
}

/* The bodies are marked, so that nobody has to look for parts of them elsewhere. */
HOTPATCH int replacement(int x)
{
	return -x;
}

HOTPATCH int closure(int x)
{
	return x - *(const int *)hotpatch_context();
}

static void must_answer(bool patched)
{
	for (int i = 0; i < N_FUNCTIONS; i++)
		must(functions[i].function(1) == (patched ? -1 : 2), functions[i].name);
}

/* What hotpatch_replace does, with names from the table. */
static void set_add(struct hotpatch *set, unsigned i)
{
	must(hotpatch_replace_at(set, hotpatch_marks_(), functions[i].name, (hotpatch_any)functions[i].function,
	                         (hotpatch_any)replacement, NULL) == 0,
	     "adding to the set");
}

static void patch_all(void)
{
	struct standing before = standing();
	struct hotpatch *set = hotpatch_new("all");

	must(set != NULL, "a set");
	for (unsigned i = 0; i < N_FUNCTIONS; i++)
		set_add(set, i);
	must(hotpatch_apply(set) == 0, "applying");
	struct standing applied = standing();
	must_answer(true);
	must(hotpatch_revert(set) == 0, "reverting");
	must_answer(false);
	must(hotpatch_free(set) == 0, "freeing");
	tell("before", before);
	tell("applied", applied);
	tell("freed", standing());
}

static int is_plugin(struct dl_phdr_info *image, size_t size, void *unused)
{
	(void)size, (void)unused;
	return strstr(image->dlpi_name, "libhotpatch-inspect") != NULL;
}

/* Without its name hotpatch asks the plugin for it. */
static void patch_one(bool by_name)
{
	struct standing before = standing();
	must((by_name ? hotpatch_fn(function_5000, replacement) : hotpatch_fn(functions[5000].function, replacement)) ==
	             0,
	     "patching");
	struct standing applied = standing();
	must(functions[5000].function(1) == -1, "the patched function");
	printf("plugin %d\n", dl_iterate_phdr(is_plugin, NULL));
	tell("before", before);
	tell("applied", applied);
}

static void cycle_set(void)
{
	struct hotpatch *set = hotpatch_new("one");
	must(set != NULL, "a set");
	set_add(set, 0);
	must(hotpatch_apply(set) == 0, "applying");
	must(hotpatch_revert(set) == 0, "reverting");
	must(hotpatch_free(set) == 0, "freeing");
}

static void cycle_closure(void)
{
	static int context = 1;
	must(hotpatch_closure(function_0000, closure, &context, NULL) == 0, "a closure");
	must(hotpatch_restore(function_0000) == 0, "restoring");
}

static void repeat(void (*cycle)(void), unsigned long times)
{
	for (unsigned i = 0; i < WARM_UP; i++)
		cycle();
	struct standing before = standing();
	for (unsigned long i = 0; i < times; i++)
		cycle();
	struct standing after = standing();
	tell("before", before);
	tell("after", after);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long times = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;

	standing(); /* what reading takes is there from now on */
	must_answer(false);
	if (strcmp(what, "set") == 0)
		patch_all();
	else if (strcmp(what, "one") == 0)
		patch_one(true);
	else if (strcmp(what, "nameless") == 0)
		patch_one(false);
	else if (strcmp(what, "sets") == 0)
		repeat(cycle_set, times);
	else if (strcmp(what, "closures") == 0)
		repeat(cycle_closure, times);
	else
		return 64;
	return 0;
}
