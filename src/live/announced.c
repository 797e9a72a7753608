#include "live/announced.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/report.h"

/* Announced stacks: a table that only grows; an empty place has size 0. Base is set before size and cleared after it,
 * so that whoever sees a size sees its base. */
struct announced {
	_Atomic uintptr_t base;
	_Atomic size_t size;
};

enum { ANNOUNCED_CHUNK = 64 };

struct announced_chunk {
	_Atomic(struct announced_chunk *) next;
	struct announced stacks[ANNOUNCED_CHUNK];
};

static struct announced_chunk announced_first;
static pthread_mutex_t announced_lock = PTHREAD_MUTEX_INITIALIZER; /* protects writing to the table */

void hp_announced_lock(void)
{
	pthread_mutex_lock(&announced_lock);
}

void hp_announced_unlock(void)
{
	pthread_mutex_unlock(&announced_lock);
}

uintptr_t hp_announced_end(uintptr_t sp)
{
	for (struct announced_chunk *chunk = &announced_first; chunk; chunk = atomic_load(&chunk->next))
		for (size_t i = 0; i < ANNOUNCED_CHUNK; i++) {
			size_t size = atomic_load(&chunk->stacks[i].size);
			uintptr_t base = atomic_load(&chunk->stacks[i].base);
			if (size && sp >= base && sp - base < size)
				return base + size;
		}
	return 0;
}

bool hp_announced_any(bool (*each)(uintptr_t base, size_t size, void *arg), void *arg)
{
	for (struct announced_chunk *chunk = &announced_first; chunk; chunk = atomic_load(&chunk->next))
		for (size_t i = 0; i < ANNOUNCED_CHUNK; i++) {
			size_t size = atomic_load(&chunk->stacks[i].size);
			uintptr_t base = atomic_load(&chunk->stacks[i].base);
			if (size && (!each || each(base, size, arg)))
				return true;
		}
	return false;
}

static struct announced *announced_place(uintptr_t base)
{
	struct announced_chunk *chunk = &announced_first;
	for (;; chunk = atomic_load(&chunk->next)) {
		for (size_t i = 0; i < ANNOUNCED_CHUNK; i++)
			if (base ? atomic_load(&chunk->stacks[i].size) && atomic_load(&chunk->stacks[i].base) == base
			         : !atomic_load(&chunk->stacks[i].size))
				return &chunk->stacks[i];
		if (!atomic_load(&chunk->next))
			break;
	}
	if (base)
		return NULL;
	struct announced_chunk *added = calloc(1, sizeof(*added));
	atomic_store(&chunk->next, added);
	return added ? &added->stacks[0] : NULL;
}

int hotpatch_stack_add(const void *base, size_t size)
{
	struct hp_err err;
	if (!base || size < sizeof(uintptr_t) || (uintptr_t)base % sizeof(uintptr_t) != 0)
		return hp_report(hp_err_set(&err, HOTPATCH_EINVAL,
		                            "%zu bytes at %p are no stack: it must be aligned and not empty", size,
		                            base),
		                 &err);
	pthread_mutex_lock(&announced_lock);
	struct announced *place = announced_place(0);
	if (place) {
		atomic_store(&place->base, (uintptr_t)base);
		atomic_store(&place->size, size & ~(sizeof(uintptr_t) - 1));
	}
	pthread_mutex_unlock(&announced_lock);
	return place ? 0 : hp_report(hp_err_set(&err, HOTPATCH_ENOMEM, "no memory to note another stack"), &err);
}

int hotpatch_stack_remove(const void *base)
{
	struct hp_err err;
	pthread_mutex_lock(&announced_lock);
	struct announced *place = base ? announced_place((uintptr_t)base) : NULL;
	if (place)
		atomic_store(&place->size, 0);
	pthread_mutex_unlock(&announced_lock);
	return place ? 0 : hp_report(hp_err_set(&err, HOTPATCH_EINVAL, "no stack at %p was announced", base), &err);
}
