/* crash - threads that a fault of their own would end, and the process with them, kept until somebody has decided.
 *
 *     fault --> handler --- no frame of it is in code of interest ---------------------------.
 *                  |                                                                         v
 *                  v                                                        the signal again, with its default action:
 *                 KEPT: waits in the handler, the program's registers      the process ends as if nobody had been here
 *                  |    as they were, and never runs again                                   ^
 *                  '------------------------------- let go ----------------------------------'
 *
 * The handler is there while somebody wants it, and only for signals whose disposition is the default. What it passes
 * on ends the process with the siginfo it came with, at the instruction it came from: a core says what it would have
 * said.
 *
 * A kept thread has what it had: stack, registers, locks. It counts as in the code it crashed in for whoever wants to
 * free that; a transition leaves it out, since it will not run that code again.
 *
 * An overflow of the stack is caught on an alternate signal stack that has room, and else ends the process.
 *
 * While it waits it blocks the signals that the program handles: its handlers would run on top of what is broken. And
 * those that it had blocked, which others may wait for. The rest take their default actions, so that the process can be
 * stopped and ended.
 */
#ifndef HP_LIVE_CRASH_H
#define HP_LIVE_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include "live/stacks.h"

enum { HP_CRASHES_MAX = 16 }; /* in the life of a process; those that come later are not kept */

struct hp_crash {
	_Atomic uint32_t state; /* of crash.c; a futex */
	int tid, signo, code;   /* siginfo_t's, like the next */
	uintptr_t address;
	struct hp_walk walk; /* owner: of the innermost frame that is in code of interest */
};

/* From now on threads that crash in code of interest are kept, and `told` is called by each: async-signal-safe. Not the
 * calling thread, nor one that is in a session. Returns a bit for each signal number that is caught, 1 << number; 0
 * also where that is so already. */
uint64_t hp_crash_catch(void (*told)(void));

/* What is of interest: takes the codes, which are sorted. */
int hp_crash_look_for(struct hp_codes *codes, struct hp_err *err) HP_MUST_CHECK;

/* Dispositions are what they were, unless the program has changed them. Threads that are kept stay so. */
void hp_crash_release(void);

/* Those that are kept, in the order they came: index 0, 1, ... NULL: no more. */
const struct hp_crash *hp_crash_at(unsigned index);
bool hp_crash_is_kept(int tid);

/* One that nobody has looked at within a minute ends the process. */
void hp_crash_note_seen(unsigned index);

/* The process ends, by the signal of the first that is kept; the call may return before. */
void hp_crash_let_go(void);

/* In a child of fork: it has none of them, and nobody to tell. */
void hp_crash_reset(void);

#endif
