#include "live/gate.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "base/readers.h"
#include "live/ask.h"
#include "live/registry.h"
#include "live/session.h"
#include "live/threads.h"

/* Callers run this wherever they are: in handlers, with locks held, on small stacks. */
#pragma GCC poison malloc calloc realloc free printf fprintf snprintf pthread_mutex_lock

#define GATE_TEXT __attribute__((section("hp_gate_text"), used, noinline))

enum phase { PASS, CLOSED, DECIDED, OPEN };

static _Atomic uint64_t gate;
static _Atomic(const struct hp_codes *) gate_codes;
static _Atomic int gate_owner; /* thread id of who closed it */

/* Callers that have found themselves out: number of the transition and thread id. Those of an earlier one may come
 * late, and are known by their number. */
static _Atomic uint64_t arrivals[HP_ARRIVALS_MAX];
static _Atomic uint32_t n_arrivals;
static _Atomic uint32_t spinners; /* how many of them may wait without sleeping */
enum { SPIN_NS = 20000 };

/* Callers of held sites wait while it is not 0. It changes whenever one of them may go on: a futex. */
static _Atomic uint32_t hold;
static _Atomic int hold_owner; /* thread id */
static struct {
	struct hp_site *const *sites;
	size_t n;
} held; /* of the hold that lasts; protected by the turn */

extern const char __start_hp_gate_text[] __attribute__((visibility("hidden")));
extern const char __stop_hp_gate_text[] __attribute__((visibility("hidden")));

static enum phase phase_of(uint64_t word)
{
	return (enum phase)(word & 3);
}

static uint64_t make_word(uint32_t number, enum phase phase)
{
	return (uint64_t)number << 32 | phase;
}

/* The half that the kernel compares: passes and phase (little-endian). */
static uint32_t *futex_word(void)
{
	return (uint32_t *)(uintptr_t)&gate;
}

static int thread_self(void)
{
	return (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* -- The caller's side ------------------------------------------------------------------------------------------- */

enum hp_answer hp_gate_look(const struct hp_codes *codes, const struct hp_gate_frame *frame, uintptr_t address,
                            uintptr_t top, struct hp_walk *walk)
{
	static const struct hp_stack_words nothing;
	uintptr_t sp = address + offsetof(struct hp_gate_frame, return_address);
	struct hp_regs regs;
	if (hp_stack_scan(codes, 0, sp, top, &nothing) == HP_OUT)
		return HP_OUT;
	hp_arch_regs_from_gate(frame, address, &regs);
	return hp_stack_walk(codes, &regs, top, walk);
}

/* Whether the calling thread has said in this transition that it is out, and nobody has passed since. */
static bool has_said_out(uint32_t number)
{
	uint64_t mine = (uint64_t)number << 32 | (uint32_t)thread_self();
	uint32_t n = atomic_load(&n_arrivals);
	for (uint32_t i = 0; i < n && i < HP_ARRIVALS_MAX; i++)
		if (atomic_load(&arrivals[i]) == mine)
			return atomic_load(&gate) == make_word(number, CLOSED);
	return false;
}

/* Whether the calling thread is active in an old definition. If it is in the gate already, having been interrupted
 * there by a signal whose handler called us, then it still is out if it has said so; else it may have chosen already.
 */
static enum hp_answer look_at_self(const struct hp_gate_frame *frame, uint32_t number)
{
	enum hp_answer answer = HP_OUT;
	struct hp_walk walk;
	hp_readers_enter();
	const struct hp_codes *codes = atomic_load(&gate_codes);
	if (codes) {
		uintptr_t top = hp_stack_top(thread_self(), (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
		answer = hp_gate_look(codes, frame, (uintptr_t)frame, top, &walk);
		if (answer == HP_IN && walk.owner == HP_OWNER_GATE)
			answer = has_said_out(number) ? HP_OUT : HP_UNKNOWN;
	}
	hp_readers_leave();
	return answer;
}

/* Says that the calling thread has found itself out and will look at the word before it goes on. True if it is among
 * the first, one for each processor but the one that the transition runs on: it may wait without sleeping. */
static bool say_out(uint32_t number)
{
	uint32_t place = atomic_fetch_add(&n_arrivals, 1);
	if (place < HP_ARRIVALS_MAX)
		atomic_store(&arrivals[place], (uint64_t)number << 32 | (uint32_t)thread_self());
	hp_ask_note_answer();
	return place < atomic_load(&spinners);
}

/* Most gates are closed for less than it takes to fall asleep and to be woken. */
GATE_TEXT static void wait_awake(uint64_t word)
{
	uint64_t until = hp_now() + SPIN_NS;
	while (atomic_load(&gate) == word && hp_now() < until)
		for (int i = 0; i < 16; i++)
			hp_arch_pause();
}

/* A caller on its way through the gate. */
struct visit {
	struct hp_site *site;
	const struct hp_gate_frame *frame;
	uint32_t number; /* of the transition for which it has looked at itself; 0: none yet */
	enum hp_answer looked;
	bool awake; /* it may wait without sleeping, once */
};

GATE_TEXT static void wait_at_gate(struct visit *visit, uint64_t word)
{
	if (visit->awake) {
		visit->awake = false;
		wait_awake(word);
	} else {
		hp_gate_wait(futex_word(), (uint32_t)word, visit->frame);
	}
}

/* Who brings another patch waits for nobody: neither who holds, nor who has the turn. */
GATE_TEXT static bool is_never_held(void)
{
	int self = thread_self();
	return atomic_load(&hold_owner) == self || hp_session_is_of(self);
}

/* What a caller of the site has to wait for; 0: nothing. */
GATE_TEXT static uint32_t hold_of(const struct hp_site *site)
{
	uint32_t now = atomic_load(&hold);
	return now && atomic_load(&site->held) && !is_never_held() ? now : 0;
}

/* Where no transition says otherwise. What was read before waiting may be of yesterday. */
GATE_TEXT static uintptr_t go_on_or_be_held(const struct visit *visit, uintptr_t target)
{
	uint32_t now = hold_of(visit->site);
	if (!now)
		return target;
	hp_gate_wait((uint32_t *)&hold, now, visit->frame);
	return 0;
}

/* Where the caller goes on, or 0: look at the word again. */
GATE_TEXT static uintptr_t choose(struct visit *visit)
{
	uint64_t word = atomic_load(&gate);
	struct hp_site *site = visit->site;
	uint32_t number = atomic_load(&site->gate_number);
	uintptr_t before = atomic_load(&site->before), after = atomic_load(&site->after);
	if (atomic_load(&site->gate_number) != number)
		return 0;
	if (number != (uint32_t)(word >> 32) || phase_of(word) == PASS)
		return go_on_or_be_held(visit, before);
	if (phase_of(word) == OPEN)
		return go_on_or_be_held(visit, after);
	/* A program may have replaced and marked what we call ourselves (memcpy): who closed the gate cannot wait for
	 * it. */
	if (atomic_load(&gate_owner) == thread_self())
		return phase_of(word) == CLOSED ? before : after;
	if (visit->number != number) {
		visit->number = number;
		visit->looked = look_at_self(visit->frame, number);
		visit->awake = visit->looked == HP_OUT && say_out(number);
		return 0;
	}
	if (visit->looked == HP_IN)
		return go_on_or_be_held(visit, before);
	if (visit->looked == HP_UNKNOWN && phase_of(word) == CLOSED && hold_of(site))
		return go_on_or_be_held(visit, 0);
	if (visit->looked == HP_UNKNOWN && phase_of(word) == CLOSED)
		return atomic_compare_exchange_strong(&gate, &word, word + 4) ? before : 0;
	wait_at_gate(visit, word);
	return 0;
}

/* What hp_gate_enter calls. */
uintptr_t hp_gate_arrive(struct hp_site *site, const struct hp_gate_frame *frame) __attribute__((visibility("hidden")));

GATE_TEXT uintptr_t hp_gate_arrive(struct hp_site *site, const struct hp_gate_frame *frame)
{
	struct visit visit = {.site = site, .frame = frame};
	uintptr_t target;
	do
		target = choose(&visit);
	while (!target);
	return target;
}

/* A thread that waits here is taken for out, whatever is on its stack: it has no frame for the others to look at. */
void hotpatch_poll(void)
{
	uint64_t word = atomic_load_explicit(&gate, memory_order_relaxed);
	uint32_t now = atomic_load_explicit(&hold, memory_order_relaxed);
	for (;;) {
		if (phase_of(word) == CLOSED || phase_of(word) == DECIDED)
			hp_gate_wait(futex_word(), (uint32_t)word, NULL);
		else if (now && !is_never_held())
			hp_gate_wait((uint32_t *)&hold, now, NULL);
		else
			return;
		word = atomic_load(&gate);
		now = atomic_load(&hold);
	}
}

/* -- The transition's side --------------------------------------------------------------------------------------- */

static uint32_t number_now(void)
{
	return (uint32_t)(atomic_load(&gate) >> 32);
}

static void wake(const void *word)
{
	hp_syscall(SYS_futex, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0, 0, 0);
}

static void wake_callers(void)
{
	wake(futex_word());
}

void hp_gate_prepare(void)
{
	uint64_t processors[128]; /* that this thread may run on, a bit each */
	uint32_t count = 0;
	long size = hp_syscall(SYS_sched_getaffinity, 0, sizeof(processors), (long)processors, 0, 0, 0);
	for (long i = 0; i < size / (long)sizeof(*processors); i++)
		count += (uint32_t)__builtin_popcountll(processors[i]);
	atomic_store(&spinners, count > 1 ? count - 1 : 0);
}

uint32_t hp_gate_spinners(void)
{
	return atomic_load(&spinners);
}

uint32_t hp_gate_begin(void)
{
	uint32_t last = number_now(), number = last < UINT32_MAX ? last + 1 : 1; /* 0 is no transition's */
	atomic_store(&gate, make_word(number, PASS));
	return number;
}

void hp_gate_enlist(struct hp_site *site, uint32_t number, uintptr_t after)
{
	atomic_store(&site->gate_number, 0);
	atomic_store(&site->after, after);
	atomic_store(&site->gate_number, number);
}

void hp_gate_take_slot(struct hp_site *site)
{
	atomic_store(site->cell.slot, site->cell.code + HP_CELL_STUB);
}

void hp_gate_keep_before(struct hp_site *site)
{
	uintptr_t target = atomic_load(&site->before);
	if (!atomic_load(&site->held))
		atomic_store(site->cell.slot, target);
	atomic_store(&site->after, target);
}

void hp_gate_keep_after(struct hp_site *site)
{
	uintptr_t target = atomic_load(&site->after);
	atomic_store(&site->held, false);
	atomic_store(site->cell.slot, target);
	atomic_store(&site->before, target);
}

void hp_gate_close(const struct hp_codes *codes)
{
	atomic_store(&gate_codes, codes);
	atomic_store(&gate_owner, thread_self());
	atomic_store(&n_arrivals, 0);
	atomic_store(&gate, make_word(number_now(), CLOSED));
}

void hp_gate_reopen(void)
{
	atomic_store(&gate, make_word(number_now(), PASS));
	atomic_store(&gate_codes, NULL);
	wake_callers();
}

size_t hp_gate_arrivals(int tids[HP_ARRIVALS_MAX])
{
	uint64_t word = atomic_load(&gate);
	uint32_t number = (uint32_t)(word >> 32), n = atomic_load(&n_arrivals);
	size_t found = 0;
	if ((uint32_t)word != CLOSED) /* somebody has passed: it may have been one of them */
		return 0;
	for (uint32_t i = 0; i < n && i < HP_ARRIVALS_MAX; i++) {
		uint64_t arrival = atomic_load(&arrivals[i]);
		if ((uint32_t)(arrival >> 32) == number)
			tids[found++] = (int)(uint32_t)arrival;
	}
	return found;
}

uint32_t hp_gate_passes(void)
{
	return (uint32_t)atomic_load(&gate);
}

bool hp_gate_decide(uint32_t passes)
{
	uint64_t expected = (uint64_t)number_now() << 32 | passes;
	return atomic_compare_exchange_strong(&gate, &expected, make_word(number_now(), DECIDED));
}

void hp_gate_open(void)
{
	atomic_store(&gate, make_word(number_now(), OPEN));
	atomic_store(&gate_codes, NULL);
	wake_callers();
}

int hp_gate_add_code(struct hp_codes *codes, struct hp_err *err)
{
	return hp_codes_add_function(codes, (uintptr_t)__start_hp_gate_text, (uintptr_t)__stop_hp_gate_text, false,
	                             HP_OWNER_GATE, err);
}

/* -- Held between transitions ------------------------------------------------------------------------------------ */

/* None that a thread may still be about to wait for. */
static uint32_t next_hold(void)
{
	static uint32_t last;
	last = last < UINT32_MAX ? last + 1 : 1;
	return last;
}

/* Of what was held, all but these. */
static void let_go_but(struct hp_site *const *sites, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sites[i]->mark = 1;
	for (size_t i = 0; i < held.n; i++)
		if (!held.sites[i]->mark && atomic_exchange(&held.sites[i]->held, false))
			hp_gate_keep_before(held.sites[i]);
	for (size_t i = 0; i < n; i++)
		sites[i]->mark = 0;
}

/* The number first: who finds the site held finds a number to wait for. Those that are held already see no gap. */
void hp_gate_hold(struct hp_site *const *sites, size_t n)
{
	atomic_store(&hold_owner, thread_self());
	atomic_store(&hold, next_hold());
	for (size_t i = 0; i < n; i++) {
		atomic_store(&sites[i]->held, true);
		hp_gate_take_slot(sites[i]);
	}
	let_go_but(sites, n);
	held.sites = sites;
	held.n = n;
	wake(&hold);
}

void hp_gate_let_on(void)
{
	let_go_but(NULL, 0);
	held.n = 0;
	atomic_store(&hold, 0);
	wake(&hold);
}

/* Another number, since one may be about to sleep. */
void hp_gate_look_again(void)
{
	if (!atomic_load(&hold))
		return;
	atomic_store(&hold, next_hold());
	wake(&hold);
}

/* What is held need not be what the list says, nor have slots to be what `held` says: another thread may have been
 * changing them, and pages are copied at different times. Looked at first: what is written to, the child has to copy.
 */
static int forget(struct hp_site *site, void *unused)
{
	(void)unused;
	if (site->mark)
		site->mark = 0;
	if (atomic_load(&site->held) || atomic_load(site->cell.slot) != atomic_load(&site->before)) {
		atomic_store(&site->held, false);
		hp_gate_keep_before(site);
	}
	return 0;
}

void hp_gate_reset(void)
{
	hp_sites_each_unordered(forget, NULL);
	held.n = 0;
	atomic_store(&hold, 0);
}
