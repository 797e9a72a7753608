/* masks - what a thread would do with a signal, as far as the system tells.
 *
 * /proc shows the mask that holds now. A thread asleep in a call that waits for signals, or that has brought a mask of
 * its own (ppoll), shows that one, and goes on with another.
 */
#ifndef HP_LIVE_MASKS_H
#define HP_LIVE_MASKS_H

#include "live/threads.h"

/* What a thread would do with the signal: take it by its handler, or keep it for later or for its own sigwait (also
 * when that cannot be found out), or which of both cannot be told in this moment. */
enum hp_mask { HP_MASK_TAKES, HP_MASK_KEEPS, HP_MASK_DOUBT };
enum hp_mask hp_thread_mask(const struct hp_threads *threads, struct hp_thread *thread, int signo);

/* Why a thread may have the signal blocked when it runs the program's code next: "" where it cannot. Lives for ever. */
const char *hp_thread_blocks(const struct hp_threads *threads, int tid, int signo);

#endif
