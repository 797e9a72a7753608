#include "base/readers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct retired {
	struct retired *next;
	void *memory;
	void (*destroy)(void *memory);
};

static atomic_uint inside;
static struct retired *waiting; /* protected by lock, which is innermost */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void hp_readers_enter(void)
{
	atomic_fetch_add(&inside, 1);
}

void hp_readers_leave(void)
{
	atomic_fetch_sub(&inside, 1);
}

void hp_readers_reset(void)
{
	static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
	atomic_store(&inside, 0);
	waiting = NULL; /* another thread may have been in the middle of destroying one; they are lost */
	memcpy(&lock, &fresh, sizeof(lock));
}

void hp_readers_retire(void *memory, void (*destroy)(void *memory))
{
	struct retired *last = memory ? malloc(sizeof(*last)) : NULL;
	pthread_mutex_lock(&lock);
	if (last) {
		*last = (struct retired){waiting, memory, destroy};
		waiting = last;
	} else if (memory && atomic_load(&inside) == 0) {
		destroy(memory);
	} /* out of memory with a reader inside: what is kept for ever cannot be read after it was freed */
	while (waiting && atomic_load(&inside) == 0) {
		struct retired *next = waiting->next;
		waiting->destroy(waiting->memory);
		free(waiting);
		waiting = next;
	}
	pthread_mutex_unlock(&lock);
}
