/* displaced - the first instructions of functions that were not prepared, executed elsewhere.
 *
 * Where a jump was written over them they are the beginning of the original definition: a copy (arch.h) in reach of the
 * function, in memory that is never given back, since a thread may linger in it for ever. Unwind tables know nothing of
 * it; whoever walks a stack asks hp_displaced_origin, which is async-signal-safe.
 */
#ifndef HP_CODE_DISPLACED_H
#define HP_CODE_DISPLACED_H

#include "arch/arch.h"
#include "base/err.h"

/* Makes the copy for the jump that will be written at `jump`. One caller at a time. HOTPATCH_ENOTPREPARED when it would
 * be out of reach. */
int hp_displaced_new(const char *name, uintptr_t jump, const struct hp_displaced *displaced, uintptr_t *ret_copy,
                     struct hp_err *err) HP_MUST_CHECK;

/* Whether an instruction pointer lies in a copy, and where in the function the thread would be. */
bool hp_displaced_origin(uintptr_t ip, struct hp_copy_point *ret_point);

/* Whether the notes that this is answered from lie at address: they hold places in functions, and are no frames. */
bool hp_displaced_notes(uintptr_t address);

#endif
