/* unprepared - a function without room for a jump: whether, and over which of its instructions, one may be written.
 *
 * The proof is the inspect plugin's (inspector.h, displace), since it takes decoding; here is what it is told of the
 * live code. How the jump is written while threads execute the function is live/breakpoint.h's.
 */
#ifndef HP_CODE_UNPREPARED_H
#define HP_CODE_UNPREPARED_H

#include "arch/arch.h"
#include "base/err.h"

/* Gives back what hotpatch wrote into the n bytes of the function that begins at `at`, or of a part of it. */
typedef void (*hp_undo)(uintptr_t at, uint8_t *bytes, size_t n);

/* A function as what is asked about it. */
struct hp_function {
	uintptr_t entry;
	const char *name;             /* to say */
	const struct hp_range *parts; /* its code, that with the entry first */
	size_t n_parts;
	hp_undo undo;
};

/* What the function may continue in outside of its first part, from its code: for images without symbols.
 * HOTPATCH_ENOSYM where that cannot be seen. Under the registry. */
int hp_unprepared_exits(const struct hp_function *function, struct hp_range *ret_parts, size_t max, size_t *ret_count,
                        struct hp_err *err) HP_MUST_CHECK;

/* Plans the jump for the function, all of whose code are the parts, and says what lies under it: only its first
 * instruction where a pun (pun.h) leads to a place that is free, which is taken then, else *ret_pun is 0.
 * HOTPATCH_ENOTPREPARED with the reason, HOTPATCH_ENOINSPECT. Under the registry. */
int hp_unprepared_plan(const struct hp_function *function, struct hp_entry *ret_plan, uintptr_t *ret_pun,
                       struct hp_displaced *ret_displaced, struct hp_err *err) HP_MUST_CHECK;

#endif
