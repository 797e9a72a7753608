#include "live/suspended.h"

#include <stdio.h>
#include <string.h>

#include "arch/arch.h"
#include "base/mapped.h"
#include "code/displaced.h"
#include "code/text.h"
#include "live/announced.h"
#include "live/ask.h"

enum { TARGETS_MAX = 16, APART = 16 << 20, ROUSE_AFTER = 2 };

/* No address has it: where a stored return address may be something else there, it is signed (arch.h, hp_code_mask). */
enum { SIGNATURE_BIT = 54 };

bool hp_suspended_matter(const struct hp_suspended *s)
{
	return s->everywhere || hp_announced_any(NULL, NULL);
}

int hp_suspended_open(struct hp_suspended *s, struct hp_err *err)
{
	s->again = NULL;
	s->memory = NULL;
	if (!hp_suspended_matter(s))
		return 0;
	s->own = hp_stale_own(s->frame);
	int error = hp_threads_open(&s->again, err);
	if (!error && s->everywhere)
		error = hp_memory_open(&s->memory, err);
	if (error)
		hp_suspended_close(s);
	return error;
}

void hp_suspended_close(struct hp_suspended *s)
{
	if (s->again)
		hp_threads_close(s->again);
	hp_memory_close(s->memory);
	s->again = NULL;
	s->memory = NULL;
}

static enum hp_look doubt(struct hp_suspended *s, const char *why)
{
	s->address = s->value = 0;
	snprintf(s->reason, sizeof(s->reason), "(%s) may be in", why);
	return HP_LOOK_FOUND;
}

/* -- Announced stacks -------------------------------------------------------------------------------------------- */

/* Where what is read again begins on an announced stack: a thread runs on it that does not run now, or we do. */
static uintptr_t live_part(uintptr_t base, size_t size, void *arg)
{
	const struct hp_suspended *s = arg;
	if (s->frame - base < size)
		return s->frame & ~(sizeof(uintptr_t) - 1);
	for (size_t i = 0; i < s->threads->n; i++)
		if (s->threads->v[i].live - base < size)
			return s->threads->v[i].live & ~(sizeof(uintptr_t) - 1);
	return base;
}

static enum hp_look look_at_announced(struct hp_suspended *s)
{
	if (!hp_stack_scan_announced(s->codes, live_part, s, &s->address))
		return HP_LOOK_CLEAR;
	if (!hp_memory_read(s->address, &s->value, sizeof(s->value)))
		s->value = 0;
	s->value &= hp_code_mask();
	snprintf(s->reason, sizeof(s->reason), "(%#lx, on a stack announced with hotpatch_stack_add) may be in",
	         (unsigned long)s->address);
	return HP_LOOK_FOUND;
}

/* -- All memory -------------------------------------------------------------------------------------------------- */

static bool in_span(const struct hp_span *span, uintptr_t address)
{
	return address >= span->low && address < span->high;
}

/* In hotpatch_poll a thread is taken for out, whatever is on its stack. */
static bool is_of_poll(const struct hp_suspended *s, uintptr_t address)
{
	for (size_t i = 0; i < s->threads->n; i++)
		if (s->threads->v[i].polls && address >= s->threads->v[i].live && address < s->threads->v[i].top)
			return true;
	return false;
}

static bool is_in_list(const struct hp_threads *threads, uintptr_t address)
{
	return (address >= (uintptr_t)threads->v && address < (uintptr_t)(threads->v + threads->capacity)) ||
	       hp_threads_batch_holds(threads, address);
}

/* Words that are no return addresses: our notes of threads and code, and what will not be read again. */
static bool is_known(const struct hp_suspended *s, const struct hp_hit *hit)
{
	const struct hp_codes *codes = s->codes;
	uintptr_t at = hit->address;
	return in_span(&s->own, at) || (at >= (uintptr_t)codes && at < (uintptr_t)(codes + 1)) ||
	       (at >= (uintptr_t)codes->v && at < (uintptr_t)(codes->v + codes->capacity)) ||
	       (at >= (uintptr_t)s && at < (uintptr_t)(s + 1)) || is_in_list(s->threads, at) ||
	       is_in_list(s->again, at) || hp_displaced_notes(at) || is_of_poll(s, at) || hp_stale_is(s->threads, hit);
}

static bool consider(const struct hp_hit *hit, void *arg)
{
	struct hp_suspended *s = arg;
	if (!hp_stack_code_of(s->codes, hit->value) || is_known(s, hit) || (s->is_ours && s->is_ours(hit, s->arg)))
		return true;
	const struct hp_mapped *image = hp_mapped_find(hit->address);
	s->address = hit->address;
	s->value = hit->value;
	snprintf(s->reason, sizeof(s->reason), "(%#lx, in %.90s) may be in", (unsigned long)hit->address,
	         image         ? image->name
	         : *hit->place ? hit->place
	                       : "memory without a name");
	return false;
}

/* Neighbouring pieces of code are one target: what is between them is sorted out word by word. */
static size_t make_targets(const struct hp_codes *codes, struct hp_span targets[TARGETS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < codes->n; i++) {
		const struct hp_code *code = &codes->v[i];
		if (code->owner == HP_OWNER_GATE)
			continue;
		if (n > 0 && (n == TARGETS_MAX || code->word_low < targets[n - 1].high + APART)) {
			if (code->word_high > targets[n - 1].high)
				targets[n - 1].high = code->word_high;
			continue;
		}
		targets[n++] = (struct hp_span){code->word_low, code->word_high};
	}
	return n;
}

/* libc hides the addresses in a jmp_buf, by which coroutines may be switched as well. */
static enum hp_look look_everywhere(struct hp_suspended *s)
{
	struct hp_span targets[TARGETS_MAX];
	struct hp_search search = {
		.targets = targets,
		.n_targets = make_targets(s->codes, targets),
		.deadline = s->deadline,
		.each = consider,
		.arg = s,
	};
	const char *why;
	if (search.n_targets == 0)
		return HP_LOOK_CLEAR;
	if (!(hp_code_mask() >> SIGNATURE_BIT & 1))
		return doubt(s, "return addresses are signed, which is not searched for");
	search.mangled = hp_arch_pointer_guard(&search.guard, &search.turn);
	s->reason[0] = 0;
	if (!hp_memory_search(s->memory, &search, &why))
		return doubt(s, why);
	return s->reason[0] ? HP_LOOK_FOUND : HP_LOOK_CLEAR;
}

/* -- The look ---------------------------------------------------------------------------------------------------- */

/* Those that have run since they were read are asked again: also one in the handler whose answer nobody has taken,
 * since it was read asleep before it took a signal that was on its way. */
static bool any_has_run(struct hp_threads *threads)
{
	bool any = false;
	for (size_t i = 0; i < threads->n; i++) {
		struct hp_thread *thread = &threads->v[i];
		if (thread->stays || !hp_thread_has_run(thread))
			continue;
		thread->verdict = HP_VERDICT_NONE;
		thread->rouse = ++thread->moved >= ROUSE_AFTER;
		any = true;
	}
	return any;
}

static enum hp_look look(struct hp_suspended *s)
{
	if (!hp_threads_list(s->again) || !hp_ask_covers(s->threads, s->again))
		return doubt(s, "a thread that has just begun");
	return s->everywhere ? look_everywhere(s) : look_at_announced(s);
}

enum hp_look hp_suspended_look(struct hp_suspended *s, struct hp_threads *threads, const struct hp_codes *codes,
                               uint64_t stall, uint64_t deadline)
{
	uint64_t now = hp_now();
	struct hp_patience patience = {.deadline = now + stall < deadline ? now + stall : deadline, .still = true};
	if (!s->again)
		return doubt(s, "a stack that was announced just now");
	s->threads = threads;
	s->again->leaves_crashed = threads->leaves_crashed;
	s->codes = codes;
	s->deadline = patience.deadline;
	hp_ask_again(threads);
	while (hp_ask_all(threads, codes, &patience)) {
		enum hp_look found = look(s);
		if (!any_has_run(threads))
			return found;
		if (hp_now() >= patience.deadline)
			break;
	}
	return HP_LOOK_MOVED;
}
