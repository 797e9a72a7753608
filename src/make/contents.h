/* contents - what constants hold, each as one number, so that patches can say whether they mean the same.
 *
 *     first patch    t = {1, 66}   contents 8c1e...     in the process
 *     second patch   t = {1, 66}   contents 8c1e...     that one is meant, by its address too
 *     third patch    t = {1, 7}    contents 07d2...     another: the patch's own
 *
 * The number is of the bytes and of what is referred to: of functions and variables the name, of other constants what
 * they hold. A constant that leads into code of its patch (to labels, to functions that are new) is that patch's own,
 * whatever another holds.
 */
#ifndef HP_MAKE_CONTENTS_H
#define HP_MAKE_CONTENTS_H

#include "make/diff.h"

struct hp_contents {
	uint64_t hash; /* 0: no constant, or not known */
	bool is_own;   /* no other patch's can stand for it */
};

/* One for each new atom; the caller's to free. NULL: memory was out. */
struct hp_contents *hp_contents_read(const struct hp_diff *diff);

#endif
