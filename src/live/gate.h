/* gate - where callers of changing functions wait during a transition.
 *
 * While a transition is under way the slots of its sites lead to their stubs, and those to hp_gate_arrive, which
 * decides by one word:
 *
 *     number of the transition (32) | passes (30) | phase (2)
 *
 *     PASS     callers go on with the definition before the change
 *     CLOSED   callers wait, but those that are themselves active in an old definition go on with the old one
 *     DECIDED  callers wait; the change is certain
 *     OPEN     callers go on with the definition after it
 *
 * That one store decides for all sites is what makes a set change at one instant: who has seen OPEN through one
 * function sees it through all others, since it is the same word.
 *
 * A site that does not take part in the transition at hand (its number is another one) has `before` as what is current:
 * so a caller that was on its way to the gate for a long time still arrives at the right place. Order of writing:
 * prepare sets gate_number to 0, then `after`, then gate_number; reading: number, before, after, number again.
 *
 * A caller that cannot find out whether it is active (its stack cannot be walked, or it is in the gate already, beneath
 * a signal handler) goes on with the old definition, and counts itself in `passes`: the decision is a compare-and-swap
 * on the whole word, so it fails if somebody has passed since the threads were asked, and they are asked again.
 *
 * A caller that has found itself out says so in a list of arrivals and waits: the transition need not ask it. What it
 * said holds while nobody has passed: a handler that interrupts it there waits at the gate too, or passes counted.
 *
 * Sites can also be held between transitions (crash.h): their slots lead to their stubs, and who arrives while no
 * transition says otherwise waits until he is let on, and then looks at everything anew. Waiting so is waiting at the
 * gate: who asks the threads sees no difference.
 */
#ifndef HP_LIVE_GATE_H
#define HP_LIVE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "live/site.h"
#include "live/stacks.h"

/* Before the first transition closes the gate. */
void hp_gate_prepare(void);

/* How many callers may wait without sleeping: as many as there are other processors. */
uint32_t hp_gate_spinners(void);

/* A new transition; its number. Its sites are enlisted before their slots point to the gate. */
uint32_t hp_gate_begin(void);
void hp_gate_enlist(struct hp_site *site, uint32_t number, uintptr_t after);

/* Points a site's slot at its stub, or at what is `before` or `after` for good. */
void hp_gate_take_slot(struct hp_site *site);
void hp_gate_keep_before(struct hp_site *site);
void hp_gate_keep_after(struct hp_site *site);

/* The phases. codes: what a caller must not be active in to be made to wait; read until the gate is closed no more and
 * every reader has left (base/readers.h). */
void hp_gate_close(const struct hp_codes *codes);
void hp_gate_reopen(void); /* CLOSED -> PASS; callers go on */
uint32_t hp_gate_passes(void);

/* The threads that have said since the gate was closed that they are out and wait; some may be missing. None once
 * somebody has passed. */
enum { HP_ARRIVALS_MAX = 128 };
size_t hp_gate_arrivals(int tids[HP_ARRIVALS_MAX]);

bool hp_gate_decide(uint32_t passes); /* CLOSED -> DECIDED unless somebody passed since */
void hp_gate_open(void);              /* -> OPEN; callers go on */

/* Callers of these sites, and of hotpatch_poll, wait until they are let on or a transition gives the site another
 * definition; not the calling thread, nor who is in a session. Every site has a definition. What was held before and is
 * not among them is let go. The array is kept until then. Within the turn. */
void hp_gate_hold(struct hp_site *const *sites, size_t n);
void hp_gate_let_on(void);
/* Behind a transition: those at sites that it gave something else go on. */
void hp_gate_look_again(void);
/* In a child of fork, which has none of those who wait: nothing is held. */
void hp_gate_reset(void);

/* Whether a caller at the gate is active in the codes, beneath its frame, which lies at `address`; `frame` may be a
 * copy. walk as in hp_stack_walk. Async-signal-safe. */
enum hp_answer hp_gate_look(const struct hp_codes *codes, const struct hp_gate_frame *frame, uintptr_t address,
                            uintptr_t top, struct hp_walk *walk);

/* The code of the gate itself: a thread in it may have chosen its definition already. */
int hp_gate_add_code(struct hp_codes *codes, struct hp_err *err) HP_MUST_CHECK;

#endif
