/* replaced - what a change takes the place of: the code that nobody may be in when it takes effect, and the words of
 * ours that name that code without leading into it.
 *
 *     code    original    layers that go, lingering ones     the gate, prefixes, landings
 *             owner: the number of the change                HP_OWNER_GATE: on the way to somewhere else
 */
#ifndef HP_LIVE_REPLACED_H
#define HP_LIVE_REPLACED_H

#include "base/memory.h"
#include "live/transition.h"

/* The definition that is current once the change is live. */
const struct hp_definition *hp_replaced_by(const struct hp_change *change);

/* Old definitions, the gate, and the prefixes that shall be cleared afterwards: a thread before one of those is, like
 * one in the gate, on its way to somewhere else. So is one in a landing that has read the slot already. Sorted;
 * HOTPATCH_ENOMEM. */
int hp_replaced_collect(const struct hp_change *changes, size_t n, struct hp_codes *codes,
                        struct hp_err *err) HP_MUST_CHECK;

/* The prefixes that earlier changes have left behind. HOTPATCH_ENOMEM. */
int hp_replaced_add_unclean(struct hp_codes *codes, struct hp_err *err) HP_MUST_CHECK;

/* Whether a word that names code of the change is one of our own notes, and no return address. */
bool hp_replaced_is_note(const struct hp_change *change, const struct hp_hit *hit);

#endif
