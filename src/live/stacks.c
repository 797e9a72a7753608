#include "live/stacks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "arch/arch.h"
#include "base/mapped.h"
#include "base/memory.h"
#include "code/displaced.h"
#include "code/emulated.h"
#include "code/near.h"
#include "code/pun.h"
#include "code/text.h"
#include "live/announced.h"

/* -- Code of interest -------------------------------------------------------------------------------------------- */

static int codes_add(struct hp_codes *codes, struct hp_code code, struct hp_err *err)
{
	if (codes->n == codes->capacity) {
		size_t capacity = codes->capacity ? 2 * codes->capacity : 16;
		struct hp_code *grown = hp_memory_grow(codes->v, codes->n * sizeof(*grown), capacity * sizeof(*grown));
		if (!grown)
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu pieces of code", capacity);
		codes->v = grown;
		codes->capacity = capacity;
	}
	codes->v[codes->n++] = code;
	return 0;
}

/* A return address lies behind a call, which takes two bytes at least; at the end only if the last instruction is a
 * call, to a function that does not return. */
int hp_codes_add_function(struct hp_codes *codes, uintptr_t low, uintptr_t high, bool entry_is_out, uint32_t owner,
                          struct hp_err *err)
{
	bool call_at_end = high - low < 8 || hp_arch_may_end_in_call((const uint8_t *)high - 8);
	struct hp_code code = {
		.ip_low = low + entry_is_out,
		.ip_high = high,
		.word_low = low + 1, /* the first is low + 2 */
		.word_high = high + call_at_end,
		.owner = owner,
	};
	return codes_add(codes, code, err);
}

int hp_codes_add_bytes(struct hp_codes *codes, uintptr_t low, uintptr_t high, uint32_t owner, struct hp_err *err)
{
	struct hp_code code = {.ip_low = low, .ip_high = high, .word_low = low - 1, .word_high = high, .owner = owner};
	return codes_add(codes, code, err);
}

static int compare(const void *a, const void *b)
{
	uintptr_t left = ((const struct hp_code *)a)->word_low, right = ((const struct hp_code *)b)->word_low;
	return left < right ? -1 : left > right;
}

void hp_codes_sort(struct hp_codes *codes)
{
	if (codes->n)
		qsort(codes->v, codes->n, sizeof(*codes->v), compare);
	codes->low = UINTPTR_MAX;
	codes->high = 0;
	for (size_t i = 0; i < codes->n; i++) {
		if (codes->v[i].word_low < codes->low)
			codes->low = codes->v[i].word_low;
		if (codes->v[i].word_high > codes->high)
			codes->high = codes->v[i].word_high;
	}
}

void hp_codes_free(struct hp_codes *codes)
{
	hp_memory_forget(codes->v, codes->n * sizeof(*codes->v));
	*codes = (struct hp_codes){0};
}

/* The last piece that begins at or before address + 1 (instruction pointers may be one below word_low), and its
 * neighbour: functions do not overlap, so no other can hold it. */
static const struct hp_code *find(const struct hp_codes *codes, uintptr_t address, bool as_word)
{
	size_t low = 0, high = codes->n;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (codes->v[middle].word_low <= address + 1)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t i = low; i > 0 && low - i < 3; i--) {
		const struct hp_code *code = &codes->v[i - 1];
		if (as_word ? address > code->word_low && address < code->word_high
		            : address >= code->ip_low && address < code->ip_high)
			return code;
	}
	return NULL;
}

const struct hp_code *hp_stack_code_of(const struct hp_codes *codes, uintptr_t word)
{
	const struct hp_code *code = find(codes, word, true);
	return code && code->owner != HP_OWNER_GATE ? code : NULL;
}

/* -- Reading a stack: a window, so that neighbouring words cost one system call ---------------------------------- */

struct window {
	uintptr_t base;
	size_t size;
	uintptr_t words[256];
};

static bool window_read(uintptr_t address, uintptr_t *ret_word, void *arg)
{
	struct window *w = arg;
	if (address % sizeof(uintptr_t) != 0)
		return hp_memory_read(address, ret_word, sizeof(*ret_word));
	if (address < w->base || address - w->base + sizeof(uintptr_t) > w->size) {
		w->base = address;
		w->size = hp_memory_read_some(address, w->words, sizeof(w->words));
		if (w->size < sizeof(uintptr_t))
			return false;
	}
	*ret_word = w->words[(address - w->base) / sizeof(uintptr_t)];
	return true;
}

/* -- Where stacks end -------------------------------------------------------------------------------------------- */

extern void *__libc_stack_end __attribute__((weak)); /* glibc: where the first thread's stack began */

/* musl has no robust list until a thread takes such a mutex. Its descriptors, which lie above the first frame as well,
 * are a ring: { self, dtv, prev, next, sysinfo, canary, tid, ... } (musl, src/internal/pthread_impl.h). What is read
 * there is believed only if it points to itself and has the thread's number. */
static uintptr_t descriptor_of(int tid)
{
	enum { SELF, NEXT = 3, TID = 6, RING_MAX = 1 << 16 };
	uintptr_t words[TID + 1], first = (uintptr_t)pthread_self(), at = first;
	for (int i = 0; i < RING_MAX; i++) {
		if (!hp_memory_read(at, words, sizeof(words)) || words[SELF] != at)
			return 0;
		if ((int)words[TID] == tid)
			return at;
		if ((at = words[NEXT]) == first)
			return 0;
	}
	return 0;
}

/* The kernel puts the program's name above the first frame of its first thread; libc puts the thread descriptor, with
 * the head of its robust list, above the first frame of all others (get_robust_list(2)). */
uintptr_t hp_stack_top(int tid, int pid)
{
	uintptr_t head = 0, size = 0;
	if (tid == pid)
		return &__libc_stack_end && __libc_stack_end ? (uintptr_t)__libc_stack_end
		                                             : getauxval(AT_EXECFN) & ~7ul;
	/* In an emulator that does not know the call a thread knows its own: the thread pointer leads there too. */
	if (hp_syscall(SYS_get_robust_list, tid, (long)&head, (long)&size, 0, 0, 0) != 0)
		head = hp_emulated() && tid == (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0)
		               ? 0 - (uintptr_t)hp_arch_tls_offset(NULL)
		               : 0;
	return head ? head & ~(sizeof(uintptr_t) - 1) : descriptor_of(tid);
}

static _Atomic uintptr_t signal_mark;

void hp_stack_set_restorer(uintptr_t address)
{
	atomic_store(&signal_mark, hp_arch_signal_mark(address));
}

/* The lowest readable address below top, page by page, so that neither a guard page nor the last pages are passed over:
 * how far a native stack may reach whose owner runs elsewhere. */
static uintptr_t native_low(uintptr_t top)
{
	enum { PAGE = 4096, NATIVE_MAX = 64 << 20 };
	struct iovec pages[HP_PIECES_MAX];
	uint8_t bytes[HP_PIECES_MAX];
	uintptr_t low = top & ~(uintptr_t)(PAGE - 1);
	size_t got = HP_PIECES_MAX;
	while (got == HP_PIECES_MAX && top - low < NATIVE_MAX) {
		for (size_t i = 0; i < HP_PIECES_MAX; i++)
			pages[i] = (struct iovec){(void *)(low - (i + 1) * PAGE), 1};
		got = hp_memory_read_pieces(pages, HP_PIECES_MAX, bytes);
		low -= got * PAGE;
	}
	return low;
}

/* -- Scan -------------------------------------------------------------------------------------------------------- */

enum { STRETCH_MAX = 64 << 20, PENDING_MAX = 8, GATE_DEPTH = 16 << 10 };

/* Stacks still to be scanned, one found from the other. */
struct scan {
	const struct hp_codes *codes;
	struct {
		uintptr_t ip, sp;
	} pending[PENDING_MAX];
	size_t n, done;
	bool overflow;
	bool old_only; /* the gate's code does not count */
	uintptr_t hit; /* the word that did */
	struct window window;
};

static void scan_begin(struct scan *s, const struct hp_codes *codes)
{
	s->codes = codes;
	s->n = s->done = 0;
	s->overflow = s->old_only = false;
}

static void scan_add(struct scan *s, uintptr_t ip, uintptr_t sp)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->pending[i].sp == sp)
			return;
	if (s->n == PENDING_MAX) {
		s->overflow = true;
		return;
	}
	s->pending[s->n].ip = ip;
	s->pending[s->n++].sp = sp;
}

static bool is_hit(const struct scan *s, uintptr_t address, bool as_word)
{
	const struct hp_code *code = find(s->codes, address, as_word);
	return code && !(s->old_only && code->owner == HP_OWNER_GATE);
}

/* `at` holds the mark of a signal frame that lies, or lay, there. It is words[i] of the n that were read. */
static bool signal_frame_hits(struct scan *s, uintptr_t at, const uintptr_t *words, size_t i, size_t n)
{
	uintptr_t frame[HP_SIGFRAME_WORDS], ip, sp;
	if ((ptrdiff_t)i < HP_SIGFRAME_BEFORE || n - i < HP_SIGFRAME_WORDS - HP_SIGFRAME_BEFORE) {
		if (!hp_memory_read(at - HP_SIGFRAME_BEFORE * sizeof(*words), frame, sizeof(frame)))
			return false;
		words = frame;
	} else {
		words += i - HP_SIGFRAME_BEFORE;
	}
	if (!hp_arch_signal_frame(words, &ip, &sp))
		return false;
	if (is_hit(s, ip, false))
		return true;
	if (sp < at || sp - at > 65536) /* nearer ones are interrupted frames of the same stretch */
		scan_add(s, ip, sp & ~(sizeof(uintptr_t) - 1));
	return false;
}

static bool words_hit(struct scan *s, uintptr_t base, const uintptr_t *words, size_t n)
{
	uintptr_t low = s->codes->low, span = s->codes->high - low, mask = hp_code_mask();
	uintptr_t mark = atomic_load(&signal_mark);
	for (size_t i = 0; i < n; i++) {
		s->hit = base + i * sizeof(uintptr_t);
		if ((words[i] & mask) - low < span && is_hit(s, words[i] & mask, true))
			return true;
		if (words[i] == mark && mark && signal_frame_hits(s, base + i * sizeof(uintptr_t), words, i, n))
			return true;
	}
	return false;
}

/* Scans [sp, limit) as far as it can be read. True at the first hit; else *ret_end is where it stopped. */
static bool stretch_hits(struct scan *s, uintptr_t sp, uintptr_t limit, uintptr_t *ret_end)
{
	uintptr_t at = sp;
	while (at < limit) {
		size_t want = limit - at < sizeof(s->window.words) ? limit - at : sizeof(s->window.words);
		size_t got = hp_memory_read_some(at, s->window.words, want) / sizeof(uintptr_t);
		if (words_hit(s, at, s->window.words, got))
			return true;
		at += got * sizeof(uintptr_t);
		if (got * sizeof(uintptr_t) < want)
			break;
	}
	*ret_end = at;
	return false;
}

/* Where all memory is searched, an unknown stack is looked at as far as frames of the gate may reach. */
static uintptr_t stretch_limit(const struct hp_codes *codes, uintptr_t sp, uintptr_t top)
{
	uintptr_t announced = hp_announced_end(sp);
	if (announced)
		return announced;
	if (top && sp < top && top - sp < STRETCH_MAX)
		return top;
	return sp + (codes->searched ? GATE_DEPTH : STRETCH_MAX);
}

static enum hp_answer scan(struct scan *s, const struct hp_codes *codes, uintptr_t ip, uintptr_t sp, uintptr_t top,
                           const struct hp_stack_words *read)
{
	scan_begin(s, codes);
	sp &= ~(sizeof(uintptr_t) - 1);
	scan_add(s, ip, sp);
	bool complete = false;
	if (words_hit(s, sp, read->v, read->n))
		return HP_MAYBE;
	for (; s->done < s->n; s->done++) {
		uintptr_t at = s->pending[s->done].sp, limit = stretch_limit(codes, at, top), end;
		uintptr_t from = s->done == 0 ? at + read->n * sizeof(uintptr_t) : at;
		if (find(codes, s->pending[s->done].ip, false) || stretch_hits(s, from, limit, &end))
			return HP_MAYBE;
		if (top ? at < top && end >= top : end < limit)
			complete = true;
		else if (top && !codes->searched &&
		         limit == hp_announced_end(at)) /* a coroutine: its thread's own stack, as far as it may go */
			scan_add(s, 0, native_low(top));
	}
	return (complete || codes->searched) && !s->overflow ? HP_OUT : HP_UNKNOWN;
}

/* The copies of words go: on a coroutine's stack a later search would find them. */
enum hp_answer hp_stack_scan(const struct hp_codes *codes, uintptr_t ip, uintptr_t sp, uintptr_t top,
                             const struct hp_stack_words *read)
{
	struct scan s;
	enum hp_answer answer = scan(&s, codes, ip, sp, top, read);
	memset(&s.window.words, 0, sizeof(s.window.words));
	__asm__ volatile("" ::"r"(&s) : "memory");
	return answer;
}

/* Whether the function at ip has stored its return address; not known where there are no tables for it. */
static bool return_is_stored(uintptr_t ip)
{
	struct hp_fde fde;
	return hp_mapped_function(ip, &fde) && hp_cfi_return_stored(&fde, ip);
}

enum hp_answer hp_stack_scan_from_outside(const struct hp_codes *codes, uintptr_t ip, uintptr_t sp, uintptr_t top,
                                          const struct hp_stack_words *read)
{
	enum hp_answer answer = hp_stack_scan(codes, ip, sp, top, read);
	return answer == HP_OUT && !HP_RETURN_ON_STACK && !return_is_stored(ip) ? HP_UNKNOWN : answer;
}

static bool a_register_hits(const struct hp_codes *codes, const struct hp_regs *regs)
{
	uintptr_t mask = hp_code_mask();
	for (unsigned reg = 0; reg < HP_REG_COUNT; reg++)
		if (reg != HP_REG_IP && find(codes, regs->value[reg] & mask, true))
			return true;
	return false;
}

enum hp_answer hp_stack_scan_interrupted(const struct hp_codes *codes, const struct hp_regs *regs, uintptr_t top)
{
	static const struct hp_stack_words nothing;
	if (!HP_RETURN_ON_STACK && a_register_hits(codes, regs))
		return HP_MAYBE;
	return hp_stack_scan(codes, regs->value[HP_REG_IP], regs->value[HP_REG_SP], top, &nothing);
}

enum hp_answer hp_stack_scan_own(const struct hp_codes *codes, uintptr_t frame, uintptr_t top)
{
	uintptr_t words[512];
	size_t want = frame < top && top - frame < sizeof(words) ? top - frame : sizeof(words);
	struct hp_stack_words read = {words, hp_memory_read_some(frame, words, want) / sizeof(*words)};
	return hp_stack_scan(codes, 0, frame, top, &read);
}

/* -- Walk -------------------------------------------------------------------------------------------------------- */

enum { WALK_MAX = 1 << 20, PREFIX_MAX = 16 };

/* Linkers give no tables for linkage tables on some instruction sets; their stubs push nothing. */
static bool in_linkage_stub(uintptr_t ip)
{
	uint8_t code[16];
	for (uintptr_t back = 0; back <= sizeof(code); back += 4)
		if (hp_text_read(ip - back, code, sizeof(code)) && hp_arch_plt_word(code, ip - back) != 0)
			return true;
	return false;
}

/* At an entry, or in the code between a call and a definition, the frame is still the caller's call. */
static bool at_entry_code(uintptr_t ip)
{
	struct hp_fde fde;
	if (hp_near_contains(ip) || hp_pun_contains(ip) || in_linkage_stub(ip))
		return true;
	for (uintptr_t ahead = 1; ahead <= PREFIX_MAX; ahead++)
		if (hp_mapped_function(ip + ahead, &fde))
			return fde.begin == ip + ahead;
	return false;
}

/* A thread in the copy of a function's first instructions is where it would be in the function. */
static bool follow_origin(struct hp_regs *regs)
{
	struct hp_copy_point point;
	if (!regs->exact_ip || !hp_displaced_origin(regs->value[HP_REG_IP], &point))
		return true;
	if (!point.at_entry)
		regs->value[HP_REG_IP] = point.origin;
	return !point.at_entry;
}

static enum hp_cfi_step step(struct hp_regs *regs, struct window *window)
{
	if (!follow_origin(regs))
		return hp_arch_regs_leave_entry(regs, window_read, window) ? HP_CFI_STEPPED : HP_CFI_LOST;
	uintptr_t ip = regs->value[HP_REG_IP], sp = regs->value[HP_REG_SP];
	uintptr_t pc = regs->exact_ip ? ip : ip - 1;
	const struct hp_mapped *image = hp_mapped_find(pc);
	struct hp_fde fde;
	bool covered = image && hp_cfi_find(&image->cfi, pc, &fde);
	if ((!covered || fde.signal_frame) && hp_arch_regs_leave_signal(regs, window_read, window))
		return HP_CFI_STEPPED;
	if (!covered) {
		bool entry = regs->exact_ip && at_entry_code(ip);
		return entry && hp_arch_regs_leave_entry(regs, window_read, window) ? HP_CFI_STEPPED : HP_CFI_LOST;
	}
	bool may_be_empty = regs->exact_ip && !HP_RETURN_ON_STACK;
	enum hp_cfi_step result = hp_cfi_step(&image->cfi, &fde, regs, window_read, window);
	if (result == HP_CFI_STEPPED && !fde.signal_frame && regs->value[HP_REG_SP] < sp + !may_be_empty)
		return HP_CFI_LOST; /* stacks grow down: a frame lies above the one it called */
	return result;
}

/* A thread's first frame lies near the top of its own stack: between them is no more than its thread-local storage, of
 * which libc may keep some for what is loaded later. */
static bool is_native(uintptr_t sp, uintptr_t top)
{
	uintptr_t spare = (uintptr_t)256 << 10;
	return top == 0 || (sp <= top && top - sp < spare + hp_mapped_thread_size());
}

/* Where a walk was lost, the words above may tell what the thread is probably in: for the sentence, not for the answer.
 */
static void guess(const struct hp_codes *codes, uintptr_t sp, uintptr_t top, struct window *window,
                  struct hp_walk *walk)
{
	uintptr_t end = top > sp && top - sp < STRETCH_MAX ? top : sp + sizeof(window->words), word;
	for (uintptr_t at = sp & ~(sizeof(word) - 1); at < end && window_read(at, &word, window); at += sizeof(word)) {
		const struct hp_code *code = find(codes, word, true);
		if (!code || code->owner == HP_OWNER_GATE)
			continue;
		size_t last = walk->n_frames < HP_FRAMES_MAX ? walk->n_frames++ : HP_FRAMES_MAX - 1;
		walk->frames[last] = word;
		walk->owner = code->owner;
		walk->guessed = true;
		return;
	}
}

static enum hp_answer lost(const struct hp_codes *codes, const struct hp_regs *regs, uintptr_t top,
                           struct window *window, struct hp_walk *walk)
{
	if (walk)
		guess(codes, regs->value[HP_REG_SP], top, window, walk);
	return HP_UNKNOWN;
}

/* HP_UNKNOWN with *ret_lost: the frame that regs then describe, and those above it, are not known. */
__attribute__((noinline)) static enum hp_answer walk_frames(const struct hp_codes *codes, struct hp_regs *regs,
                                                            uintptr_t top, struct hp_walk *walk, bool *ret_lost)
{
	struct window window;
	enum hp_answer answer = HP_OUT;
	window.base = window.size = 0;
	for (int i = 0; i < WALK_MAX; i++) {
		uintptr_t ip = regs->value[HP_REG_IP];
		const struct hp_code *code = find(codes, ip, !regs->exact_ip);
		if (code && answer != HP_IN) {
			answer = HP_IN;
			if (!walk)
				return HP_IN;
			walk->owner = code->owner;
		}
		if (walk && walk->n_frames < HP_FRAMES_MAX)
			walk->frames[walk->n_frames++] = ip;
		else if (answer == HP_IN)
			return HP_IN;
		enum hp_cfi_step stepped = step(regs, &window);
		if (stepped == HP_CFI_OUTERMOST && (codes->searched || is_native(regs->value[HP_REG_SP], top)))
			return answer;
		if (stepped != HP_CFI_STEPPED) {
			*ret_lost = answer != HP_IN && i > 0;
			return answer == HP_IN ? HP_IN : lost(codes, regs, top, &window, walk);
		}
	}
	return HP_UNKNOWN;
}

/* Where the walk is lost, in code without unwind tables (all of musl, which calls each thread's first function), the
 * rest may still be known to hold no return address: what doubt there was came from beneath. */
enum hp_answer hp_stack_walk(const struct hp_codes *codes, const struct hp_regs *start, uintptr_t top,
                             struct hp_walk *walk)
{
	static const struct hp_stack_words nothing;
	struct hp_regs regs = *start;
	bool is_lost = false;
	if (walk) {
		walk->n_frames = 0;
		walk->owner = HP_OWNER_NONE;
		walk->guessed = false;
	}
	enum hp_answer answer = walk_frames(codes, &regs, top, walk, &is_lost);
	if (is_lost && hp_stack_scan(codes, 0, regs.value[HP_REG_SP], top, &nothing) == HP_OUT)
		return HP_OUT;
	return answer;
}

/* -- Announced stacks -------------------------------------------------------------------------------------------- */

struct announced_scan {
	struct scan scan;
	uintptr_t (*live)(uintptr_t base, size_t size, void *arg);
	void *arg;
};

static bool announced_hits(uintptr_t base, size_t size, void *arg)
{
	struct announced_scan *s = arg;
	uintptr_t end;
	return stretch_hits(&s->scan, s->live(base, size, s->arg), base + size, &end);
}

bool hp_stack_scan_announced(const struct hp_codes *codes, uintptr_t (*live)(uintptr_t base, size_t size, void *arg),
                             void *arg, uintptr_t *ret_address)
{
	struct announced_scan s = {.live = live, .arg = arg};
	scan_begin(&s.scan, codes);
	s.scan.old_only = true;
	if (!hp_announced_any(announced_hits, &s))
		return false;
	*ret_address = s.scan.hit;
	return true;
}
