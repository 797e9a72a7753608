/* flow - where control may come from: the proof that a jump may be written over the first instructions of a function.
 *
 *     entry            jump + 1 ... jump + 4          no branch, call or table of the image leads there
 *     | instruction | instruction | instruction |     and each of these can be executed elsewhere
 *     '------------ jump ------------'
 *
 * What is looked at, from the function outwards:
 *     its own code, decoded from its beginning: branches into the window, or back to the entry (which would be led to
 * the new definition), and where it jumps through a register, the tables it takes addresses from the code around it, as
 * far as a short branch reaches, decoded function by function all code of the image: every byte that could begin a
 * branch or call of 32 bits, whether it does or not What none of these show is not there: compilers make no other way
 * into the middle of a block. Code that computes addresses by arithmetic of its own is not found; hand-written code in
 * other functions that branches here is.
 */
#ifndef HP_INSPECT_FLOW_H
#define HP_INSPECT_FLOW_H

#include "base/inspector.h"

/* As hp_inspector.displace. */
int hp_flow_displace(const struct hp_flow *flow, struct hp_displaced *ret_displaced, struct hp_err *err) HP_MUST_CHECK;

/* Where the function's own code (flow->parts[0]) jumps outside of itself, each address once: at most max.
 * HOTPATCH_ENOSYM where that cannot be seen, or are more. */
int hp_flow_exits(const struct hp_flow *flow, uintptr_t *ret_targets, size_t max, size_t *ret_count,
                  struct hp_err *err) HP_MUST_CHECK;

/* Forgets what is kept of images. */
void hp_flow_forget(void);

#endif
