/* ask - the one question that all threads are asked: are you active in this code?
 *
 * Most can be read while they are blocked (threads.h). A running one is interrupted for it:
 *
 *     asker                          thread, in the handler
 *     SENT      --signal-->          scans its own stack
 *                                    out:    OUT, returns
 *                                    out, and asked to stay: STILL, waits
 *                                    doubt:  writes its registers, HELD, waits
 *     walks its stack, RELEASED -->  returns
 *     deadline: CANCELLED            finds that and returns
 *
 * A thread that comes by a breakpoint of ours while a question is open says no unasked: IDLE -> OUT.
 *
 * Each edge is one compare-and-swap on hp_thread.ask, so exactly one side takes it: a thread that finds CANCELLED does
 * not look at anything of the asker's again, and an asker that finds HELD releases.
 *
 * The signal's disposition is the handler's only while threads may still have one pending. It is never sent to a thread
 * that blocks it: that one might wait for it in sigwait.
 */
#ifndef HP_LIVE_ASK_H
#define HP_LIVE_ASK_H

#include <ucontext.h>

#include "live/threads.h"

/* HOTPATCH_ESIGNAL when the program handles the signal. Nothing is installed yet. */
int hp_ask_prepare(struct hp_err *err) HP_MUST_CHECK;

/* From here to hp_ask_end the threads of the list may be asked about codes; without codes (NULL) whether they have come
 * to the handler, where they execute a serialising instruction. Neither allocates. */
void hp_ask_begin(struct hp_threads *threads, const struct hp_codes *codes);
void hp_ask_end(struct hp_threads *threads);

/* Who wants to know, where that may change: asked between looks, with callers held, and not to wait itself. */
struct hp_asker {
	bool (*is_there)(void *arg);
	void *arg;
};

static inline bool hp_asker_has_gone(const struct hp_asker *asker)
{
	return asker && !asker->is_there(asker->arg);
}

/* How long to ask, and when it is of no use to ask on. */
struct hp_patience {
	uint64_t deadline;            /* CLOCK_MONOTONIC, ns */
	const struct hp_asker *asker; /* or NULL: once it has gone, that is the deadline */
	bool one_look;                /* an answer from everybody is enough, whatever it is */
	bool gated;                   /* callers are held meanwhile: not for those that sleep in the code */
	bool everyone; /* those that sleep are asked by signal too: their system calls are executed again */
	bool still;    /* who was asked and is out stays in the handler until hp_ask_again or hp_ask_end */
};

/* Asks all threads of the list until everybody is out: then true, which is a proof for the moment at which each was
 * asked. The verdicts say what stands in the way. Between begin and end. */
bool hp_ask_all(struct hp_threads *threads, const struct hp_codes *codes, const struct hp_patience *patience);

/* Called by a thread in a signal handler of ours, with the context it will go on with: if it finds itself out of what
 * is asked about, and was not asked yet, it need not be. Async-signal-safe. */
void hp_ask_volunteer(const ucontext_t *context);

/* Whether every thread of the second list is in the first: nobody has come since. */
bool hp_ask_covers(const struct hp_threads *first, const struct hp_threads *second);

/* Called by who answers, asked or not: has the asker look again. Async-signal-safe. */
void hp_ask_note_answer(void);

/* Forgets what was found out: somebody has passed the gate since, so it may not be true any more. */
void hp_ask_again(struct hp_threads *threads);

int hp_ask_signal(void); /* the number of the signal */

/* In a child of fork: no question is open. */
void hp_ask_reset(void);

#endif
