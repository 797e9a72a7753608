/* stale - words left behind on a stack, below where its thread will go on: nobody reads them again.
 *
 *     low                live                    top
 *      | left behind      | frames of the thread  | descriptor, arguments
 *
 * For threads that do not run: held in the handler, or asleep. A program that carves the stacks of coroutines out of a
 * thread's own, below its stack pointer, is not seen to do so; a signal would write over them too.
 */
#ifndef HP_LIVE_STALE_H
#define HP_LIVE_STALE_H

#include "base/memory.h"
#include "live/threads.h"

/* Whether the word that was found is one, on the stack that libc gave a thread of the list. */
bool hp_stale_is(const struct hp_threads *threads, const struct hp_hit *hit);

/* The part of the calling thread's stack below `live`, or where nothing is known of the stack, of it what is certainly
 * ours. It allocates. */
struct hp_span hp_stale_own(uintptr_t live);

#endif
