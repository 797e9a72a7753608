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

/* What the function at `entry`, whose own code is `own`, may continue in, from its code: for images without symbols.
 * HOTPATCH_ENOSYM where that cannot be seen. Under the registry. */
int hp_unprepared_exits(uintptr_t entry, const char *name, struct hp_range own, hp_undo undo,
                        struct hp_range *ret_parts, size_t max, size_t *ret_count, struct hp_err *err) HP_MUST_CHECK;

/* Plans the jump for the function at `entry`, all of whose code are the parts, and says what lies under it.
 * HOTPATCH_ENOTPREPARED with the reason, HOTPATCH_ENOINSPECT. Under the registry. */
int hp_unprepared_plan(uintptr_t entry, const char *name, const struct hp_range *parts, size_t n_parts, hp_undo undo,
                       struct hp_entry *ret_plan, struct hp_displaced *ret_displaced, struct hp_err *err) HP_MUST_CHECK;

#endif
