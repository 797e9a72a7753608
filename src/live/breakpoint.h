/* breakpoint - a jump of several bytes, written over instructions that threads execute meanwhile.
 *
 *     48 83 EC 08 E8    plain       sub $8,%rsp; call ...
 *     CC 83 EC 08 E8    trapping    who arrives takes SIGTRAP, whose handler sends it where the slot leads
 *     CC d0 d1 d2 d3    trapping    nobody was in the four bytes when they were written, and nobody has come since
 *     E9 d0 d1 d2 d3    jumping     jmp landing
 *
 * Between two lines stands a barrier that makes all processors see the first. Nobody is held: callers take the trap, a
 * microsecond or two. Going back is the same upwards, but that nobody has to be waited for, since the jump is one
 * instruction. (The order is the kernel's own, arch/x86/kernel/alternative.c, text_poke_bp_batch.)
 *
 * The handler is there from the first breakpoint until no thread can have a trap under way, and hands on what is not
 * ours. A thread that runs into a breakpoint with SIGTRAP blocked is ended by the kernel, and the process with it
 * (kernel/signal.c, force_sig_info_to_task): so who blocks it, or may, stands in the way and is named.
 */
#ifndef HP_LIVE_BREAKPOINT_H
#define HP_LIVE_BREAKPOINT_H

#include "live/transition.h"

/* Redirects the entries of unprepared functions that are not yet; their slots lead to the original. HOTPATCH_ENOTSUP
 * under a debugger, HOTPATCH_EBUSY, ETIMEDOUT or EDEADLK with who is in the way; the text is as it was then. */
int hp_breakpoint_redirect(struct hp_site *const *sites, size_t n, struct hp_text *text,
                           const struct hp_request *request, struct hp_outcome *outcome,
                           struct hp_err *err) HP_MUST_CHECK;

/* Takes the jumps back where a site has no layers. Where that is not possible now they stay, and lead to the original,
 * until a later operation, on whatever site. */
void hp_breakpoint_undo(struct hp_site *const *sites, size_t n, struct hp_text *text);

/* Ends the operation: the handler goes once no trap can be under way to it. all_have_answered: every thread was asked
 * since hp_breakpoint_redirect. */
void hp_breakpoint_end(bool all_have_answered);

/* In a child of fork whose parent was at it: the text is mended (hp_sites_mend), no trap is under way. */
void hp_breakpoint_reset(void);

#endif
