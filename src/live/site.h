/* site - a function whose calls can be redirected, and the definitions stacked on it.
 *
 *     call --> entry --jump--> prefix --(slot)--> current definition
 *                 \                    or: landing --(slot)-->
 *                  body: what the slot leads to while the original holds
 *
 * The entry's code changes when the first definition is put on the site and when the last is taken off; everything in
 * between is a store to the slot. A site lives for ever once its function was named: late threads may stand in its
 * cell.
 *
 *     layers:  original | patch A's definition | patch B's | ... the last is current
 *
 * Who may write: layers, text and lists under the turn (patch.c); the atomics as gate.h says. Who reads without a lock:
 * hotpatch_original and the gate.
 */
#ifndef HP_LIVE_SITE_H
#define HP_LIVE_SITE_H

#include <stdatomic.h>
#include <time.h>

#include "arch/arch.h"
#include "code/near.h"
#include "code/text.h"
#include "live/definition.h"

/* One definition on a site. The last three are copies for readers without a lock. */
struct hp_layer {
	struct hp_definition *definition; /* the site's original where hotpatch_restore covered a patch */
	struct hotpatch *patch;           /* NULL: made by hotpatch_fn and its like */
	const char *patch_name;           /* "" then */
	struct timespec since;
	uintptr_t low, high, target;
};

struct hp_site {
	uintptr_t entry;
	char *name;
	struct hp_entry plan;
	struct hp_cell cell;
	struct hp_definition original; /* body: the entry; target: behind the jump */
	uintptr_t copy;                /* of the instructions under the jump of an unprepared function; else 0 */
	uintptr_t pun;                 /* its landing, where only the jump's first byte is written; else 0 */
	bool redirected;               /* the jump is written, at least its head */
	bool trapping;                 /* a breakpoint stands in its place (breakpoint.h) */
	bool tail_set;                 /* its tail stays, harmless, behind a jump that was undone */
	bool prefix_set;               /* the prefix is: kept after the jump was undone until nobody can be in it */

	struct hp_layer *layers;
	size_t n_layers, layers_capacity;
	_Atomic uint32_t version; /* odd while layers are written */

	struct hp_definition *lingering; /* off the site, but some thread may be in them */

	/* The gate's, see gate.h. */
	_Atomic uintptr_t before, after;
	_Atomic uint32_t gate_number;
	_Atomic bool held; /* callers wait between transitions, too */

	uint32_t mark; /* of the operation at hand: its index + 1 */
	bool unclean;  /* in the list of hp_sites_unclean, or of what breakpoint.c has left to undo */
	struct hp_site *next_unclean;
};

/* How a function is named to us: whether it may be one that is not prepared as well. */
struct hp_named {
	const char *name;
	const struct hotpatch_marks *marks;
	bool unprepared;
	const struct hp_parts *known; /* all its code, where the caller knows; NULL: it is found out */
};

/* The site of the function at entry, made if need be: HOTPATCH_ENOTPREPARED, ECODE, ... One caller at a time. */
int hp_site_get(uintptr_t entry, const struct hp_named *named, struct hp_site **ret_site,
                struct hp_err *err) HP_MUST_CHECK;

/* Undoes in a copy of n bytes of the function that begins at `at` what was written to its entry: hp_undo. */
void hp_site_undo_writes(uintptr_t at, uint8_t *bytes, size_t n);

/* Where the function's own code begins, past any redirection: the entry itself if it cannot be redirected. */
int hp_site_own_code(uintptr_t entry, const struct hp_named *named, uintptr_t *ret_target,
                     struct hp_err *err) HP_MUST_CHECK;

/* What calls get now. */
uintptr_t hp_site_target(const struct hp_site *site);

/* Makes room for n layers, so that hp_site_set_layers cannot fail. */
int hp_site_reserve_layers(struct hp_site *site, size_t n, struct hp_err *err) HP_MUST_CHECK;
void hp_site_set_layers(struct hp_site *site, const struct hp_layer *layers, size_t n);

/* Redirects prepared entries that are not yet; their slots lead to the original. Two barriers, however many sites. On
 * failure the text is as it was. Those of unprepared functions are breakpoint.h's. */
int hp_sites_redirect(struct hp_site *const *sites, size_t n, struct hp_text *text, struct hp_err *err) HP_MUST_CHECK;

/* Where the bytes of an entry are: the jump's address; and whether they are what they were, or what we left:
 * HOTPATCH_ECODE. */
uintptr_t hp_site_jump(const struct hp_site *site);
int hp_sites_check(struct hp_site *const *sites, size_t n, struct hp_err *err) HP_MUST_CHECK;

/* Takes the jumps of prepared entries back where a site has no layers. The prefixes stay: a thread may be about to
 * execute one. */
void hp_sites_undo(struct hp_site *const *sites, size_t n, struct hp_text *text);

/* The sites whose prefix waits to be cleared, chained by next_unclean; and its clearing, once nobody is in it. */
struct hp_site *hp_sites_unclean(void);
void hp_sites_clear_unclean(struct hp_text *text);

/* In a child of fork, where another thread of the parent was writing: text, slots and what is noted of them follow from
 * the layers again. */
void hp_sites_mend(void);

#endif
