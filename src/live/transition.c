/* transition - the switch.
 *
 *   NEW --prepare--> READY --close--> GATED --drain--> DRAINED --open--> LIVE --revert--> (same, old and new swapped)
 *                      ^                |                 from here on nothing can fail
 *                      +----reopen------+   deadline, unknown stack: callers go on with the old definition
 *
 *   state     what may be assumed                                                                     entered by
 *   NEW       nothing was touched                                                                     hp_transition_run
 *   READY     entries are redirected, slots lead to the old definitions: the program runs as before   prepare
 *   GATED     no thread that is not active can enter an old or a new definition of the set            close_gate
 *   DRAINED   every thread has answered no, since the gate was closed; silence is not an answer       drain
 *   LIVE      every call takes the new definition                                                     open_gate
 *
 * Why "no" stays true: a thread that is not active could only become so by a call. A call goes through the slot, to the
 * gate. What is on its way from a slot read earlier to an old definition is either in that definition (its first byte
 * counts), or in the gate's own code, which counts as active too (HP_OWNER_GATE) until it waits. A thread created later
 * begins outside. The stores to the slots need no barrier of their own: every thread was in the kernel between them and
 * its answer (blocked, or interrupted by the signal), or has read the closed word, which is stored behind them (at the
 * gate); so its later loads see them.
 *
 * From close to open nothing is allocated, no stdio is used, no lock is taken that a held caller may own, and the
 * thread itself takes no signals: a handler of its own could call a changing function and wait for itself.
 *
 * DRAIN and FORCE close nothing: slots lead to the gate, which passes callers on to the old definitions until one store
 * opens it to the new; DRAIN then asks until all have left, FORCE does not ask. Revert is the same machine.
 */
#include "live/transition.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/readers.h"
#include "live/ask.h"
#include "live/breakpoint.h"
#include "live/crash.h"
#include "live/gate.h"
#include "live/replaced.h"
#include "live/survey.h"
#include "live/suspended.h"

enum { MS = 1000000, FIRST_WHILE = 20 * MS, PAUSE_MAX = 100 * MS, FIRST_DOUBT = 100 * MS }; /* in ns */
enum { DOUBTS_MAX = 20 };

/* Everything one run needs; retired whole, since handlers and callers at the gate may still read it. */
struct transition {
	struct hp_retired retired;
	struct hp_change *changes;
	size_t n;
	const struct hp_request *request;
	struct hp_outcome *outcome;
	struct hp_site **sites; /* of the changes */
	struct hp_codes codes;  /* old definitions, and the gate's own code */
	struct hp_text text;
	struct hp_threads *threads; /* of the attempt at hand */
	struct hp_suspended suspended;
	bool in_doubt, found; /* whether anything is suspended in the way; what it is, is known */
	uint64_t looked;      /* how long the last look for such took, ns */
	unsigned doubts;      /* attempts that were made because a sleeper was in doubt */
};

/* What a child of fork has to undo, and the lock under which it is done with. */
static pthread_mutex_t layers_lock = PTHREAD_MUTEX_INITIALIZER;
static struct transition *_Atomic under_way;

void hp_layers_lock(void)
{
	pthread_mutex_lock(&layers_lock);
}

void hp_layers_unlock(void)
{
	pthread_mutex_unlock(&layers_lock);
}

/* -- prepare: NEW -> READY --------------------------------------------------------------------------------------- */

/* Without it every stack is in doubt, and no entry's code can be checked: better said than guessed at. */
static int check_reading(struct hp_err *err)
{
	const char *from = "", *to;
	if (hp_memory_read((uintptr_t)&from, &to, sizeof(to)))
		return 0;
	return hp_err_set(err, HOTPATCH_ESYSTEM,
	                  "process_vm_readv, which reads code and stacks, is refused (a seccomp filter)");
}

static int prepare(struct transition *t, struct hp_err *err)
{
	t->sites = calloc(t->n, sizeof(struct hp_site *));
	if (!t->sites)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu changes", t->n);
	for (size_t i = 0; i < t->n; i++)
		t->sites[i] = t->changes[i].site;
	int error = check_reading(err);
	if (!error)
		error = hp_replaced_collect(t->changes, t->n, &t->codes, err);
	t->codes.searched = t->request->scan_memory;
	if (!error && t->request->mode != HOTPATCH_FORCE)
		error = hp_ask_prepare(err);
	hp_gate_prepare();
	return error;
}

static void transition_free(void *memory)
{
	struct transition *t = memory;
	hp_codes_free(&t->codes);
	free(t->sites);
	hp_memory_forget(t, sizeof(*t)); /* what was found suspended */
}

/* -- The calling thread itself ----------------------------------------------------------------------------------- */

static struct hp_wanted wanted(const struct transition *t)
{
	return (struct hp_wanted){t->sites, t->n};
}

static bool self_is_active(struct transition *t)
{
	struct hp_wanted all = wanted(t);
	return hp_blockers_self(t->outcome, &t->codes, t->request->frame, &all);
}

/* -- One attempt: READY -> GATED -> DRAINED, or back ------------------------------------------------------------- */

/* Words that name old code and are no return addresses. */
static bool is_ours(const struct hp_hit *hit, void *arg)
{
	const struct transition *t = arg;
	uint32_t owner = hp_stack_code_of(&t->codes, hit->value)->owner;
	return hp_replaced_is_note(&t->changes[owner], hit) ||
	       hit->address - (uintptr_t)t->outcome < sizeof(*t->outcome) || hit->address - (uintptr_t)t < sizeof(*t);
}

static int open_suspended(struct transition *t, struct hp_err *err)
{
	t->suspended = (struct hp_suspended){
		.everywhere = t->request->scan_memory,
		.frame = t->request->frame,
		.is_ours = is_ours,
		.arg = t,
	};
	return hp_suspended_open(&t->suspended, err);
}

/* Suspended frames belong to no thread: they are looked at when all threads are out, and still. */
static bool nothing_is_suspended(struct transition *t, uint64_t deadline)
{
	if (!hp_suspended_matter(&t->suspended))
		return true;
	uint64_t began = hp_now();
	enum hp_look look = hp_suspended_look(&t->suspended, t->threads, &t->codes, t->request->stall, deadline);
	t->looked = hp_now() - began;
	t->in_doubt = look != HP_LOOK_CLEAR;
	t->found = look == HP_LOOK_FOUND;
	return !t->in_doubt;
}

/* In the way was what no thread is in. */
static void note_suspended(struct transition *t)
{
	struct hp_walk walk = {.owner = HP_OWNER_NONE};
	const struct hp_code *code = hp_stack_code_of(&t->codes, t->suspended.value);
	struct hp_wanted all = wanted(t);
	if (code) {
		walk.owner = code->owner;
		walk.frames[walk.n_frames++] = t->suspended.value;
	}
	memcpy(t->outcome->suspended, t->suspended.reason, sizeof(t->outcome->suspended));
	hp_blockers_add(t->outcome, 0, t->outcome->suspended, &walk, &all);
}

/* What an attempt needs: from here on nothing is allocated. */
static int open_threads(struct transition *t, struct hp_err *err)
{
	int error = hp_threads_open(&t->threads, err);
	if (!error)
		t->threads->leaves_crashed = true;
	return error ? error : open_suspended(t, err);
}

static void close_threads(struct transition *t)
{
	if (!t->threads)
		return;
	hp_suspended_close(&t->suspended);
	hp_threads_close_files(t->threads);
	hp_readers_retire(&t->threads->retired, hp_threads_close);
	t->threads = NULL;
}

/* The word last: who sees it closed, and says that it is out, sees all slots taken. */
static void close_gate(struct transition *t)
{
	for (size_t i = 0; i < t->n; i++)
		hp_gate_take_slot(t->sites[i]);
	hp_gate_close(&t->codes);
}

static void reopen_gate(struct transition *t)
{
	hp_gate_reopen();
	for (size_t i = 0; i < t->n; i++)
		hp_gate_keep_before(t->sites[i]);
}

static void enlist(struct transition *t)
{
	uint32_t number = hp_gate_begin();
	for (size_t i = 0; i < t->n; i++)
		hp_gate_enlist(t->sites[i], number, hp_replaced_by(&t->changes[i])->target);
}

/* The commit: stores, and a wake-up. */
static void open_gate(struct transition *t)
{
	if (t->request->commit)
		t->request->commit(t->request->commit_arg);
	for (size_t i = 0; i < t->n; i++)
		hp_site_set_layers(t->sites[i], t->changes[i].layers, t->changes[i].n_layers);
	hp_gate_open();
	for (size_t i = 0; i < t->n; i++)
		hp_gate_keep_after(t->sites[i]);
	hp_gate_look_again();
	t->outcome->live = true;
}

/* What an earlier attempt found out (`known` obstacles) says more than that nobody answered in this one. */
static void note_obstacles(struct transition *t, size_t known)
{
	if (known && !hp_threads_any_told(t->threads)) {
		t->outcome->n_obstacles = known;
		return;
	}
	struct hp_wanted all = wanted(t);
	hp_blockers_note(t->outcome, t->threads, &all);
}

/* Drains with the gate closed until nobody has passed it unknown to us, and decides. True with layers_lock taken. */
static bool drain_and_decide(struct transition *t, uint64_t deadline)
{
	bool one_look = t->request->mode == HOTPATCH_TRY;
	for (;;) {
		uint32_t passes = hp_gate_passes();
		if (!hp_ask_all(t->threads, &t->codes,
		                &(struct hp_patience){.deadline = deadline,
		                                      .asker = t->request->asker,
		                                      .one_look = one_look,
		                                      .gated = true}))
			return false;
		if (!nothing_is_suspended(t, deadline))
			return false;
		/* Its owner may be held at the gate, in a signal handler: so it is tried, not waited for. */
		if (pthread_mutex_trylock(&layers_lock) != 0) {
			if (hp_now() >= deadline || hp_asker_has_gone(t->request->asker))
				return false;
			hp_ask_again(t->threads); /* or in ours */
			continue;
		}
		if (hp_gate_decide(passes))
			return true;
		pthread_mutex_unlock(&layers_lock);
		hp_ask_again(t->threads);
	}
}

/* True: LIVE. False: READY again, with the obstacles noted; t->threads stays for let_callers_on. */
static bool attempt(struct transition *t)
{
	uint64_t mask, now = hp_now(), deadline = now + t->request->stall;
	if (deadline > t->request->deadline)
		deadline = t->request->deadline;
	hp_signals_block(&mask);
	enlist(t);
	close_gate(t);
	bool listed = hp_threads_list(t->threads), drained = false;
	size_t known = t->outcome->n_obstacles;
	t->outcome->n_obstacles = 0;
	t->in_doubt = t->found = false;
	if (listed) {
		hp_ask_begin(t->threads, &t->codes);
		drained = drain_and_decide(t, deadline);
	}
	if (drained) {
		open_gate(t);
		pthread_mutex_unlock(&layers_lock);
	} else {
		reopen_gate(t);
	}
	if (listed)
		hp_ask_end(t->threads);
	if (!drained && t->found)
		note_suspended(t);
	else if (!drained)
		note_obstacles(t, known);
	hp_signals_restore(&mask);
	return drained;
}

static bool goes_on(const struct hp_request *request, uint64_t now)
{
	return now < request->deadline && !hp_asker_has_gone(request->asker);
}

/* Between two attempts callers go on with the old definitions. The next begins when a sleeper that was in the way has
 * run; or after a while if somebody was running; or if a sleeper is in doubt, ever more rarely: it may have fallen
 * asleep elsewhere than where it was asked, but being asked begins its system call again. */
static void let_callers_on(struct transition *t)
{
	uint64_t began = hp_now(), now = began;
	for (;;) {
		bool running = t->threads->n == 0 || t->in_doubt, doubtful = false;
		for (size_t i = 0; i < t->threads->n; i++) {
			const struct hp_thread *thread = &t->threads->v[i];
			if (thread->verdict == HP_VERDICT_OUT)
				continue;
			if (thread->blocked && hp_thread_has_run(thread))
				return;
			running |= !thread->blocked;
			doubtful |= thread->verdict == HP_VERDICT_UNKNOWN && thread->blocked;
		}
		if (!goes_on(t->request, now) || (running && now - began > 10 * (MS + t->looked)))
			return;
		if (doubtful && now - began > (uint64_t)FIRST_DOUBT << t->doubts) {
			t->doubts += t->doubts < DOUBTS_MAX;
			return;
		}
		struct timespec pause = {0, MS};
		hp_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
		now = hp_now();
	}
}

static int refuse(struct transition *t, struct hp_err *err)
{
	const char *function = t->outcome->n_obstacles ? t->outcome->obstacles[0].function : "";
	if (!*function)
		function = t->sites[0]->name;
	if (t->request->mode == HOTPATCH_TRY)
		return hp_err_set(err, HOTPATCH_EBUSY, "'%s' is in use", function);
	if (hp_asker_has_gone(t->request->asker))
		return hp_err_set(err, HOTPATCH_EBUSY, "'%s' was in use until who asked for the change had gone",
		                  function);
	return hp_err_set(err, HOTPATCH_ETIMEDOUT, "'%s' was in use until the deadline of %u ms", function,
	                  t->request->timeout_ms);
}

/* WAIT and TRY. */
static int run_gated(struct transition *t, struct hp_err *err)
{
	for (;;) {
		int error = open_threads(t, err);
		if (error)
			return error;
		if (attempt(t)) {
			t->outcome->drained = !hp_threads_any_polls(t->threads);
			return 0; /* t->threads stays, for clear_prefixes */
		}
		bool again = t->request->mode == HOTPATCH_WAIT && goes_on(t->request, hp_now());
		if (!again)
			return refuse(t, err);
		let_callers_on(t);
		close_threads(t);
	}
}

/* -- DRAIN and FORCE --------------------------------------------------------------------------------------------- */

static void switch_at_once(struct transition *t)
{
	uint64_t mask;
	hp_signals_block(&mask);
	pthread_mutex_lock(&layers_lock);
	enlist(t);
	for (size_t i = 0; i < t->n; i++)
		hp_gate_take_slot(t->sites[i]);
	open_gate(t);
	pthread_mutex_unlock(&layers_lock);
	hp_signals_restore(&mask);
}

/* Threads go on while it is waited for others, and are still only for the look; the caller takes no signals then. True
 * when the old definitions are left. Ends the question. */
static bool await_left(struct transition *t, bool one_look)
{
	uint64_t mask, deadline = t->request->deadline;
	struct hp_patience patience = {.deadline = deadline, .asker = t->request->asker, .one_look = one_look};
	for (;;) {
		bool left = hp_ask_all(t->threads, &t->codes, &patience), again = left;
		hp_signals_block(&mask);
		left = left && nothing_is_suspended(t, deadline);
		again = again && !left && !one_look && goes_on(t->request, hp_now());
		if (again)
			hp_ask_again(t->threads);
		else
			hp_ask_end(t->threads);
		hp_signals_restore(&mask);
		if (!again)
			return left;
		struct timespec pause = {0, (long)(t->looked < FIRST_WHILE ? 5 * (MS + t->looked) : PAUSE_MAX)};
		hp_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
	}
}

/* The change is live: a failure from here on means that it is not known whether everybody has left. */
static bool wait_until_left(struct transition *t, bool self_active)
{
	struct hp_err ignored;
	if (open_threads(t, &ignored) != 0)
		return false;
	bool listed = hp_threads_list(t->threads), left = false;
	if (listed) {
		hp_ask_begin(t->threads, &t->codes);
		left = await_left(t, self_active) && !self_active;
	}
	t->outcome->drained = left && !hp_threads_any_polls(t->threads);
	if (!left && t->found)
		note_suspended(t);
	else if (!left)
		note_obstacles(t, 0);
	return left;
}

static int run_at_once(struct transition *t, struct hp_err *err)
{
	bool ask = t->request->mode == HOTPATCH_DRAIN;
	bool self_active = ask && self_is_active(t);
	switch_at_once(t);
	if (!ask)
		return 0;
	if (wait_until_left(t, self_active))
		return 0;
	return hp_err_set(err, HOTPATCH_EINPROGRESS, "'%s' is replaced, but threads still run the old body%s",
	                  t->sites[0]->name, self_active ? ", the calling one among them" : "");
}

/* -- After: prefixes that nobody needs any more ------------------------------------------------------------------ */

/* Takes the codes. True if no thread is in them. */
static bool nobody_is_in(struct hp_codes *codes, uint64_t patience, struct hp_outcome *outcome)
{
	static const struct hp_wanted nobody;
	struct hp_survey *survey;
	struct hp_err ignored;
	if (hp_survey_open(codes, &survey, &ignored) != 0)
		return false;
	bool clear = hp_survey_ask(survey, &(struct hp_patience){.deadline = hp_now() + patience, .one_look = true}) &&
	             !hp_survey_any_polls(survey);
	if (!clear && outcome)
		hp_blockers_note(outcome, survey->threads, &nobody);
	hp_survey_close(survey);
	return clear;
}

/* Looks, but asks nobody: running threads would be interrupted for a few bytes that are never executed. */
static bool all_are_seen_out(const struct transition *t, const struct hp_codes *codes)
{
	struct hp_threads *threads;
	struct hp_err ignored;
	size_t hint = 0;
	if (t->threads && t->threads->n == 0) /* no other thread has been there to start one */
		return true;
	if (hp_threads_open(&threads, &ignored) != 0)
		return false;
	bool out = hp_threads_list(threads);
	for (size_t i = 0; i < threads->n && out; i++) {
		struct hp_thread *thread = &threads->v[i];
		if (t->threads && hp_threads_slept_out(t->threads, thread->tid, &hint))
			thread->verdict = HP_VERDICT_OUT;
		else
			hp_threads_look(threads, thread, codes);
	}
	hp_threads_look_end(threads, codes);
	for (size_t i = 0; i < threads->n; i++)
		out &= threads->v[i].verdict == HP_VERDICT_OUT;
	hp_threads_close(threads);
	return out;
}

/* A thread may stand before the one instruction of a prefix, having executed the jump before it was undone. After a
 * failure the text has to be as it was, so running threads are asked; else what cannot be cleared now waits for the
 * next operation. */
static void clear_prefixes(struct transition *t)
{
	struct hp_codes codes = {0};
	struct hp_err ignored;
	/* On a busy machine a running thread may not get to answer for long; who has no time leaves the bytes. */
	uint64_t patience = (t->request->mode == HOTPATCH_TRY ? 100 : 1000) * (uint64_t)MS;
	if (!hp_sites_unclean())
		return;
	int error = hp_replaced_add_unclean(&codes, &ignored);
	hp_codes_sort(&codes);
	if (!error && (t->outcome->live ? all_are_seen_out(t, &codes) : nobody_is_in(&codes, patience, NULL)))
		hp_sites_clear_unclean(&t->text);
	hp_codes_free(&codes);
}

bool hp_definition_is_left(const struct hp_definition *definition, struct hp_outcome *ret_outcome)
{
	struct hp_codes codes = {0};
	struct hp_err ignored;
	int error = hp_definition_add_code(definition, &codes, 0, &ignored);
	if (!error)
		error = hp_gate_add_code(&codes, &ignored);
	hp_codes_sort(&codes);
	bool left = !error && nobody_is_in(&codes, 100 * (uint64_t)MS, ret_outcome);
	hp_codes_free(&codes);
	return left;
}

/* -- The run ----------------------------------------------------------------------------------------------------- */

static int run(struct transition *t, struct hp_err *err)
{
	bool gated = t->request->mode == HOTPATCH_WAIT || t->request->mode == HOTPATCH_TRY;
	if (hp_asker_has_gone(t->request->asker))
		return hp_err_set(err, HOTPATCH_EBUSY, "who asked for the change of '%s' has gone", t->sites[0]->name);
	if (gated && self_is_active(t))
		return hp_err_set(
			err, HOTPATCH_EDEADLK,
			"'%s' cannot be replaced by a thread that is in it: it would wait for itself; call this from "
			"outside, or use HOTPATCH_FORCE",
			*t->outcome->obstacles[0].function ? t->outcome->obstacles[0].function : t->sites[0]->name);
	int error = hp_sites_redirect(t->sites, t->n, &t->text, err);
	if (!error)
		error = hp_breakpoint_redirect(t->sites, t->n, &t->text, t->request, t->outcome, err);
	if (!error)
		error = gated ? run_gated(t, err) : run_at_once(t, err);
	hp_sites_undo(t->sites, t->n, &t->text);
	hp_breakpoint_undo(t->sites, t->n, &t->text);
	hp_breakpoint_end(!error && t->request->mode != HOTPATCH_FORCE);
	clear_prefixes(t);
	close_threads(t);
	return error;
}

int hp_transition_run(struct hp_change *changes, size_t n, const struct hp_request *request,
                      struct hp_outcome *ret_outcome, struct hp_err *err)
{
	struct transition *t = calloc(1, sizeof(*t));
	ret_outcome->live = ret_outcome->drained = false;
	ret_outcome->n_obstacles = 0;
	if (!t)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu changes", n);
	t->changes = changes;
	t->n = n;
	t->request = request;
	t->outcome = ret_outcome;
	hp_text_open(&t->text);
	hp_readers_enter(); /* stacks are walked by the list of images, which another thread may replace */
	int error = prepare(t, err);
	if (!error) {
		atomic_store(&under_way, t);
		error = run(t, err);
		atomic_store(&under_way, NULL);
	}
	hp_readers_leave();
	hp_text_close(&t->text);
	hp_readers_retire(&t->retired, transition_free);
	return error;
}

void hp_transition_reset(void)
{
	if (atomic_load(&under_way)) {
		hp_gate_reopen();
		hp_sites_mend();
		hp_breakpoint_reset();
	}
	atomic_store(&under_way, NULL);
	hp_gate_reset();
	hp_crash_reset();
	hp_ask_reset();
	hp_threads_reset();
	hp_readers_reset();
}
