/* linked - what sets from outside need beyond those of the program: they take the place of others at one instant,
 * change data together with code, and are made by somebody who wants to see the program as it was.
 */
#ifndef HP_LIVE_LINKED_H
#define HP_LIVE_LINKED_H

#include "live/patch.h"

/* `in` is applied and all of `out` are reverted by one transition; in may be NULL. Sites that are in several of them
 * are seen once. Callbacks run as they would for each. Within a session. HOTPATCH_ESTATE, EINVAL, EVETO, and all of a
 * transition's. */
int hp_patch_switch(struct hotpatch *in, struct hotpatch *const *out, size_t n_out,
                    struct hp_session *session) HP_MUST_CHECK;

/* Destroys definitions that were replaced while in use and have been left since. Within a session, which frees them at
 * its end. */
int hp_reclaim_definitions(struct hp_session *session) HP_MUST_CHECK;

/* Whether any layer of any site is the patch's. */
bool hp_patch_is_live(const struct hotpatch *patch);

/* Puts the bytes that redirections took away back into a copy of `size` bytes of memory at `address`. */
void hp_sites_mask(uintptr_t address, uint8_t *bytes, size_t size);

#endif
