/* threads - the threads of this process, each asked whether it is active in certain code.
 *
 *                   blocked in the kernel: stack read from outside, thread not touched
 *     look(thread)  running: nothing can be said; look again, or ask it (ask.h)
 *                   gone: out
 *
 * A thread blocked in a system call is read through /proc/self/task/TID/syscall, which gives its instruction and stack
 * pointers while it does not run (kernel, lib/syscall.c: task_current_syscall). Its CPU clock is the same before and
 * after only if it did not run in between, so that what was read belongs together.
 *
 * Nothing here allocates after hp_threads_open: it is used while callers are held.
 */
#ifndef HP_LIVE_THREADS_H
#define HP_LIVE_THREADS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/readers.h"
#include "live/stacks.h"

/* What is known of one thread. */
enum hp_verdict {
	HP_VERDICT_NONE,    /* not known yet: it runs */
	HP_VERDICT_OUT,     /* proven not to be active; stays so while the gate is closed */
	HP_VERDICT_IN,      /* active */
	HP_VERDICT_UNKNOWN, /* could not be proven: counts as active */
	HP_VERDICT_AGAIN,   /* just passing the gate: will be elsewhere in a moment */
};

/* The dialogue with a thread that was asked by signal: who may write each edge is ask.c's to tell. */
enum hp_ask_state {
	HP_ASK_IDLE,
	HP_ASK_SENT,
	HP_ASK_OUT,
	HP_ASK_STILL,
	HP_ASK_HELD,
	HP_ASK_RELEASED,
	HP_ASK_CANCELLED
};

struct hp_thread {
	int tid;
	enum hp_verdict verdict;
	const char *reason;   /* for a blocker: what stands in the way */
	bool blocked;         /* in the kernel when the verdict was found */
	bool polls;           /* out because it is in hotpatch_poll: what it runs has not been left */
	uint64_t clock;       /* CPU time then, ns: the same later means the same verdict */
	uintptr_t top;        /* of its native stack */
	uintptr_t live;       /* where what it will go on with begins on its stack: while it is STILL, or asleep */
	unsigned moved;       /* times it ran while all were to be still (suspended.h) */
	bool rouse;           /* so it is asked by signal even asleep */
	uint64_t inode;       /* of its folder in /proc */
	unsigned looks;       /* times found running since last asked or read */
	struct hp_walk walk;  /* if IN or UNKNOWN */
	_Atomic uint32_t ask; /* enum hp_ask_state; a futex */
	_Atomic uint32_t volunteered; /* number of the question it has looked at unasked */
	uint64_t asked;               /* when it was last asked, ns */
	uint64_t asked_clock;         /* its CPU time then: the same later means that it was asked in this sleep */
	unsigned asks;                /* how often */
	bool in_person;               /* it has told what it is in, with all its registers */
	bool stays;                   /* OUT by that answer, and in the handler until it is released */
	int unsent;                   /* why the kernel did not take the last signal to it: errno, or 0 */
	struct hp_glimpse {           /* of it with the signal not blocked, as /proc has it; see hp_thread_mask */
		uint64_t sleeps, before, after; /* times it fell asleep; its CPU time before and after looking, ns */
	} glimpse;
	unsigned glimpses, steady;   /* how many while it ran; how many of the last it did not sleep between */
	struct hp_told {             /* by the thread itself, before its answer; read after it */
		uintptr_t top, live; /* as above */
		bool polls;
		struct hp_regs regs; /* where a walk begins */
	} told;
};

struct hp_threads {
	struct hp_retired retired;
	struct hp_thread *v;
	size_t n, capacity;
	bool leaves_crashed; /* out of the list: those that never run again (crash.h) */
	int pid;
	int task;      /* /proc/self/task */
	char *entries; /* buffer for its directory entries */
	size_t entries_size;
	struct hp_batch *batch; /* of stacks that are read together */
};

/* Makes room for the threads there are and as many again. */
int hp_threads_open(struct hp_threads **ret_threads, struct hp_err *err) HP_MUST_CHECK;
void hp_threads_close(void *threads);
/* What a handler does not look at, so that it need not wait for one. */
void hp_threads_close_files(struct hp_threads *threads);

/* Lists every thread but the calling one that existed when the call began; later ones may be in the list. False when
 * there was no room or no agreement: threads come and go too fast. */
bool hp_threads_list(struct hp_threads *threads);

/* Finds the verdict on a thread if it is blocked or gone; leaves it at NONE when it runs. Threads are looked at some at
 * a time: the verdicts hold after hp_threads_look_end. */
void hp_threads_look(struct hp_threads *threads, struct hp_thread *thread, const struct hp_codes *codes);
void hp_threads_look_end(struct hp_threads *threads, const struct hp_codes *codes);

/* Whether it has ended, perhaps as the first thread, which stays listed. */
bool hp_thread_is_gone(const struct hp_threads *threads, int tid);

/* Whether a blocked thread has run since its verdict was found. */
bool hp_thread_has_run(const struct hp_thread *thread);

/* Whether the thread was found out and has slept since, so that it still is. `hint`, 0 at first, follows a second list
 * through the first, since both are in one order. */
bool hp_threads_slept_out(const struct hp_threads *threads, int tid, size_t *hint);

/* Whether of any thread that is not out it is known what it is in. */
bool hp_threads_any_told(const struct hp_threads *threads);

/* Whether a thread was taken for out in hotpatch_poll: then nothing may be freed. */
bool hp_threads_any_polls(const struct hp_threads *threads);

/* Turns the answer of a walk into a verdict. */
void hp_thread_conclude(struct hp_thread *thread, enum hp_answer answer);

/* Whether the address lies in the list's copies of stacks. */
bool hp_threads_batch_holds(const struct hp_threads *threads, uintptr_t address);

/* CPU time of a thread in ns, 0 when it is gone; another each time where the system does not tell. */
uint64_t hp_thread_clock(int tid);

/* Reads a file of the thread's folder in /proc: bytes, behind which a zero is put, or -errno. And a number behind "0x".
 */
long hp_thread_file(const struct hp_threads *threads, int tid, const char *name, char *buffer, size_t size);
uintptr_t hp_parse_hex(const char *text);

/* In a child of fork: forgets what is known of the parent's threads. */
void hp_threads_reset(void);

int hp_thread_self(void);

uint64_t hp_now(void); /* CLOCK_MONOTONIC, ns */

#endif
