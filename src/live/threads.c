#include "live/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "live/crash.h"
#include "live/gate.h"
#include "code/emulated.h"
#include "code/text.h"

int hp_thread_self(void)
{
	return (int)hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

uint64_t hp_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* -- Stacks of blocked threads that are read by one system call --------------------------------------------------- */

enum { BATCH = 32, PIECE = 4096, WORDS = 8192 };

_Static_assert((int)BATCH <= (int)HP_PIECES_MAX, "a batch is read by one call");

struct hp_batch {
	size_t n, n_words;
	struct {
		struct hp_thread *thread;
		uintptr_t ip, sp;
		size_t size; /* bytes from sp up, at most PIECE, that are read at first: for most threads the whole */
	} v[BATCH];
	uintptr_t words[WORDS]; /* of all, one behind the other */
};

/* -- Where stacks end, once known -------------------------------------------------------------------------------- */

/* Of the threads in the last list, in its order. A thread is told by its number and the inode of its folder: the kernel
 * makes another inode for another thread (fs/proc/base.c: proc_task_instantiate). Protected by the turn (session.h). */
static struct {
	struct known {
		uint64_t inode;
		int tid;
		uintptr_t top;
	} * v;
	size_t n, capacity;
} known;

static bool known_reserve(size_t n)
{
	struct known *grown = n > known.capacity ? realloc(known.v, n * sizeof(*grown)) : known.v;
	if (!grown)
		return false;
	known.v = grown;
	known.capacity = n > known.capacity ? n : known.capacity;
	return true;
}

/* Lists are in one order, but for threads that came and went: *hint follows. */
static uintptr_t known_top(int tid, uint64_t inode, size_t *hint)
{
	for (size_t i = *hint; i < known.n && inode > 1; i++) /* 1: the kernel had no memory for an inode */
		if (known.v[i].tid == tid && known.v[i].inode == inode) {
			*hint = i + 1;
			return known.v[i].top;
		}
	return 0;
}

static void known_keep(const struct hp_threads *threads)
{
	known.n = threads->n < known.capacity ? threads->n : known.capacity;
	for (size_t i = 0; i < known.n; i++) {
		const struct hp_thread *thread = &threads->v[i];
		known.v[i] = (struct known){thread->inode, thread->tid, thread->top};
	}
}

/* -- The list ---------------------------------------------------------------------------------------------------- */

static size_t thread_count(int task)
{
	struct stat status; /* a folder has two links and one for each folder in it (kernel, fs/proc/base.c) */
	return fstat(task, &status) == 0 && status.st_nlink > 2 ? status.st_nlink - 2 : 1;
}

static void threads_free(struct hp_threads *threads)
{
	if (!threads)
		return;
	free(threads->v);
	free(threads->entries);
	free(threads->batch);
	free(threads);
}

static struct hp_threads *threads_new(size_t capacity)
{
	struct hp_threads *threads = calloc(1, sizeof(*threads));
	if (!threads)
		return NULL;
	threads->capacity = capacity;
	threads->entries_size = 64 * (capacity + 2); /* an entry with a ten-digit name takes 32 bytes */
	threads->v = malloc(capacity * sizeof(*threads->v));
	threads->entries = malloc(threads->entries_size);
	threads->batch = malloc(sizeof(*threads->batch));
	if (threads->v && threads->entries && threads->batch)
		return threads;
	threads_free(threads);
	return NULL;
}

/* One is kept for the next time, if it is not large: giving its memory back would cost every processor a flush of its
 * translations, and the program its heap's quiet. */
static _Atomic(struct hp_threads *) spare;
enum { SPARE_MAX = 256 }; /* threads */

static struct hp_threads *spare_take(size_t capacity)
{
	struct hp_threads *threads = atomic_exchange(&spare, NULL);
	if (threads && threads->capacity >= capacity)
		return threads;
	threads_free(threads);
	return NULL;
}

static void spare_give(struct hp_threads *threads)
{
	threads_free(threads->capacity <= SPARE_MAX ? atomic_exchange(&spare, threads) : threads);
}

int hp_threads_open(struct hp_threads **ret_threads, struct hp_err *err)
{
	int task = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (task < 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno,
		                     "the threads of the process cannot be listed in /proc/self/task");
	size_t capacity = 2 * thread_count(task) + 64;
	struct hp_threads *threads = spare_take(capacity);
	if (!threads)
		threads = threads_new(capacity);
	if (!threads || !known_reserve(threads->capacity)) {
		threads_free(threads);
		close(task);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to ask %zu threads", capacity);
	}
	threads->task = task;
	threads->n = threads->batch->n = threads->batch->n_words = 0;
	threads->leaves_crashed = false;
	*ret_threads = threads;
	return 0;
}

void hp_threads_close_files(struct hp_threads *threads)
{
	if (threads->task >= 0)
		close(threads->task);
	threads->task = -1;
}

void hp_threads_close(void *memory)
{
	struct hp_threads *threads = memory;
	hp_threads_close_files(threads);
	memset(threads->v, 0, threads->n * sizeof(*threads->v)); /* addresses: base/memory.h */
	if (threads->n)
		memset(threads->batch, 0, sizeof(*threads->batch));
	spare_give(threads);
}

bool hp_threads_batch_holds(const struct hp_threads *threads, uintptr_t address)
{
	return address >= (uintptr_t)threads->batch && address < (uintptr_t)(threads->batch + 1);
}

struct entry { /* struct linux_dirent64, getdents(2) */
	uint64_t inode;
	int64_t offset; /* cppcheck-suppress unusedStructMember; the kernel's */
	uint16_t size;
	uint8_t type; /* cppcheck-suppress unusedStructMember; the kernel's */
	char name[];
};

static int parse_tid(const char *text)
{
	int tid = 0;
	for (; *text >= '0' && *text <= '9'; text++)
		tid = 10 * tid + (*text - '0');
	return *text ? 0 : tid;
}

static bool add(struct hp_threads *threads, int tid, uint64_t inode, size_t *hint)
{
	if (threads->n == threads->capacity)
		return false;
	struct hp_thread *thread = &threads->v[threads->n++];
	thread->tid = tid;
	thread->verdict = HP_VERDICT_NONE;
	thread->reason = "";
	thread->blocked = false;
	thread->clock = 0;
	thread->inode = inode;
	thread->top = known_top(tid, inode, hint);
	if (!thread->top)
		thread->top = hp_stack_top(tid, threads->pid);
	thread->live = 0;
	thread->moved = 0;
	thread->rouse = false;
	thread->polls = false;
	thread->told.polls = false;
	thread->looks = 0;
	thread->walk.n_frames = 0;
	thread->walk.guessed = false;
	thread->walk.owner = HP_OWNER_GATE; /* nobody's whose name is told, until a walk finds one */
	thread->asked = thread->asked_clock = 0;
	thread->asks = 0;
	thread->in_person = thread->stays = false;
	thread->unsent = 0;
	thread->glimpses = thread->steady = 0;
	atomic_store(&thread->ask, HP_ASK_IDLE);
	atomic_store(&thread->volunteered, 0);
	return true;
}

/* An emulator may have threads of its own, which do not run the program and answer nobody. When libc knows of one
 * thread only, all others are such. Written while there is one thread. */
enum { EMULATORS_MAX = 8 };
static int emulators[EMULATORS_MAX];
static size_t n_emulators;

static bool is_emulators(int tid)
{
	for (size_t i = 0; i < n_emulators; i++)
		if (emulators[i] == tid)
			return true;
	return false;
}

static void note_emulators(void)
{
	struct hp_threads *threads;
	struct hp_err ignored;
	n_emulators = 0;
	if (!hp_emulated() || hp_threads_open(&threads, &ignored) != 0)
		return;
	bool listed = hp_threads_list(threads);
	for (size_t i = 0; i < threads->n && listed && n_emulators < EMULATORS_MAX; i++)
		emulators[n_emulators++] = threads->v[i].tid;
	hp_threads_close(threads);
}

extern char __libc_single_threaded __attribute__((weak)); /* glibc 2.32 */

__attribute__((constructor)) static void begin(void)
{
	if (&__libc_single_threaded && __libc_single_threaded)
		note_emulators();
}

/* One pass: the number of threads seen, the calling one included, or 0 when there was no room. */
static size_t list_once(struct hp_threads *threads)
{
	int self = hp_thread_self();
	size_t seen = 0, hint = 0;
	threads->n = 0;
	threads->pid = (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
	lseek(threads->task, 0, SEEK_SET);
	for (;;) {
		long got = hp_syscall(SYS_getdents64, threads->task, (long)threads->entries,
		                      (long)threads->entries_size, 0, 0, 0);
		if (got <= 0)
			return got < 0 ? 0 : seen;
		for (long at = 0; at < got;) {
			const struct entry *entry = (const struct entry *)(threads->entries + at);
			int tid = parse_tid(entry->name);
			if (tid > 0)
				seen++;
			bool counts = tid > 0 && tid != self && !is_emulators(tid) &&
			              !(threads->leaves_crashed && hp_crash_is_kept(tid));
			if (counts && !add(threads, tid, entry->inode, &hint))
				return 0;
			at += entry->size;
		}
		if ((size_t)got + 64 <= threads->entries_size)
			return seen; /* there was room for another */
	}
}

/* The kernel lists threads in order of creation, but ends early when the one it stands at exits. So a pass is complete
 * if it saw at least as many as there were when it began: newer threads come last, and a short list lacks the last. */
bool hp_threads_list(struct hp_threads *threads)
{
	for (int attempt = 0; attempt < 100; attempt++) {
		size_t before = thread_count(threads->task), seen = list_once(threads);
		if (seen == 0)
			return false;
		if (seen >= before) {
			known_keep(threads);
			return true;
		}
	}
	return false;
}

/* In a child of fork: another thread may have been changing it. What it held is lost. */
void hp_threads_reset(void)
{
	known.v = NULL;
	known.n = known.capacity = 0;
	note_emulators();
}

/* -- Looking at one ---------------------------------------------------------------------------------------------- */

/* clock_getcpuclockid(3) of a thread by id: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED (kernel, posix-timers_types.h). */
static _Atomic uint64_t unknown_clock;

uint64_t hp_thread_clock(int tid)
{
	clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6);
	struct timespec time;
	long result = hp_syscall(SYS_clock_gettime, clock, (long)&time, 0, 0, 0, 0);
	if (result != 0)
		return result == -EINVAL ? 0 : UINT64_MAX - atomic_fetch_add(&unknown_clock, 1);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

bool hp_thread_has_run(const struct hp_thread *thread)
{
	return hp_thread_clock(thread->tid) != thread->clock;
}

bool hp_threads_any_told(const struct hp_threads *threads)
{
	for (size_t i = 0; i < threads->n; i++) {
		const struct hp_thread *thread = &threads->v[i];
		if (thread->verdict != HP_VERDICT_OUT && thread->walk.n_frames > 0 &&
		    thread->walk.owner != HP_OWNER_NONE && !thread->walk.guessed)
			return true;
	}
	return false;
}

bool hp_threads_any_polls(const struct hp_threads *threads)
{
	for (size_t i = 0; i < threads->n; i++)
		if (threads->v[i].polls)
			return true;
	return false;
}

bool hp_threads_slept_out(const struct hp_threads *threads, int tid, size_t *hint)
{
	for (size_t i = 0; i < threads->n; i++) {
		const struct hp_thread *thread = &threads->v[(*hint + i) % threads->n];
		if (thread->tid != tid)
			continue;
		*hint = *hint + i + 1;
		return thread->verdict == HP_VERDICT_OUT && thread->blocked && !hp_thread_has_run(thread);
	}
	return false;
}

/* Writes "TID/name" into path, at most 32 bytes. */
static void task_path(char *path, int tid, const char *name)
{
	char digits[12];
	size_t n = 0;
	for (; tid > 0; tid /= 10)
		digits[n++] = (char)('0' + tid % 10);
	while (n > 0)
		*path++ = digits[--n];
	*path++ = '/';
	while ((*path++ = *name++))
		;
}

long hp_thread_file(const struct hp_threads *threads, int tid, const char *name, char *buffer, size_t size)
{
	char path[32];
	task_path(path, tid, name);
	long fd = hp_syscall(SYS_openat, threads->task, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return fd;
	long got = hp_syscall(SYS_read, fd, (long)buffer, (long)size - 1, 0, 0, 0);
	hp_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	buffer[got > 0 ? got : 0] = 0;
	return got;
}

uintptr_t hp_parse_hex(const char *text)
{
	uintptr_t value = 0;
	for (text += 2;; text++) { /* behind "0x" */
		if (*text >= '0' && *text <= '9')
			value = value << 4 | (uintptr_t)(*text - '0');
		else if (*text >= 'a' && *text <= 'f')
			value = value << 4 | (uintptr_t)(*text - 'a' + 10);
		else
			return value;
	}
}

enum state { STATE_GONE, STATE_RUNNING, STATE_BLOCKED, STATE_HIDDEN };

/* "running", or "NR A B C D E F SP IP", or "-1 SP IP" (proc(5)). */
static enum state read_state(const struct hp_threads *threads, int tid, uintptr_t *ret_ip, uintptr_t *ret_sp)
{
	char text[256];
	long got = hp_thread_file(threads, tid, "syscall", text, sizeof(text));
	if (got == -ENOENT || got == -ESRCH)
		return STATE_GONE;
	if (got <= 0)
		return STATE_HIDDEN;
	if (text[0] == 'r')
		return STATE_RUNNING;
	const char *ip = strrchr(text, ' '), *sp = ip;
	while (sp && sp > text && *--sp != ' ')
		;
	if (!ip || sp <= text)
		return STATE_HIDDEN;
	*ret_ip = hp_parse_hex(ip + 1);
	*ret_sp = hp_parse_hex(sp + 1);
	return *ret_ip || *ret_sp ? STATE_BLOCKED : STATE_GONE; /* a first thread that has exited has no registers */
}

bool hp_thread_is_gone(const struct hp_threads *threads, int tid)
{
	uintptr_t ip = 0, sp = 0;
	return read_state(threads, tid, &ip, &sp) == STATE_GONE;
}

void hp_thread_conclude(struct hp_thread *thread, enum hp_answer answer)
{
	switch (answer) {
	case HP_OUT:
		thread->verdict = HP_VERDICT_OUT;
		break;
	case HP_IN:
		thread->verdict = thread->walk.owner == HP_OWNER_GATE ? HP_VERDICT_AGAIN : HP_VERDICT_IN;
		thread->reason = hp_crash_is_kept(thread->tid) ? "has crashed in" : "is in";
		break;
	default:
		thread->verdict = HP_VERDICT_UNKNOWN;
		thread->reason = "may be in";
	}
}

static void look_blocked(struct hp_thread *thread, const struct hp_codes *codes, uintptr_t ip, uintptr_t sp,
                         const struct hp_stack_words *read)
{
	enum hp_answer answer = hp_stack_scan_from_outside(codes, ip, sp, thread->top, read);
	if (answer != HP_OUT) {
		struct hp_regs regs;
		struct hp_walk walk;
		hp_arch_regs_from_pair(ip, sp, &regs);
		answer = hp_stack_walk(codes, &regs, thread->top, &walk);
		/* What the thread has told of itself, with all its registers, says more than a walk that was lost. */
		if (answer != HP_UNKNOWN || thread->walk.n_frames == 0)
			thread->walk = walk;
	}
	hp_thread_conclude(thread, answer);
}

/* What was read of a thread that ran meanwhile may not belong together. */
static void look_again_if_it_ran(struct hp_thread *thread)
{
	thread->blocked = !hp_thread_has_run(thread);
	if (!thread->blocked) {
		thread->verdict = HP_VERDICT_NONE;
		thread->looks++;
	}
}

static size_t read_batch(struct hp_batch *batch)
{
	struct iovec pieces[BATCH];
	for (size_t i = 0; i < batch->n; i++)
		pieces[i] = (struct iovec){(void *)batch->v[i].sp, batch->v[i].size};
	return hp_memory_read_pieces(pieces, batch->n, batch->words);
}

/* A stack behind one that could not be read whole is read when it is scanned. */
void hp_threads_look_end(struct hp_threads *threads, const struct hp_codes *codes)
{
	struct hp_batch *batch = threads->batch;
	size_t left = batch->n ? read_batch(batch) : 0;
	const uintptr_t *words = batch->words;
	for (size_t i = 0; i < batch->n; i++) {
		struct hp_thread *thread = batch->v[i].thread;
		size_t size = batch->v[i].size, got = left < size ? left : size;
		look_blocked(thread, codes, batch->v[i].ip, batch->v[i].sp,
		             &(struct hp_stack_words){words, got / sizeof(uintptr_t)});
		look_again_if_it_ran(thread);
		words += size / sizeof(uintptr_t);
		left -= got;
	}
	batch->n = batch->n_words = 0;
}

static void add_to_batch(struct hp_threads *threads, struct hp_thread *thread, const struct hp_codes *codes,
                         uintptr_t ip, uintptr_t sp)
{
	struct hp_batch *batch = threads->batch;
	sp &= ~(sizeof(uintptr_t) - 1);
	size_t size = sp < thread->top && thread->top - sp < PIECE ? thread->top - sp : PIECE;
	if (batch->n == BATCH || batch->n_words + size / sizeof(uintptr_t) > WORDS)
		hp_threads_look_end(threads, codes);
	batch->v[batch->n].thread = thread;
	batch->v[batch->n].ip = ip;
	batch->v[batch->n].sp = sp;
	batch->v[batch->n++].size = size;
	batch->n_words += size / sizeof(uintptr_t);
}

/* A thread that waits at the gate is looked at as it looks at itself: it may have done so for an earlier transition,
 * and not have woken since. In hotpatch_poll it has no frame, and is out. */
static void look_at_gate(struct hp_thread *thread, const struct hp_codes *codes, uintptr_t sp)
{
	uintptr_t address = 0;
	struct hp_gate_frame frame;
	enum hp_answer answer = HP_UNKNOWN;
	thread->polls = hp_memory_read(sp, &address, sizeof(address)) && address == 0;
	if (thread->polls)
		answer = HP_OUT;
	else if (address != 0 && hp_memory_read(address, &frame, sizeof(frame)))
		answer = hp_gate_look(codes, &frame, address, thread->top, &thread->walk);
	hp_thread_conclude(thread, answer);
	look_again_if_it_ran(thread);
}

void hp_threads_look(struct hp_threads *threads, struct hp_thread *thread, const struct hp_codes *codes)
{
	uintptr_t ip = 0, sp = 0;
	thread->verdict = HP_VERDICT_NONE;
	thread->blocked = false;
	thread->clock = hp_thread_clock(thread->tid);
	switch (read_state(threads, thread->tid, &ip, &sp)) {
	case STATE_BLOCKED:
		if (hp_emulated()) { /* those are the emulator's */
			thread->looks++;
			break;
		}
		thread->live = sp;
		if (ip == (uintptr_t)hp_gate_waiting)
			look_at_gate(thread, codes, sp);
		else
			add_to_batch(threads, thread, codes, ip, sp);
		break;
	case STATE_GONE:
		thread->verdict = HP_VERDICT_OUT;
		break;
	default:
		thread->looks++;
	}
}
