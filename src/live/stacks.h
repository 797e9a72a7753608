/* stacks - whether a stack holds a frame of certain code.
 *
 * Two ways, from cheap to exact:
 *
 *   scan   every word from the stack pointer up is compared with the code. That none lies in it is a proof that no
 *          frame does; that one does proves nothing, since return addresses stay behind in dead slots.
 *   walk   from frame to frame by .eh_frame, which needs the thread held, or at least all registers that matter.
 *
 *     higher addresses
 *     +-----------------+ top: thread descriptor, or the program's arguments        a signal frame:
 *     | main, thread    |                                                           | mark, context: ip, sp ... |
 *     | frames ...      |   <---- sp' in the signal frame --------------+           found by a word that all have
 *     +-----------------+ sp      (interrupted there)                   |           (arch.h)
 *                                                  alternate stack: frames, signal frame
 *
 * A scan that starts on an alternate stack follows signal frames until it has covered the stack that ends at `top`. If
 * it does not get there, some stack is not known, and the answer is HP_UNKNOWN.
 *
 * Where a call leaves its return address in a register, that of the innermost frame may not be on the stack yet: then
 * a scan is no proof without the registers.
 *
 * All of it is async-signal-safe, reads other threads' memory without faulting, and needs about 3 KiB of stack.
 */
#ifndef HP_LIVE_STACKS_H
#define HP_LIVE_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cfi.h"
#include "base/err.h"
#include "base/report.h"

/* A stretch of code that somebody wants to know nobody is in. */
struct hp_code {
	uintptr_t ip_low, ip_high;     /* instruction pointers inside: [ip_low, ip_high) */
	uintptr_t word_low, word_high; /* words that may be return addresses into it: (word_low, word_high), so that
	                                * these two, left behind somewhere by a search, look like none */
	uint32_t owner;                /* whose code: for the caller */
};

struct hp_codes {
	struct hp_code *v; /* sorted by word_low after hp_codes_sort */
	size_t n, capacity;
	uintptr_t low, high; /* all words of interest lie in (low, high) */
	bool searched;       /* all memory is as well (suspended.h): what is not this stack's is not unknown */
};

#define HP_OWNER_GATE UINT32_MAX
#define HP_OWNER_NONE (UINT32_MAX - 1) /* of a walk that met no code of interest */

/* The code [low, high) of a function, which stays mapped. entry_is_out: a thread exactly at low has not entered yet,
 * since the entry is redirected. HOTPATCH_ENOMEM. */
int hp_codes_add_function(struct hp_codes *codes, uintptr_t low, uintptr_t high, bool entry_is_out, uint32_t owner,
                          struct hp_err *err) HP_MUST_CHECK;
/* The bytes [low, high) of instructions that make no calls: only instruction pointers can be there. */
int hp_codes_add_bytes(struct hp_codes *codes, uintptr_t low, uintptr_t high, uint32_t owner,
                       struct hp_err *err) HP_MUST_CHECK;
void hp_codes_sort(struct hp_codes *codes);
void hp_codes_free(struct hp_codes *codes);

enum hp_answer {
	HP_OUT,     /* proven: no frame lies in the code */
	HP_IN,      /* a frame does */
	HP_MAYBE,   /* a word says so, which proves nothing */
	HP_UNKNOWN, /* a stack could not be followed */
};

/* The native stack of a thread ends at or below this address; 0 where that cannot be found out. pid: of the process,
 * whose first thread has the same number. */
uintptr_t hp_stack_top(int tid, int pid);

/* Words of a stack that have been read: n of them, from the stack pointer up. */
struct hp_stack_words {
	const uintptr_t *v;
	size_t n;
};

/* HP_OUT, HP_MAYBE or HP_UNKNOWN. `read` (n may be 0) is not read again. The registers are not looked at. */
enum hp_answer hp_stack_scan(const struct hp_codes *codes, uintptr_t ip, uintptr_t sp, uintptr_t top,
                             const struct hp_stack_words *read);

/* Of a thread of which no more is known than these two: HP_UNKNOWN too if its innermost return address may be in a
 * register. */
enum hp_answer hp_stack_scan_from_outside(const struct hp_codes *codes, uintptr_t ip, uintptr_t sp, uintptr_t top,
                                          const struct hp_stack_words *read);

/* Of a thread whose registers are all known. */
enum hp_answer hp_stack_scan_interrupted(const struct hp_codes *codes, const struct hp_regs *regs, uintptr_t top);

/* The same from a frame of the calling thread up, with one system call for most stacks, and 4 KiB of its own. */
enum hp_answer hp_stack_scan_own(const struct hp_codes *codes, uintptr_t frame, uintptr_t top);

struct hp_walk {
	uint32_t owner;                  /* of the innermost frame that is inside, if HP_IN */
	bool guessed;                    /* if HP_UNKNOWN: owner and the last frame are a word found on the stack */
	size_t n_frames;                 /* recorded, innermost first */
	uintptr_t frames[HP_FRAMES_MAX]; /* instruction pointer and return addresses */
};

/* HP_OUT, HP_IN or HP_UNKNOWN: also when the outermost frame does not lie below `top`, since then the walk was on a
 * stack that somebody switched to. walk may be NULL where only the answer matters: then it ends at the first frame
 * inside. */
enum hp_answer hp_stack_walk(const struct hp_codes *codes, const struct hp_regs *regs, uintptr_t top,
                             struct hp_walk *walk);

/* The address of the instructions a signal handler returns to, by which signal frames are found. */
void hp_stack_set_restorer(uintptr_t address);

/* The piece of old code that a return address may lead into, the gate's own apart; NULL: none. */
const struct hp_code *hp_stack_code_of(const struct hp_codes *codes, uintptr_t word);

/* Whether a word in an announced stack says that somebody is in old code; the first that does. Stacks are
 * looked at whole, since their switched-out owner's stack pointer is not known; where it is, `live` says where the
 * words begin that will be read again. The gate's own code does not count: who is in the gate is a thread, and is
 * asked. */
bool hp_stack_scan_announced(const struct hp_codes *codes, uintptr_t (*live)(uintptr_t base, size_t size, void *arg),
                             void *arg, uintptr_t *ret_address);

#endif
