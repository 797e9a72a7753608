#include "live/proof.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/linker.h"
#include "base/mapped.h"
#include "base/readers.h"
#include "live/ask.h"
#include "live/stale.h"
#include "live/survey.h"

/* -- Candidates -------------------------------------------------------------------------------------------------- */

struct hp_candidate *hp_proof_add(struct hp_proof *r, struct hp_loaded *loaded, const char *what)
{
	struct hp_candidate *candidate = &r->v[r->n++];
	*candidate = (struct hp_candidate){.loaded = loaded};
	snprintf(candidate->why.what, sizeof(candidate->why.what), "%s", what);
	return candidate;
}

void hp_proof_aim(struct hp_proof *r, struct hp_candidate *candidate, struct hp_span target)
{
	if (r->n_targets == HP_TARGETS_MAX) {
		hp_proof_keep(candidate, "it has too many pieces");
		return;
	}
	r->owner[r->n_targets] = (size_t)(candidate - r->v);
	r->targets[r->n_targets++] = target;
}

/* -- Keeping ----------------------------------------------------------------------------------------------------- */

/* While all threads are held: so the sentence is put together without the names of symbols. */
void hp_proof_keep(struct hp_candidate *candidate, const char *reason)
{
	if (candidate->kept)
		return;
	candidate->kept = true;
	snprintf(candidate->why.reason, sizeof(candidate->why.reason), "%s", reason);
}

void hp_proof_keep_all(struct hp_proof *r, const char *reason)
{
	for (size_t i = 0; i < r->n; i++)
		hp_proof_keep(&r->v[i], reason);
}

bool hp_proof_any_left(const struct hp_proof *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept)
			return true;
	return false;
}

/* A candidate that is kept keeps what its memory refers to. */
void hp_proof_spread(struct hp_proof *r)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < r->n; i++)
			for (size_t j = 0; j < r->n && !r->v[i].kept; j++)
				if (r->v[i].from >> j & 1 && r->v[j].kept) {
					hp_proof_keep(&r->v[i], r->v[i].loaded ? "a library that is kept refers to it"
					                                       : "a patch that is kept refers to it");
					changed = true;
				}
	}
}

/* -- What is not counted ----------------------------------------------------------------------------------------- */

static void skip(struct hp_proof *r, uintptr_t low, uintptr_t high)
{
	if (r->n_skip < HP_SKIP_MAX && low < high)
		r->skip[r->n_skip++] = (struct hp_span){low, high};
}

void hp_proof_skip(struct hp_proof *r, const void *low, size_t size)
{
	skip(r, (uintptr_t)low, (uintptr_t)low + size);
}

/* What lies below the caller's frame is ours, or left behind there: its own registers are just below it (saved by the
 * function that it called) and are looked at. On a stack of which nothing is known only our own frames are left out. */
static void skip_own_stack(struct hp_proof *r)
{
	struct hp_span own = hp_stale_own(r->frame);
	skip(r, own.low, own.high);
}

void hp_proof_skip_ours(struct hp_proof *r, const struct hp_session *session)
{
	struct hp_span list = hp_mapped_memory();
	skip(r, (uintptr_t)r, (uintptr_t)(r + 1));
	skip(r, (uintptr_t)session->outcome, (uintptr_t)(session->outcome + 1));
	skip(r, list.low, list.high);
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].loaded)
			hp_proof_skip(r, r->v[i].loaded, sizeof(*r->v[i].loaded));
	skip_own_stack(r);
}

/* -- Words in memory --------------------------------------------------------------------------------------------- */

static int whose_stack(const struct hp_proof *r, const struct hp_hit *hit)
{
	for (size_t i = 0; r->threads && i < r->threads->n; i++) {
		uintptr_t top = r->threads->v[i].top;
		if (top > hit->address && top >= hit->mapping.low && top < hit->mapping.high)
			return r->threads->v[i].tid;
	}
	return 0;
}

/* Stacks are for the second search, when it is known where each begins. */
static bool is_not_now(const struct hp_proof *r, const struct hp_hit *hit)
{
	return r->held ? hp_stale_is(r->threads, hit) : whose_stack(r, hit) != 0;
}

static void keep_for(const struct hp_proof *r, struct hp_candidate *candidate, const struct hp_hit *hit)
{
	struct hp_kept *why = &candidate->why;
	why->address = hit->address;
	why->target = hit->value;
	why->thread = whose_stack(r, hit);
	const struct hp_mapped *image = hp_mapped_find(hit->address);
	if (why->thread)
		snprintf(why->place, sizeof(why->place), "the stack of thread %d", why->thread);
	else
		snprintf(why->place, sizeof(why->place), "%s",
		         image         ? image->name
		         : *hit->place ? hit->place
		                       : "memory without a name");
	hp_proof_keep(candidate, hit->mangled ? "a pointer into it, as libc hides them, lies in memory"
	                                      : "a word that points into it lies in memory");
}

static bool consider(const struct hp_hit *hit, void *arg)
{
	struct hp_proof *r = arg;
	size_t owner = r->owner[hit->target];
	struct hp_candidate *candidate = &r->v[owner];
	if (candidate->kept)
		return hp_proof_any_left(r);
	for (size_t i = 0; i < r->n_targets; i++)
		if (hit->address >= r->targets[i].low && hit->address < r->targets[i].high) {
			candidate->from |= r->owner[i] == owner ? 0 : UINT32_C(1) << r->owner[i];
			return true;
		}
	if (!is_not_now(r, hit) && !(candidate->loaded && hp_linker_owns(candidate->loaded, hit)))
		keep_for(r, candidate, hit);
	return hp_proof_any_left(r);
}

static void search_memory(struct hp_proof *r, uint64_t deadline)
{
	struct hp_search search = {
		.targets = r->targets,
		.n_targets = r->n_targets,
		.skip = r->skip,
		.n_skip = r->n_skip,
		.sealed = true,
		.deadline = deadline,
		.each = consider,
		.arg = r,
	};
	const char *why;
	search.mangled = hp_arch_pointer_guard(&search.guard, &search.turn);
	if (!hp_memory_search(r->memory, &search, &why))
		hp_proof_keep_all(r, why);
	hp_proof_spread(r);
}

/* -- Words in the kernel ----------------------------------------------------------------------------------------- */

static void keep_what_lies_at(struct hp_proof *r, uintptr_t value, const char *reason)
{
	for (size_t i = 0; i < r->n_targets; i++)
		if (value >= r->targets[i].low && value < r->targets[i].high) {
			r->v[r->owner[i]].why.target = value;
			hp_proof_keep(&r->v[r->owner[i]], reason);
		}
}

static void search_signals(struct hp_proof *r)
{
	struct {
		uintptr_t handler, flags, restorer;
		uint64_t mask;
	} action;
	for (int signo = 1; signo <= 64; signo++)
		if (hp_syscall(SYS_rt_sigaction, signo, 0, (long)&action, sizeof(action.mask), 0, 0) == 0) {
			char reason[64];
			snprintf(reason, sizeof(reason), "the handler of signal %d lies in it", signo);
			keep_what_lies_at(r, action.handler, reason);
			keep_what_lies_at(r, action.restorer, reason);
		}
}

/* Every hexadecimal number in a file of /proc. */
static void search_text(struct hp_proof *r, const char *path, const char *reason)
{
	char text[4096];
	uintptr_t value = 0;
	ssize_t got;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (got = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++) {
			char c = text[i];
			bool digit = c >= '0' && c <= '9';
			if (digit || (c >= 'a' && c <= 'f')) {
				value = value << 4 | (uintptr_t)(digit ? c - '0' : c - 'a' + 10);
				continue;
			}
			keep_what_lies_at(r, value, reason);
			value = 0;
		}
	if (fd >= 0)
		close(fd);
}

struct entry {          /* struct linux_dirent64, getdents(2) */
	uint64_t inode; /* cppcheck-suppress unusedStructMember; the kernel's */
	int64_t offset; /* cppcheck-suppress unusedStructMember; the kernel's */
	uint16_t size;
	uint8_t type; /* cppcheck-suppress unusedStructMember; the kernel's */
	char name[];
};

/* What epoll gives back with an event (proc(5), fdinfo). */
static void search_epolls(struct hp_proof *r)
{
	char entries[4096] __attribute__((aligned(8))), path[64], target[32];
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long got;
	if (folder < 0) {
		hp_proof_keep_all(r, "/proc/self/fd cannot be read, so what epoll holds is not known");
		return;
	}
	while ((got = hp_syscall(SYS_getdents64, folder, (long)entries, sizeof(entries), 0, 0, 0)) > 0)
		for (long at = 0; at < got;) {
			const struct entry *entry = (const struct entry *)(entries + at);
			ssize_t n = readlinkat(folder, entry->name, target, sizeof(target) - 1);
			at += entry->size;
			target[n > 0 ? n : 0] = 0;
			if (strcmp(target, "anon_inode:[eventpoll]") != 0)
				continue;
			snprintf(path, sizeof(path), "/proc/self/fdinfo/%.20s", entry->name);
			search_text(r, path, "an epoll descriptor holds a pointer into it");
		}
	close(folder);
}

static void search_kernel(struct hp_proof *r)
{
	search_signals(r);
	search_text(r, "/proc/self/timers", "a timer holds a pointer into it"); /* not in every kernel */
	search_epolls(r);
	hp_proof_spread(r);
}

static void search_registers(struct hp_proof *r, const struct hp_saved_regs *saved)
{
	const uintptr_t *values = (const uintptr_t *)saved; /* words and nothing else: machine.h */
	for (size_t i = 0; i < sizeof(*saved) / sizeof(*values); i++)
		keep_what_lies_at(r, values[i], "a register of the calling thread points into it");
	hp_proof_spread(r);
}

/* -- The proof --------------------------------------------------------------------------------------------------- */

static void close_threads(struct hp_threads **threads)
{
	if (!*threads)
		return;
	hp_threads_close_files(*threads);
	hp_readers_retire(&(*threads)->retired, hp_threads_close);
	*threads = NULL;
}

static void keep_for_thread(struct hp_proof *r)
{
	for (size_t i = 0; i < r->threads->n; i++) {
		const struct hp_thread *thread = &r->threads->v[i];
		if (thread->verdict == HP_VERDICT_OUT)
			continue;
		char reason[160];
		snprintf(reason, sizeof(reason), "the registers of thread %d are not known: it %s signal %d",
		         thread->tid,
		         thread->verdict == HP_VERDICT_UNKNOWN ? "blocks or waits for"
		         : thread->unsent                      ? "cannot be sent"
		                                               : "has not answered to",
		         hp_ask_signal());
		for (size_t k = 0; k < r->n; k++)
			if (!r->v[k].kept)
				r->v[k].why.thread = thread->tid;
		hp_proof_keep_all(r, reason);
		return;
	}
}

/* Nothing is allocated from the first thread held to the last released: one of them may have been in malloc. */
static void search_held(struct hp_proof *r, struct hp_threads *again, uint64_t deadline)
{
	uint64_t mask;
	hp_signals_block(&mask);
	hp_ask_begin(r->threads, NULL);
	if (!hp_ask_all(r->threads, NULL, &(struct hp_patience){.deadline = deadline, .everyone = true, .still = true}))
		keep_for_thread(r);
	r->held = true;
	if (hp_proof_any_left(r) && !(hp_threads_list(again) && hp_ask_covers(r->threads, again)))
		hp_proof_keep_all(r, "threads come and go too fast to be held");
	if (hp_proof_any_left(r))
		search_kernel(r);
	if (hp_proof_any_left(r))
		search_memory(r, deadline);
	hp_ask_end(r->threads);
	hp_signals_restore(&mask);
}

static int prove(struct hp_proof *r, const struct hp_request *request, struct hp_err *err)
{
	struct hp_threads *again = NULL;
	int error = hp_threads_open(&r->threads, err);
	if (error)
		return error;
	if (!hp_threads_list(r->threads))
		hp_proof_keep_all(r, "threads come and go too fast to be listed");
	size_t others = r->threads->n;
	search_kernel(r);
	search_memory(r, request->deadline);
	if (others > 0 && hp_proof_any_left(r)) {
		error = hp_ask_prepare(err);
		if (!error)
			error = hp_threads_open(&again, err);
		if (!error && hp_threads_list(r->threads))
			search_held(r, again, hp_now() + request->stall);
		else
			hp_proof_keep_all(r, "threads come and go too fast to be listed");
	}
	close_threads(&again);
	close_threads(&r->threads);
	return error;
}

int hp_proof_run(struct hp_proof *r, const struct hp_saved_regs *saved, const struct hp_request *request,
                 struct hp_err *err)
{
	search_registers(r, saved);
	if (!hp_proof_any_left(r))
		return 0;
	int error = hp_memory_open(&r->memory, err);
	if (!error)
		error = prove(r, request, err);
	hp_memory_close(r->memory);
	return error;
}
