/* saves.c - milliseconds from a save to the change in the program, with a small file and with a large one.
 *
 *     write the file | hotpatch watch: settle, compiler, compare, pack, prepare, commit | its event is read
 *     '------------------------------- save to applied -----------------------------------------------'
 *
 * What is beyond the compiler is all of that without the time of the compilers that were waited for, as the event has
 * it. The large file is applied in part where watch does that, then whole (--whole), and beside them stands the
 * compiler alone. The first save of a session compiles the text of the start, too, and is left out; so are those whose
 * part watch does not know how to make yet.
 */
#include "saves.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "must.h"
#include "session.h"

struct commands {
	char hotpatch[4200];
	struct report *report;
};

struct costs {
	struct samples applied, beyond, compiler, undo;
};

static unsigned times(const struct commands *c, unsigned full, unsigned quick)
{
	return report_smoke(c->report) ? 2 : report_quick(c->report) ? quick : full;
}

static void add(struct report *report, const char *what, const char *with, struct samples *ms)
{
	if (ms->n > 0)
		report_add(report, REPORT_SAVES, &(struct figure){what, with, 0, "ms", samples_summary(ms), {0}});
}

static double median(struct samples *samples)
{
	return samples_summary(samples).p50;
}

static void costs_clear(struct costs *costs)
{
	samples_clear(&costs->applied);
	samples_clear(&costs->beyond);
	samples_clear(&costs->compiler);
	samples_clear(&costs->undo);
}

/* -- Saves ------------------------------------------------------------------------------------------------------ */

typedef void (*writer)(const struct project *project, unsigned number);

static void must_apply(const json_t *event)
{
	const char *outcome = json_string_value(json_object_get(event, "outcome"));
	if (outcome != NULL && strcmp(outcome, "applied") == 0)
		return;
	fprintf(stderr, "bench: a save was not applied: %s\n", json_dumps(event, 0));
	exit(1);
}

/* True: it was applied in part; its whole was compared before this returns. */
static bool save(const struct session *session, const struct project *project, writer write, unsigned number,
                 struct costs *costs)
{
	uint64_t begin = timing_now();
	write(project, number);
	json_t *event = session_event(session, "reload", NULL);
	double ms = timing_us_since(begin) / 1e3;
	double compiler = json_real_value(json_object_get(json_object_get(event, "timings"), "compiler"));
	bool is_part = json_is_true(json_object_get(event, "part"));

	must_apply(event);
	json_decref(event);
	if (is_part)
		json_decref(session_event(session, "compared", "reload"));
	if (costs != NULL) {
		samples_add(&costs->applied, ms);
		samples_add(&costs->compiler, compiler);
		samples_add(&costs->beyond, ms - compiler);
	}
	return is_part;
}

/* Back to the generation before, and forth again. */
static void undo(const struct session *session, struct samples *ms)
{
	uint64_t begin = timing_now();
	session_press(session, "u");
	json_decref(session_event(session, "generation", NULL));
	samples_add(ms, timing_us_since(begin) / 1e3);
	session_press(session, "U");
	json_decref(session_event(session, "generation", NULL));
}

/* Until the text of the large file is known, which happens while nobody waits. */
static bool begin_parts(const struct session *session, const struct project *project, unsigned *number)
{
	for (unsigned i = 0; i < 10; i++) {
		if (save(session, project, project_write_large, (*number)++, NULL))
			return true;
		usleep(500000);
	}
	return false;
}

/* -- Sessions --------------------------------------------------------------------------------------------------- */

static void measure_small(const struct commands *c, const struct project *project)
{
	struct session session = session_begin(project, c->hotpatch, NULL);
	struct costs costs = {0};
	unsigned number = 2, n = times(c, 60, 15);

	save(&session, project, project_write_small, number++, NULL);
	for (unsigned i = 0; i < n; i++) {
		save(&session, project, project_write_small, number++, &costs);
		undo(&session, &costs.undo);
	}
	session_end(&session);
	add(c->report, "save to applied", "small file, -O2", &costs.applied);
	add(c->report, "save, the compiler", "small file, -O2", &costs.compiler);
	add(c->report, "save, beyond the compiler", "small file, -O2", &costs.beyond);
	add(c->report, "undo, by its key", "small file, -O2", &costs.undo);
	report_budget(c->report, &(struct budget){"save, beyond the compiler, small file, -O2", "ms", 0, 40,
	                                          median(&costs.beyond), NULL});
	costs_clear(&costs);
}

static void add_large(const struct commands *c, const char *how, const char *with, struct costs *costs)
{
	char what[64];
	snprintf(what, sizeof(what), "save to applied, %s", how);
	add(c->report, what, with, &costs->applied);
	snprintf(what, sizeof(what), "save, beyond the compiler, %s", how);
	add(c->report, what, with, &costs->beyond);
	costs_clear(costs);
}

static void budget_beyond(const struct commands *c, const char *how, const char *with, struct costs *costs)
{
	char quantity[160];

	snprintf(quantity, sizeof(quantity), "save, beyond the compiler, %s, %s", how, with);
	report_budget(c->report, &(struct budget){quantity, "ms", 0, 40, median(&costs->beyond), NULL});
}

static void measure_parts(const struct commands *c, const struct project *project, const char *with)
{
	struct session session = session_begin(project, c->hotpatch, NULL);
	struct costs costs = {0}, whole = {0};
	unsigned number = 1000;

	if (begin_parts(&session, project, &number))
		for (unsigned i = 0, n = times(c, 12, 4); i < n; i++)
			save(&session, project, project_write_large, number++, &costs);
	session_end(&session);
	if (costs.beyond.n > 0)
		budget_beyond(c, "its function alone", with, &costs);
	add_large(c, "its function alone", with, &costs);
	project_write_large(project, 1);

	session = session_begin(project, c->hotpatch, "--whole");
	save(&session, project, project_write_large, number++, NULL);
	for (unsigned i = 0, n = times(c, 5, 3); i < n; i++)
		save(&session, project, project_write_large, number++, &whole);
	session_end(&session);
	budget_beyond(c, "whole", with, &whole);
	add_large(c, "whole", with, &whole);
}

static void measure_compiler(const struct commands *c, const struct project *project, const char *with)
{
	struct samples ms = {0};
	char line[256];

	snprintf(line, sizeof(line), "gcc %s -c large.c -o alone.o", project->flags);
	for (unsigned i = 0, n = times(c, 5, 3); i < n; i++)
		samples_add(&ms, project_run(project, line));
	add(c->report, "the compiler alone", with, &ms);
	samples_clear(&ms);
}

static bool make(const struct commands *c, struct project *project, const char *flags, unsigned pairs)
{
	if (access(c->hotpatch, X_OK) == 0 && project_make(project, flags, pairs))
		return true;
	fprintf(stderr, "bench: saves are left out: hotpatch was not built, or there is no gcc\n");
	return false;
}

/* pairs: of functions. A trial's has to take longer than what watch compiles whole without a thought. */
static void measure_large(const struct commands *c, const char *flags, unsigned pairs)
{
	struct project project;
	char with[64];

	if (!make(c, &project, flags, pairs))
		return;
	snprintf(with, sizeof(with), "file of %u functions, %s", 2 * project.pairs, flags);
	measure_compiler(c, &project, with);
	measure_parts(c, &project, with);
	project_remove(&project);
}

/* -- The whole command ------------------------------------------------------------------------------------------ */

static void make_patch(const struct commands *c, const struct project *project)
{
	char line[9000];

	snprintf(line, sizeof(line), "gcc %s -ffunction-sections -fdata-sections -c small.c -o old.o", project->flags);
	project_run(project, line);
	project_write_small(project, 2);
	snprintf(line, sizeof(line), "gcc %s -ffunction-sections -fdata-sections -c small.c -o new.o", project->flags);
	project_run(project, line);
	snprintf(line, sizeof(line), "'%s' build --old old.o --new new.o -n small -o small.hp >build.out", c->hotpatch);
	project_run(project, line);
}

/* It was started, and its dynamic linker may not have come to the agent yet. */
static void wait_for_agent(const struct commands *c, const struct project *project, int pid)
{
	char line[9000];

	snprintf(line, sizeof(line), "until '%s' list %d >list.out 2>&1; do kill -0 %d || exit 1; done", c->hotpatch,
	         pid, pid);
	project_run(project, line);
}

static void run_patch(const struct commands *c, const struct project *project, int pid, struct samples *ms)
{
	char line[9000], back[9000];

	snprintf(line, sizeof(line), "exec '%s' apply small.hp %d >apply.out", c->hotpatch, pid);
	snprintf(back, sizeof(back), "exec '%s' revert small %d >revert.out", c->hotpatch, pid);
	for (unsigned i = 0, n = times(c, 100, 25); i < n; i++) {
		samples_add(ms, project_run(project, line));
		project_run(project, back);
	}
}

static void measure_command(const struct commands *c)
{
	struct project project;
	struct child child = {.preload = true, .serve = true};
	struct samples ms = {0}, shell = {0};
	char with[64], quantity[128];

	if (!make(c, &project, "-O0 -g", report_smoke(c->report) ? 20 : 1150))
		return;
	make_patch(c, &project);
	snprintf(child.program, sizeof(child.program), "%s/app", project.folder);
	struct worker worker = worker_begin(&child, NULL);
	wait_for_agent(c, &project, worker.pid);
	run_patch(c, &project, worker.pid, &ms);
	worker_kill(&worker);
	for (unsigned i = 0, n = times(c, 100, 25); i < n; i++)
		samples_add(&shell, project_run(&project, "exec true"));
	snprintf(with, sizeof(with), "program of %.1f MB", project_size(&project, "app") / 1e6);
	add(c->report, "hotpatch apply of one function, whole command", with, &ms);
	add(c->report, "true, started the same way", "the shell alone", &shell);
	snprintf(quantity, sizeof(quantity), "hotpatch apply of one function, whole command, %s", with);
	report_budget(c->report, &(struct budget){quantity, "ms", 0, 25, median(&ms), NULL});
	samples_clear(&ms);
	samples_clear(&shell);
	project_remove(&project);
}

void saves_measure(struct report *report)
{
	struct commands c = {.report = report};
	struct project project;

	snprintf(c.hotpatch, sizeof(c.hotpatch), "%s/../src/hotpatch", report_build(report));
	fprintf(stderr, "bench: saves, a small file\n");
	if (!make(&c, &project, "-O2 -g", 1))
		return;
	measure_small(&c, &project);
	project_remove(&project);
	fprintf(stderr, "bench: saves, a large file\n");
	measure_large(&c, "-O0", report_smoke(report) ? 60 : report_quick(report) ? 100 : 200);
	if (!report_quick(report))
		measure_large(&c, "-O2", 50); /* gcc takes many times as long */
	fprintf(stderr, "bench: the whole command\n");
	measure_command(&c);
}
