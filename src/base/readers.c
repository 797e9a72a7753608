#include "base/readers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static atomic_uint inside;
static struct hp_retired *waiting; /* protected by lock, which is innermost */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void hp_readers_enter(void)
{
	atomic_fetch_add(&inside, 1);
}

void hp_readers_leave(void)
{
	atomic_fetch_sub(&inside, 1);
}

bool hp_readers_none(void)
{
	return atomic_load(&inside) == 0;
}

void hp_readers_reset(void)
{
	static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
	atomic_store(&inside, 0);
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
