/* announced - the stacks that a program switches itself and has told of (hotpatch_stack_add).
 *
 *     chunk [ base size | base size | 0 0 | ... ] -> chunk ...     a table that only grows, read without a lock
 */
#ifndef HP_LIVE_ANNOUNCED_H
#define HP_LIVE_ANNOUNCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The end of the announced stack that holds sp, or 0. Async-signal-safe, as the next is. */
uintptr_t hp_announced_end(uintptr_t sp);

/* Calls each for the stacks until it returns true, and says whether it did. Without each: whether there are any. */
bool hp_announced_any(bool (*each)(uintptr_t base, size_t size, void *arg), void *arg);

/* Held across fork, so that the child's is free. */
void hp_announced_lock(void);
void hp_announced_unlock(void);

#endif
