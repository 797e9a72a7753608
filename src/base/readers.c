#include "base/readers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static atomic_uint inside;
/* How many of them are the thread's own; initial-exec, since other models allocate. Never more than are counted,
 * whatever interrupts: who gives them up may leave one behind, but takes none of another. */
static __thread volatile int own __attribute__((tls_model("initial-exec")));
static struct hp_retired *waiting; /* protected by lock, which is innermost */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void hp_readers_enter(void)
{
	atomic_fetch_add(&inside, 1);
	own++;
}

void hp_readers_leave(void)
{
	own--;
	atomic_fetch_sub(&inside, 1);
}

void hp_readers_give_up(void)
{
	if (own > 0)
		atomic_fetch_sub(&inside, (unsigned)own);
	own = 0;
}

bool hp_readers_none(void)
{
	return atomic_load(&inside) == 0;
}

void hp_readers_reset(void)
{
	static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
	atomic_store(&inside, own > 0 ? (unsigned)own : 0);
	waiting = NULL; /* another thread may have been in the middle of destroying one; they are lost */
	memcpy(&lock, &fresh, sizeof(lock));
}

void hp_readers_retire(struct hp_retired *memory, void (*destroy)(void *memory))
{
	pthread_mutex_lock(&lock);
	if (memory) {
		*memory = (struct hp_retired){waiting, destroy};
		waiting = memory;
	}
	while (waiting && atomic_load(&inside) == 0) {
		struct hp_retired *first = waiting;
		waiting = first->next;
		first->destroy(first);
	}
	pthread_mutex_unlock(&lock);
}
