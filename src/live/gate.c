#include "live/gate.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#include "base/readers.h"

/* Callers run this wherever they are: in handlers, with locks held, on small stacks. */
#pragma GCC poison malloc calloc realloc free printf fprintf snprintf pthread_mutex_lock

#define GATE_TEXT __attribute__((section("hp_gate_text"), used, noinline))

enum phase { PASS, CLOSED, DECIDED, OPEN };

static _Atomic uint64_t gate;
static _Atomic(const struct hp_codes *) gate_codes;
static _Atomic int gate_owner; /* thread id of who closed it */

extern const char __start_hp_gate_text[] __attribute__((visibility("hidden")));
extern const char __stop_hp_gate_text[] __attribute__((visibility("hidden")));

static enum phase phase_of(uint64_t word)
{
	return (enum phase)(word & 3);
}

/* The half that the kernel compares: passes and phase (little-endian). */
static uint32_t *futex_word(void)
{
	return (uint32_t *)(uintptr_t)&gate;
}

/* -- The caller's side ------------------------------------------------------------------------------------------- */

/* Whether the calling thread is active in an old definition. A gate frame below counts: its caller may have chosen. */
static enum hp_answer look_at_self(const struct hp_gate_frame *frame)
{
	static const struct hp_stack_words nothing;
	enum hp_answer answer = HP_OUT;
	hp_readers_enter();
	const struct hp_codes *codes = atomic_load(&gate_codes);
	if (codes) {
		int tid = (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
		uintptr_t top = hp_stack_top(tid, (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
		answer = hp_stack_scan(codes, 0, (uintptr_t)&frame->return_address, top, &nothing);
		if (answer != HP_OUT) {
			struct hp_regs regs;
			hp_arch_regs_from_gate(frame, &regs);
			answer = hp_stack_walk(codes, &regs, top, NULL);
		}
	}
	hp_readers_leave();
	return answer;
}

/* Where the caller goes on, or 0: look at the word again. `looked` keeps the answer over several turns. */
GATE_TEXT static uintptr_t choose(struct hp_site *site, const struct hp_gate_frame *frame, enum hp_answer *looked)
{
	uint64_t word = atomic_load(&gate);
	uint32_t number = atomic_load(&site->gate_number);
	uintptr_t before = atomic_load(&site->before), after = atomic_load(&site->after);
	if (atomic_load(&site->gate_number) != number)
		return 0;
	if (number != (uint32_t)(word >> 32) || phase_of(word) == PASS)
		return before;
	if (phase_of(word) == OPEN)
		return after;
	if (*looked == HP_MAYBE)
		*looked = look_at_self(frame);
	if (*looked == HP_IN)
		return before;
	if (*looked == HP_UNKNOWN && phase_of(word) == CLOSED)
		return atomic_compare_exchange_strong(&gate, &word, word + 4) ? before : 0;
	/* A program may have replaced and marked what we call ourselves (memcpy): who closed the gate cannot wait for
	 * it. */
	if (atomic_load(&gate_owner) == (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0))
		return phase_of(word) == CLOSED ? before : after;
	hp_gate_wait(futex_word(), (uint32_t)word);
	return 0;
}

/* What hp_gate_enter calls. */
uintptr_t hp_gate_arrive(struct hp_site *site, const struct hp_gate_frame *frame) __attribute__((visibility("hidden")));

GATE_TEXT uintptr_t hp_gate_arrive(struct hp_site *site, const struct hp_gate_frame *frame)
{
	enum hp_answer looked = HP_MAYBE;
	uintptr_t target;
	do
		target = choose(site, frame, &looked);
	while (!target);
	return target;
}

/* A thread that waits here is taken for out, as one that waits at the gate: both look at the word before they go on. */
void hotpatch_poll(void)
{
	uint64_t word = atomic_load_explicit(&gate, memory_order_relaxed);
	while (phase_of(word) == CLOSED || phase_of(word) == DECIDED) {
		hp_gate_wait(futex_word(), (uint32_t)word);
		word = atomic_load(&gate);
	}
}

/* -- The transition's side --------------------------------------------------------------------------------------- */

static uint64_t make_word(uint32_t number, enum phase phase)
{
	return (uint64_t)number << 32 | phase;
}

static uint32_t number_now(void)
{
	return (uint32_t)(atomic_load(&gate) >> 32);
}

static void wake_callers(void)
{
	hp_syscall(SYS_futex, (long)futex_word(), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0, 0, 0);
}

uint32_t hp_gate_begin(void)
{
	uint32_t number = number_now() + 1;
	if (number == 0)
		number = 1; /* 0 is no transition's */
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
	atomic_store(site->cell.slot, target);
	atomic_store(&site->after, target);
}

void hp_gate_keep_after(struct hp_site *site)
{
	uintptr_t target = atomic_load(&site->after);
	atomic_store(site->cell.slot, target);
	atomic_store(&site->before, target);
}

void hp_gate_close(const struct hp_codes *codes)
{
	atomic_store(&gate_codes, codes);
	atomic_store(&gate_owner, (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0));
	atomic_store(&gate, make_word(number_now(), CLOSED));
}

void hp_gate_reopen(void)
{
	atomic_store(&gate, make_word(number_now(), PASS));
	atomic_store(&gate_codes, NULL);
	wake_callers();
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
