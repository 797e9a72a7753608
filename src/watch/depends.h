/* depends - which functions of an optimised text have to be compiled with which, so that what is left out is not
 * missed.
 *
 *     callers of an edit, and theirs      know what it does: it was put into them, or they use registers that it leaves
 *                                         alone, or memory that it does not change (they are edits, too)
 *     static functions that those call    are what their callers made of them: their arguments were of this range only,
 *                                         their result was not used (the part has copies of its own)
 *     all others                          are called as everybody calls them
 *
 * Who names whom is read from the text, which knows of what was put into callers; the base's object adds what the
 * compiler has led elsewhere. A function whose address a table has is called by nobody knows whom.
 */
#ifndef HP_WATCH_DEPENDS_H
#define HP_WATCH_DEPENDS_H

#include "make/atoms.h"
#include "watch/bodies.h"

struct hp_depends {
	enum hp_kept *kept; /* per body */
	const char *why;    /* the text cannot be reduced; NULL */
};

/* For these edits, in the base that atoms are of. HOTPATCH_ENOMEM. */
int hp_depends_read(const struct hp_bodies *bodies, char *const *edits, size_t n_edits, const struct hp_atoms *base,
                    struct hp_depends *ret_depends, struct hp_err *err) HP_MUST_CHECK;
void hp_depends_free(struct hp_depends *depends);

#endif
