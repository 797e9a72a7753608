/* library - changes that come from a shared object.
 *
 *   path --open--> checked file --match--> pairs (site, function in the file) --types--> --dlopen--> definitions
 *
 * Everything that can be refused is refused from the file, before the dynamic linker runs its constructors. A library
 * that was loaded stays mapped until hotpatch_reclaim has found that nothing refers to it (reclaim.c).
 *
 * Names: a function with a namespace path is replaced by the function of that path; one without by the function of its
 * symbol name. hotpatch_load takes all functions the library marks HOTPATCH.
 */
#ifndef HP_LIVE_LIBRARY_H
#define HP_LIVE_LIBRARY_H

#include "live/patch.h"

/* A function in a library that replaces one of the program. */
struct hp_pair {
	struct hp_site *site;
	uint64_t value; /* in the file: its address before loading */
	char name[256];
};

struct hp_pairs {
	struct hp_pair *v;
	size_t n, capacity;
};

#endif
