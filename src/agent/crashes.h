/* crashes - threads that crashed in code from outside, and who wants to know.
 *
 *     a client says HOLD ------> the runtime catches crashes (live/crash.h) while such a client is there
 *     a thread crashes --------> it is kept; calls of the functions that its patch has changed are held at the gate;
 *                                those clients are told by a frame they did not ask for
 *     it is reverted, or replaced --> the calls go on, into what holds now; the crashed thread stays
 *     LET_DIE, or the last such client goes while calls are held: the process ends by the crash
 *
 * Calls are held, and not threads stopped: one that was stopped anywhere might have a lock of malloc or of the dynamic
 * linker, which the agent needs to bring the next patch.
 */
#ifndef HP_AGENT_CRASHES_H
#define HP_AGENT_CRASHES_H

#include "agent/requests.h"

int hp_crashes_hold_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_crashes_list_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_crashes_let_die_handle(struct hp_exchange *x) HP_MUST_CHECK;

/* Between requests: does what a crash since then asks for. Returns how long until it wants to be called again at the
 * latest, ms; -1: never. */
int hp_crashes_tend(struct hp_agent *agent);

/* A patch has come into force, or gone: calls go on if what crashed is not in force any more. Within its session. */
void hp_crashes_go_on(const struct hp_agent *agent);

/* How many threads are kept, and never run again. */
unsigned hp_crashes_kept(void);

/* In a child of fork, which has no client. */
void hp_crashes_reset(void);

/* What came or went is code to be looked for from now on. */
void hp_crashes_learn(const struct hp_agent *agent);

#endif
