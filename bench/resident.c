/* resident.c - the memory that patched functions take, and that changing them again and again takes none.
 *
 * The program (bench/programs/patched.c) has 10,000 prepared functions that lie 256 bytes apart, as a real program's do
 * on average (sizes.c), because what a patched function takes most of is the page it lies in: the first write to a page
 * of the file makes a copy of it, which stays when the function is restored.
 */
#include "resident.h"

#include <stdio.h>

#include "child.h"
#include "footprint.h"

/* -- What a patched function takes ------------------------------------------------------------------------------ */

enum { N_FUNCTIONS = 10000 };

static double grown(const struct answers *answers, const char *when, const char *what)
{
	char then[64], before[64];
	snprintf(then, sizeof(then), "%s.%s", when, what);
	snprintf(before, sizeof(before), "before.%s", what);
	return answers_get(answers, then) - answers_get(answers, before);
}

/* Memory of its own is what belongs to no file, or is a copy of a file's page. What the parts of it leave over is, but
 * for a few pages, memory that hotpatch freed and malloc keeps. Text whose pages were resident before does not count
 * among the resident memory, its copies take their places. */
static const struct {
	const char *name, *what;
} parts[] = {
	{"resident memory more", "rss"},
	{"memory of its own more", "own"},
	{"of it copies of the program's text", "text"},
	{"of it hotpatch's near memory", "near"},
	{"of it allocated", "heap"},
};

enum { N_PARTS = sizeof(parts) / sizeof(parts[0]), N_TOTALS = 2 };

static void measure_set(struct report *report, const char *folder)
{
	static const struct {
		const char *when, *with;
	} moments[] = {
		{"applied", "each of 10,000 functions, applied"},
		{"freed", "each of 10,000 functions, reverted and freed"},
	};
	struct child child = child_of(folder, "patched", false);
	struct answers answers;

	child_ask(&child, "set", NULL, &answers);
	for (size_t moment = 0; moment < sizeof(moments) / sizeof(moments[0]); moment++)
		for (unsigned part = 0; part < N_PARTS; part++)
			footprint_add(report, parts[part].name, moments[moment].with, "bytes",
			              grown(&answers, moments[moment].when, parts[part].what) * 1024 / N_FUNCTIONS);
}

/* Several times: which pages of a file are resident is not always the same. */
static void measure_first(struct report *report, const char *folder, const char *which, bool plugin, unsigned n_parts,
                          const char *with)
{
	struct child child = child_of(folder, "patched", false);
	struct samples kib[N_PARTS] = {0};
	unsigned rounds = report_smoke(report) ? 5 : report_quick(report) ? 10 : 40;

	for (unsigned number = 0; number < rounds; number++) {
		struct answers answers;
		child_ask(&child, which, NULL, &answers);
		if ((answers_get(&answers, "plugin") != 0) != plugin)
			return; /* hotpatch was built without it */
		for (unsigned part = 0; part < n_parts; part++)
			samples_add(&kib[part], grown(&answers, "applied", parts[part].what));
	}
	for (unsigned part = 0; part < n_parts; part++) {
		report_add(report, REPORT_FOOTPRINT,
		           &(struct figure){parts[part].name, with, 1, "KiB", samples_summary(&kib[part]), {0}});
		samples_clear(&kib[part]);
	}
}

/* -- What changing it again and again takes --------------------------------------------------------------------- */

struct growth {
	double rss, heap, mappings; /* KiB, KiB, number */
};

static struct growth measure_cycles(struct report *report, const char *folder, const char *kind, const char *with,
                                    unsigned cycles)
{
	struct child child = child_of(folder, "patched", false);
	struct answers answers;
	char number[16];

	snprintf(number, sizeof(number), "%u", cycles);
	child_ask(&child, kind, number, &answers);
	struct growth growth = {
		.rss = grown(&answers, "after", "rss"),
		.heap = grown(&answers, "after", "heap"),
		.mappings = grown(&answers, "after", "mappings"),
	};
	footprint_add(report, "growth of resident memory", with, "KiB", growth.rss);
	footprint_add(report, "growth of what is allocated", with, "KiB", growth.heap);
	footprint_add(report, "growth of the number of mappings", with, "", growth.mappings);
	return growth;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* Two pages may come from anywhere (the stack a little deeper, a part of libc used for the first time). Beyond that two
 * bytes a cycle are allowed: the smallest leak there can be, a word a cycle, is four times that. */
static void measure_growth(struct report *report, const char *folder)
{
	unsigned cycles = report_smoke(report) ? 100 : report_quick(report) ? 2000 : 10000;
	char sets[64], closures[64], quantity[128], remark[256] = "";

	snprintf(sets, sizeof(sets), "%u sets applied and reverted", cycles);
	snprintf(closures, sizeof(closures), "%u closures put on and taken off", cycles);
	struct growth set = measure_cycles(report, folder, "sets", sets, cycles);
	struct growth closure = measure_cycles(report, folder, "closures", closures, cycles);
	double limit = 8 + 2.0 * cycles / 1024, rss = larger(0, larger(set.rss, closure.rss));

	if (rss > limit)
		snprintf(remark, sizeof(remark), "sets %.0f KiB, of it allocated %.1f; closures %.0f KiB, of it %.1f",
		         set.rss, set.heap, closure.rss, closure.heap);
	snprintf(quantity, sizeof(quantity), "growth of resident memory in %u apply/revert cycles", cycles);
	report_budget(report, &(struct budget){quantity, "KiB", 0, limit, rss, remark});
	snprintf(quantity, sizeof(quantity), "growth of the number of mappings in %u apply/revert cycles", cycles);
	report_budget(report,
	              &(struct budget){quantity, "", 0, 0, larger(0, larger(set.mappings, closure.mappings)), ""});
}

void resident_measure(struct report *report, const char *folder)
{
	measure_set(report, folder);
	measure_first(report, folder, "one", false, N_PARTS, "the first function of a program");
	measure_first(report, folder, "nameless", true, N_TOTALS, "the first, its name found by the plugin");
	measure_growth(report, folder);
}
