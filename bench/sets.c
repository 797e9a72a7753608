/* sets.c - microseconds per change of a set, from one function to 10,000.
 *
 * A cycle makes two sets of the same functions, applies the first (which redirects entries), applies the second over it
 * (which does not touch code), reverts the second (neither), and reverts the first (which restores the entries). The
 * sizes take turns. The functions of a smaller set are spread evenly over all, as those of a change in a program are.
 */
#include "sets.h"

#include <stdio.h>

#include "hotpatch.h"
#include "many.h"
#include "must.h"

enum step { PREPARE, FIRST, LATER, BACK, RESTORE, STEPS };

static const char *const step_names[STEPS] = {
	"preparing the set",         "apply, first redirect", "apply over another set",
	"revert to the set beneath", "revert, restore",
};

enum { SIZES = 5 };

static const struct {
	unsigned n, cycles; /* functions, and cycles in each turn */
} sizes[SIZES] = {{1, 40}, {10, 20}, {100, 10}, {1000, 3}, {10000, 1}};

struct costs {
	struct samples steps[STEPS];
};

/* What hotpatch_replace expands to, with a name that is not in the source. */
static struct hotpatch *make(unsigned n, unsigned body, struct samples *us)
{
	uint64_t begin = timing_now();
	struct hotpatch *set = hotpatch_new(body == 0 ? "first" : "second");
	must(set != NULL, "hotpatch_new");
	for (unsigned i = 0; i < n; i++) {
		const struct many *one = &many[i * (n_many / n)];
		must_patch(hotpatch_replace_at(set, hotpatch_marks_(), one->name, (hotpatch_any)one->function,
		                               (hotpatch_any)one->bodies[body], NULL));
	}
	samples_add(us, timing_us_since(begin));
	return set;
}

#define TIMED(us, call)                                                                                                \
	do {                                                                                                           \
		uint64_t begin_ = timing_now();                                                                        \
		int code_ = (call);                                                                                    \
		samples_add((us), timing_us_since(begin_));                                                            \
		must_patch(code_);                                                                                     \
	} while (0)

static void cycle(struct samples steps[STEPS], unsigned n)
{
	struct hotpatch *first = make(n, 0, &steps[PREPARE]), *second = make(n, 1, &steps[PREPARE]);
	TIMED(&steps[FIRST], hotpatch_apply(first));
	TIMED(&steps[LATER], hotpatch_apply(second));
	TIMED(&steps[BACK], hotpatch_revert(second));
	TIMED(&steps[RESTORE], hotpatch_revert(first));
	must_patch(hotpatch_free(first));
	must_patch(hotpatch_free(second));
}

static void turn(struct costs costs[SIZES], unsigned n_sizes)
{
	for (unsigned size = 0; size < n_sizes; size++)
		for (unsigned i = 0; i < sizes[size].cycles; i++)
			cycle(costs[size].steps, sizes[size].n);
}

static void add(struct report *report, const char *what, unsigned n, struct samples *samples)
{
	char with[32];
	snprintf(with, sizeof(with), "%u function%s", n, n > 1 ? "s" : "");
	report_add(report, REPORT_SETS, &(struct figure){what, with, n, "us", samples_summary(samples), {0}});
}

/* The first time a function is named it is looked up and gets its slot. That happens once, so there is one sample; and
 * it is done with all of them before the cycles, where it would come in between. */
static void prepare_first(struct report *report, unsigned n)
{
	struct samples us = {0};
	must_patch(hotpatch_free(make(n, 0, &us)));
	add(report, "preparing the set, functions never changed before", n, &us);
	samples_clear(&us);
}

static double median(struct costs *costs, enum step step)
{
	return samples_summary(&costs->steps[step]).p50;
}

/* How much longer a step takes with the largest sets than with those before them, to how much larger they are. */
static void report_growth(struct report *report, struct costs costs[SIZES], unsigned n_sizes, enum step step)
{
	char quantity[128];
	unsigned large = n_sizes - 1, small = n_sizes - 2, times = sizes[large].n / sizes[small].n;
	double growth = median(&costs[large], step) / median(&costs[small], step) / times;
	snprintf(quantity, sizeof(quantity), "growth from %u to %u functions / %u, %s", sizes[small].n, sizes[large].n,
	         times, step_names[step]);
	report_budget(report, &(struct budget){quantity, "", 0, 1.2, growth, NULL});
}

static void report_budgets(struct report *report, struct costs costs[SIZES], unsigned n_sizes)
{
	char quantity[128];
	snprintf(quantity, sizeof(quantity), "patch of %u functions, one set", sizes[n_sizes - 1].n);
	report_budget(report, &(struct budget){quantity, "ms", 0, 100, median(&costs[n_sizes - 1], FIRST) / 1e3, NULL});
	report_growth(report, costs, n_sizes, FIRST);
	report_growth(report, costs, n_sizes, RESTORE);
}

void sets_measure(struct report *report)
{
	struct costs costs[SIZES] = {0};
	unsigned turns = report_smoke(report) ? 1 : report_quick(report) ? 3 : 11;
	unsigned n_sizes = report_smoke(report) ? SIZES - 1 : SIZES;

	fprintf(stderr, "bench: sets of functions\n");
	prepare_first(report, sizes[n_sizes - 1].n);
	for (unsigned i = 0; i < turns; i++)
		turn(costs, n_sizes);
	for (enum step step = 0; step < STEPS; step++)
		for (unsigned size = 0; size < n_sizes; size++)
			add(report, step_names[step], sizes[size].n, &costs[size].steps[step]);
	report_budgets(report, costs, n_sizes);
	for (unsigned size = 0; size < n_sizes; size++)
		for (enum step step = 0; step < STEPS; step++)
			samples_clear(&costs[size].steps[step]);
}
