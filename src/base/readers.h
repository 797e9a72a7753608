/* readers - memory that a caller at the gate or a signal handler may still look at is freed when none does.
 *
 * A reader enters, loads a published pointer, reads what it points to, and leaves. Who replaces the pointer retires the
 * old memory. It is freed at once if no reader is inside, else at a later retirement: nobody waits for a reader, since
 * one may have been interrupted for as long as it takes. Enter and leave are async-signal-safe and may nest.
 *
 * The barrier pair: a reader counts itself, then loads the pointer; a writer stores the pointer, then looks at the
 * count. Both are sequentially consistent, so either the writer sees the reader, or the reader sees the new pointer.
 */
#ifndef HP_BASE_READERS_H
#define HP_BASE_READERS_H

#include <stdbool.h>

void hp_readers_enter(void);
void hp_readers_leave(void);

/* Leaves for good, however often the thread has entered: what it was reading it will never look at again.
 * Async-signal-safe. */
void hp_readers_give_up(void);

/* First member of what can be retired, so that retiring needs no memory. */
struct hp_retired {
	struct hp_retired *next;
	void (*destroy)(void *memory);
};

/* Frees memory with `destroy` now or later. The pointer must not be reachable for new readers any more. Never while
 * callers are held. NULL memory only tries what is left from before. */
void hp_readers_retire(struct hp_retired *memory, void (*destroy)(void *memory));

/* Whether no reader is inside in this moment: whoever comes later loads what is published now. */
bool hp_readers_none(void);

/* In a child of fork: the parent's other threads, and so their reading, do not exist. */
void hp_readers_reset(void);

#endif
