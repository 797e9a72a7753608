/* suspended - frames of old code that are on no thread's stack: those of coroutines that were switched away from.
 *
 * A thread that has said no may switch to such a stack the moment after, and then its frames are where nobody looks: in
 * its registers, in a leaf that has not pushed anything. So there has to be one instant for which all of this holds:
 *
 *     a running thread    says no                 and stays in the handler -------------------------------->
 *     a sleeping one      read, with its clock, and says no ------------------------ its clock is the same
 *     no other thread     has begun meanwhile               listed again
 *     no suspended frame  is in memory                                     |look|
 *                                                                            ^ the instant
 *
 * Nothing runs at that instant, and no frame of old code is on a stack of a thread or on any other; no call leads into
 * old code any more (the gate is closed, or the change is live); and a frame comes about by a call alone. So there will
 * be none. All are asked first without being held, so that nobody waits for who is in the way. A sleeper that has run
 * meanwhile is asked again, and by signal when it does so twice.
 *
 * Looked at are the stacks that were announced, if there are any, or all writable memory (options.scan_memory). Below
 * the stack pointer of a thread that does not run, words are left behind and do not count (stale.h), nor do our own
 * records of definitions. What counts and is none stands in the way all the same: the question is not decided. Code of
 * the gate is not looked for: who is in it is a thread, unless a signal handler has switched stacks there.
 */
#ifndef HP_LIVE_SUSPENDED_H
#define HP_LIVE_SUSPENDED_H

#include "live/stale.h"

struct hp_suspended {
	bool everywhere; /* all memory, else announced stacks */
	uintptr_t frame; /* of the function that the program called: below it the stack is ours */
	bool (*is_ours)(const struct hp_hit *hit, void *arg); /* records that are not counted; NULL: none */
	void *arg;

	struct hp_threads *again;
	struct hp_memory *memory;
	struct hp_span own;
	const struct hp_threads *threads; /* while it looks */
	const struct hp_codes *codes;
	uint64_t deadline;

	uintptr_t address, value; /* of the word in the way; 0: none was found, but nobody knows */
	char reason[160];
};

enum hp_look {
	HP_LOOK_CLEAR, /* the proof */
	HP_LOOK_MOVED, /* threads did not keep still: the verdicts say which */
	HP_LOOK_FOUND, /* somebody may be in old code: address, value, reason */
};

/* Whether there can be suspended frames that are to be looked for: else threads need not be still. */
bool hp_suspended_matter(const struct hp_suspended *suspended);

/* Allocates, so before callers are held; the first fields are the caller's. HOTPATCH_ENOMEM, ESYSTEM. */
int hp_suspended_open(struct hp_suspended *suspended, struct hp_err *err) HP_MUST_CHECK;
void hp_suspended_close(struct hp_suspended *suspended);

/* After hp_ask_all has returned true: has the threads of the list be still, at most `stall` ns and until the deadline,
 * and looks. They are until hp_ask_again or hp_ask_end; nothing is allocated, and no signals are to be taken meanwhile.
 */
enum hp_look hp_suspended_look(struct hp_suspended *suspended, struct hp_threads *threads, const struct hp_codes *codes,
                               uint64_t stall, uint64_t deadline);

#endif
