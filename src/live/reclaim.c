/* reclaim - unloads libraries that nothing refers to.
 *
 *     nobody holds it --search--> no word points into it --hold all threads, search again--> proven --> dlclose
 *                         |                                   |
 *                         +---------------- kept, and where the word lies --------------+
 *
 * A library is a candidate when no definition holds it (base/loaded.h). Pointers into it can only be copied from where
 * they are: so if at one instant there is none, in memory, in a register or in the kernel, there will be none. That
 * instant is made: every thread comes to the signal's handler, where its registers lie on its stack, and stays there
 * while memory is searched a second time, at most stall_ms. Threads that sleep are woken for it, since nothing else
 * tells their registers; their system calls are executed again. The first search holds nobody, and is the last if it
 * finds something.
 *
 * Not counted are words in the candidates themselves (but if one is kept, what it points to is kept as well), in
 * descriptions by the dynamic linker that go with the library, in our own, and below the caller's frame on its stack.
 * Everything that cannot be looked at counts as a reference.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/inspector.h"
#include "base/loaded.h"
#include "base/mapped.h"
#include "base/memory.h"
#include "base/readers.h"
#include "live/ask.h"
#include "live/patch.h"
#include "live/registry.h"
#include "live/survey.h"

enum { CANDIDATES_MAX = 32, TARGETS_MAX = CANDIDATES_MAX * 4, SKIP_MAX = CANDIDATES_MAX + 8, MS = 1000000 };

/* Something that was kept, copied so that the callback may do anything. */
struct row {
	char what[256], reason[256], place[96];
	uintptr_t address, target;
	int thread;
};

struct kept {
	struct row *v;
	size_t n, capacity;
	size_t lost; /* for which there was no memory */
};

struct candidate {
	struct hp_loaded *loaded;
	bool kept;
	uint32_t from; /* other candidates whose memory refers to it, a bit each */
	struct row why;
};

struct reclaim {
	struct candidate v[CANDIDATES_MAX];
	size_t n;
	struct hp_span targets[TARGETS_MAX];
	size_t owner[TARGETS_MAX], n_targets;
	struct hp_span skip[SKIP_MAX];
	size_t n_skip;
	struct hp_memory *memory;
	struct hp_threads *threads; /* while they are held, and to tell whose a stack is */
	bool held;       /* all threads are */
	uintptr_t frame; /* where the caller's words begin on its stack */
};

static void kept_add(struct kept *list, const struct row *kept)
{
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 8;
		struct row *grown = hp_memory_grow(list->v, list->n * sizeof(*grown), capacity * sizeof(*grown));
		list->lost += !grown;
		if (!grown)
			return;
		list->v = grown;
		list->capacity = capacity;
	}
	list->v[list->n++] = *kept;
}

/* -- Keeping ----------------------------------------------------------------------------------------------------- */

/* While all threads are held: so the sentence is put together without the names of symbols. */
static void keep(struct candidate *candidate, const char *reason)
{
	if (candidate->kept)
		return;
	candidate->kept = true;
	snprintf(candidate->why.reason, sizeof(candidate->why.reason), "%s", reason);
}

static void keep_all(struct reclaim *r, const char *reason)
{
	for (size_t i = 0; i < r->n; i++)
		keep(&r->v[i], reason);
}

static bool any_left(const struct reclaim *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept)
			return true;
	return false;
}

/* A candidate that is kept keeps what its memory refers to. */
static void spread(struct reclaim *r)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < r->n; i++)
			for (size_t j = 0; j < r->n && !r->v[i].kept; j++)
				if (r->v[i].from >> j & 1 && r->v[j].kept) {
					keep(&r->v[i], "a library that is kept refers to it");
					changed = true;
				}
	}
}

/* -- Candidates -------------------------------------------------------------------------------------------------- */

static int is_in(struct hp_site *site, void *arg)
{
	const struct hp_loaded *loaded = arg;
	return hp_loaded_at(site->entry) == loaded;
}

static void add_targets(struct reclaim *r, size_t i)
{
	const struct hp_loaded *loaded = r->v[i].loaded;
	for (size_t k = 0; k < loaded->n_images; k++) {
		if (r->n_targets == TARGETS_MAX) {
			keep(&r->v[i], "too many images came with it");
			return;
		}
		r->owner[r->n_targets] = i;
		r->targets[r->n_targets++] = loaded->images[k].range;
	}
}

static void add_candidate(struct reclaim *r, struct hp_loaded *loaded)
{
	struct candidate *candidate = &r->v[r->n];
	*candidate = (struct candidate){.loaded = loaded};
	snprintf(candidate->why.what, sizeof(candidate->why.what), "%s", loaded->path);
	if (!loaded->handle)
		keep(candidate,
		     "the dynamic linker keeps it mapped: it is marked so (NODELETE, unique symbols), or somebody "
		     "else has opened it");
	else if (hp_sites_each(is_in, loaded))
		keep(candidate, "a function in it was changed");
	else if (loaded->has_thread_locals)
		keep(candidate, "it has thread-local variables, and pointers to those of other threads cannot be told");
	r->n++;
	if (!candidate->kept)
		add_targets(r, r->n - 1);
}

/* Under the registry. What the dynamic linker had kept, and has gone since, is forgotten. */
static void collect(struct reclaim *r)
{
	for (struct hp_loaded *l = hp_loaded_first(), *next; l; l = next) {
		next = l->next;
		if (atomic_load(&l->holds) > 0)
			continue;
		if (!l->handle && !hp_loaded_is_mapped(l)) {
			hp_loaded_unlist(l);
			hp_loaded_free(l);
		} else if (r->n < CANDIDATES_MAX) {
			add_candidate(r, l);
		}
	}
}

/* -- What is not counted ----------------------------------------------------------------------------------------- */

static void skip(struct reclaim *r, uintptr_t low, uintptr_t high)
{
	if (r->n_skip < SKIP_MAX && low < high)
		r->skip[r->n_skip++] = (struct hp_span){low, high};
}

/* What lies below the caller's frame is ours, or left behind there: its own registers are just below it (saved by the
 * function that it called) and are looked at. On a stack of which nothing is known only our own frames are left out. */
static void skip_own_stack(struct reclaim *r)
{
	pthread_attr_t attributes;
	void *low = NULL;
	size_t size = 0;
	uintptr_t live = r->frame, here = (uintptr_t)__builtin_frame_address(0) - 65536;
	if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
		if (pthread_attr_getstack(&attributes, &low, &size) != 0)
			low = NULL;
		pthread_attr_destroy(&attributes);
	}
	bool known = low && live >= (uintptr_t)low && live - (uintptr_t)low < size;
	skip(r, known ? (uintptr_t)low : here, live);
}

static void skip_ours(struct reclaim *r, const struct hp_session *session)
{
	struct hp_span list = hp_mapped_memory();
	skip(r, (uintptr_t)r, (uintptr_t)(r + 1));
	skip(r, (uintptr_t)session->outcome, (uintptr_t)(session->outcome + 1));
	skip(r, list.low, list.high);
	for (size_t i = 0; i < r->n; i++)
		skip(r, (uintptr_t)r->v[i].loaded, (uintptr_t)(r->v[i].loaded + 1));
	skip_own_stack(r);
}

/* -- Words in memory --------------------------------------------------------------------------------------------- */

static int whose_stack(const struct reclaim *r, const struct hp_hit *hit)
{
	for (size_t i = 0; r->threads && i < r->threads->n; i++) {
		uintptr_t top = r->threads->v[i].top;
		if (top > hit->address && top >= hit->mapping.low && top < hit->mapping.high)
			return r->threads->v[i].tid;
	}
	return 0;
}

/* Where the stack that libc gave the thread begins: its descriptor, which lies at the end of it, says so in two words,
 * base and size (glibc, nptl/descr.h: stackblock). 0 where they are not found. The first thread's mapping is all stack.
 */
static uintptr_t stack_low(const struct hp_thread *thread, const struct hp_hit *hit)
{
	enum { AROUND = 2048, AT_END = 16384 };
	if (strcmp(hit->place, "[stack]") == 0)
		return hit->mapping.low;
	const uintptr_t *at = (const uintptr_t *)(thread->top - AROUND);
	const uintptr_t *end = (const uintptr_t *)(thread->top + AROUND);
	if ((uintptr_t)at < hit->mapping.low)
		return 0;
	for (; at + 2 <= end && (uintptr_t)(at + 2) <= hit->mapping.high; at++)
		if (at[0] && at[0] < thread->live && at[1] > thread->top - at[0] &&
		    at[1] - (thread->top - at[0]) < AT_END)
			return at[0];
	return 0;
}

/* Whether the word lies below what a held thread was interrupted in, on its stack: nobody will read it. */
static bool is_dead(const struct reclaim *r, const struct hp_hit *hit)
{
	for (size_t i = 0; hit->readable && i < r->threads->n; i++) {
		const struct hp_thread *thread = &r->threads->v[i];
		if (hit->address < thread->live && thread->live < hit->mapping.high && thread->live < thread->top &&
		    thread->top < hit->mapping.high) {
			uintptr_t low = stack_low(thread, hit);
			return low && hit->address >= low;
		}
	}
	return false;
}

/* Stacks are for the second search, when it is known where each begins. */
static bool is_not_now(const struct reclaim *r, const struct hp_hit *hit)
{
	return r->held ? is_dead(r, hit) : whose_stack(r, hit) != 0;
}

static void keep_for(const struct reclaim *r, struct candidate *candidate, const struct hp_hit *hit)
{
	struct row *why = &candidate->why;
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
	keep(candidate, hit->mangled ? "a pointer into it, as libc hides them, lies in memory"
	                             : "a word that points into it lies in memory");
}

static bool consider(const struct hp_hit *hit, void *arg)
{
	struct reclaim *r = arg;
	size_t owner = r->owner[hit->target];
	struct candidate *candidate = &r->v[owner];
	if (candidate->kept)
		return any_left(r);
	for (size_t i = 0; i < r->n_targets; i++)
		if (hit->address >= r->targets[i].low && hit->address < r->targets[i].high) {
			candidate->from |= r->owner[i] == owner ? 0 : UINT32_C(1) << r->owner[i];
			return true;
		}
	if (!is_not_now(r, hit) && !hp_loaded_is_linkers(candidate->loaded, hit))
		keep_for(r, candidate, hit);
	return any_left(r);
}

static void search_memory(struct reclaim *r, uint64_t deadline)
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
		keep_all(r, why);
	spread(r);
}

/* -- Words in the kernel ----------------------------------------------------------------------------------------- */

static void keep_what_lies_at(struct reclaim *r, uintptr_t value, const char *reason)
{
	for (size_t i = 0; i < r->n_targets; i++)
		if (value >= r->targets[i].low && value < r->targets[i].high) {
			r->v[r->owner[i]].why.target = value;
			keep(&r->v[r->owner[i]], reason);
		}
}

static void search_signals(struct reclaim *r)
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
static void search_text(struct reclaim *r, const char *path, const char *reason)
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

struct entry { /* struct linux_dirent64, getdents(2) */
	uint64_t inode;
	int64_t offset;
	uint16_t size;
	uint8_t type;
	char name[];
};

/* What epoll gives back with an event (proc(5), fdinfo). */
static void search_epolls(struct reclaim *r)
{
	char entries[4096] __attribute__((aligned(8))), path[64], target[32];
	int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long got;
	if (folder < 0) {
		keep_all(r, "/proc/self/fd cannot be read, so what epoll holds is not known");
		return;
	}
	while ((got = hp_syscall(SYS_getdents64, folder, (long)entries, sizeof(entries), 0, 0, 0)) > 0)
		for (long at = 0; at < got; at += ((const struct entry *)(entries + at))->size) {
			const char *name = ((const struct entry *)(entries + at))->name;
			ssize_t n = readlinkat(folder, name, target, sizeof(target) - 1);
			target[n > 0 ? n : 0] = 0;
			if (strcmp(target, "anon_inode:[eventpoll]") != 0)
				continue;
			snprintf(path, sizeof(path), "/proc/self/fdinfo/%.20s", name);
			search_text(r, path, "an epoll descriptor holds a pointer into it");
		}
	close(folder);
}

static void search_kernel(struct reclaim *r)
{
	search_signals(r);
	search_text(r, "/proc/self/timers", "a timer holds a pointer into it"); /* not in every kernel */
	search_epolls(r);
	spread(r);
}

static void search_registers(struct reclaim *r, const struct hp_saved_regs *saved)
{
	const uintptr_t values[] = {saved->rbx, saved->rbp, saved->r12, saved->r13, saved->r14, saved->r15};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		keep_what_lies_at(r, values[i], "a register of the calling thread points into it");
	spread(r);
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

static void keep_for_thread(struct reclaim *r)
{
	for (size_t i = 0; i < r->threads->n; i++) {
		const struct hp_thread *thread = &r->threads->v[i];
		if (thread->verdict == HP_VERDICT_OUT)
			continue;
		char reason[160];
		snprintf(reason, sizeof(reason), "the registers of thread %d are not known: it %s signal %d",
		         thread->tid,
		         thread->verdict == HP_VERDICT_UNKNOWN ? "blocks or waits for" : "has not answered to",
		         hp_ask_signal());
		for (size_t k = 0; k < r->n; k++)
			if (!r->v[k].kept)
				r->v[k].why.thread = thread->tid;
		keep_all(r, reason);
		return;
	}
}

/* Nothing is allocated from the first thread held to the last released: one of them may have been in malloc. */
static void search_held(struct reclaim *r, struct hp_threads *again, uint64_t deadline)
{
	uint64_t mask;
	hp_signals_block(&mask);
	hp_ask_begin(r->threads, NULL);
	if (!hp_ask_all(r->threads, NULL, &(struct hp_patience){.deadline = deadline, .everyone = true, .still = true}))
		keep_for_thread(r);
	r->held = true;
	if (any_left(r) && !(hp_threads_list(again) && hp_ask_covers(r->threads, again)))
		keep_all(r, "threads come and go too fast to be held");
	if (any_left(r))
		search_kernel(r);
	if (any_left(r))
		search_memory(r, deadline);
	hp_ask_end(r->threads);
	hp_signals_restore(&mask);
}

static int prove(struct reclaim *r, const struct hp_request *request, struct hp_err *err)
{
	struct hp_threads *again = NULL;
	int error = hp_threads_open(&r->threads, err);
	if (error)
		return error;
	if (!hp_threads_list(r->threads))
		keep_all(r, "threads come and go too fast to be listed");
	size_t others = r->threads->n;
	search_kernel(r);
	search_memory(r, request->deadline);
	if (others > 0 && any_left(r)) {
		error = hp_ask_prepare(err);
		if (!error)
			error = hp_threads_open(&again, err);
		if (!error && hp_threads_list(r->threads))
			search_held(r, again, hp_now() + request->stall);
		else
			keep_all(r, "threads come and go too fast to be listed");
	}
	close_threads(&again);
	close_threads(&r->threads);
	return error;
}

/* -- Unloading --------------------------------------------------------------------------------------------------- */

/* Until nobody reads the list of images that they stood in. */
static bool wait_for_readers(uint64_t deadline)
{
	while (!hp_readers_none()) {
		struct timespec pause = {0, MS / 10};
		if (hp_now() >= deadline)
			return false;
		hp_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
	}
	return true;
}

/* Under the registry: whoever has come to hold one since keeps it. */
static int hide(struct reclaim *r, struct hp_err *err)
{
	size_t n = 0;
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept && atomic_load(&r->v[i].loaded->holds) > 0)
			keep(&r->v[i], "a definition in it has come into use again");
	spread(r);
	for (size_t i = 0; i < r->n_targets; i++)
		if (!r->v[r->owner[i]].kept)
			r->targets[n++] = r->targets[i];
	r->n_targets = n;
	hp_mapped_hide(r->targets, n);
	struct hp_mapped_list *old;
	int error = hp_mapped_refresh(&old, err);
	if (!error)
		hp_readers_retire(old ? &old->retired : NULL, hp_mapped_free);
	else
		hp_mapped_hide(NULL, 0);
	return error;
}

static void unload(struct candidate *candidate)
{
	hp_loaded_close(candidate->loaded);
	if (hp_loaded_is_mapped(candidate->loaded))
		keep(candidate,
		     "the dynamic linker keeps it mapped: it is marked so (NODELETE, unique symbols), or somebody "
		     "else has opened it");
}

/* The destructors of the libraries run here, with the turn but no lock. */
static int unload_all(struct reclaim *r, uint64_t deadline, struct hp_err *err)
{
	int error = hp_registry_enter(err);
	if (error)
		return error;
	error = hide(r, err);
	hp_registry_leave();
	if (error)
		return error;
	if (!wait_for_readers(deadline))
		keep_all(r, "a thread is still reading the list of images");
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept)
			unload(&r->v[i]);
	hp_registry_lock();
	hp_mapped_hide(NULL, 0);
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept) {
			hp_loaded_unlist(r->v[i].loaded);
			hp_loaded_free(r->v[i].loaded);
		}
	hp_registry_leave();
	return 0;
}

static int reclaim(struct reclaim *r, const struct hp_saved_regs *saved, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	int error = hp_registry_enter(err);
	if (error)
		return error;
	collect(r);
	skip_ours(r, session);
	hp_registry_leave();
	search_registers(r, saved);
	if (!any_left(r))
		return 0;
	error = hp_memory_open(&r->memory, err);
	if (!error)
		error = prove(r, &session->request, err);
	hp_memory_close(r->memory);
	if (!error && any_left(r))
		error = unload_all(r, session->request.deadline, err);
	return error;
}

/* What the caller had in registers is in `saved`, or where the public function pushed it, just below its frame. */
static int reclaim_libraries(struct hp_session *session, const struct hp_saved_regs *saved, struct kept *kept)
{
	struct reclaim *r = calloc(1, sizeof(*r));
	if (!r)
		return hp_err_set(&session->err, HOTPATCH_ENOMEM, "no memory to look for libraries to unload");
	r->frame = session->request.frame - 6 * sizeof(uintptr_t);
	int error = reclaim(r, saved, session);
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].kept)
			kept_add(kept, &r->v[i].why);
	hp_memory_forget(r, sizeof(*r));
	return error;
}

/* -- Definitions that were replaced while in use ------------------------------------------------------------------ */

struct left {
	struct hp_session *session;
	struct kept *kept;
};

static void keep_definition(struct kept *kept, const struct hp_site *site, const struct hp_definition *definition)
{
	struct row row = {.target = definition->body};
	if (!definition->destroy && !definition->library)
		return;
	snprintf(row.what, sizeof(row.what), "%s", definition->library ? definition->library->path : site->name);
	snprintf(row.reason, sizeof(row.reason), "a thread is in a definition of '%s' that was replaced, or may be",
	         site->name);
	kept_add(kept, &row);
}

static int free_left(struct hp_site *site, void *arg)
{
	struct left *left = arg;
	for (struct hp_definition **at = &site->lingering; *at;) {
		struct hp_definition *definition = *at;
		if (!hp_definition_is_left(definition)) {
			keep_definition(left->kept, site, definition);
			at = &definition->next;
			continue;
		}
		*at = definition->next;
		definition->next = NULL;
		if (definition->refs == 0)
			hp_session_discard(left->session, definition);
	}
	return 0;
}

static int reclaim_definitions(struct hp_session *session, struct kept *kept)
{
	int error = hp_registry_enter(&session->err);
	if (error)
		return error;
	hp_registry_leave();
	hp_sites_each(free_left, &(struct left){session, kept});
	return 0;
}

/* -- The public interface ---------------------------------------------------------------------------------------- */

/* No lock is held: the callback may call anything. */
static int tell_kept(const struct kept *kept, int (*callback)(const struct hotpatch_kept *kept, void *arg), void *arg)
{
	for (size_t i = 0; i < kept->n && callback; i++) {
		const struct row *row = &kept->v[i];
		struct hp_place target = {.offset = 0};
		if (row->target)
			hp_place_of(row->target, true, &target);
		struct hotpatch_kept told = {
			.what = row->what,
			.reason = row->reason,
			.place = row->place,
			.address = row->address,
			.target = row->target,
			.function = target.function,
			.offset = target.offset,
			.thread = row->thread,
		};
		if (callback(&told, arg))
			break;
	}
	return (int)(kept->n + kept->lost);
}

/* Two sessions: what the first one frees is freed at its end, and libraries are let go of then. */
__attribute__((noinline)) int hotpatch_reclaim_with(int (*callback)(const struct hotpatch_kept *kept, void *arg),
                                                    void *arg, const struct hotpatch_options *options)
{
	struct hp_saved_regs saved;
	struct hp_session session;
	struct kept kept = {.n = 0};
	hp_arch_regs_save(&saved);
	hp_report_forget();
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = reclaim_definitions(&session, &kept);
	error = hp_session_end(&session, error);
	if (!error) {
		error = hp_session_begin(&session, options, __builtin_frame_address(0));
		if (!error)
			error = reclaim_libraries(&session, &saved, &kept);
		error = hp_session_end(&session, error);
	}
	int n = error ? error : tell_kept(&kept, callback, arg);
	hp_memory_forget(kept.v, kept.n * sizeof(*kept.v));
	return n;
}

int hotpatch_reclaim(void)
{
	return hotpatch_reclaim_with(NULL, NULL, NULL);
}
