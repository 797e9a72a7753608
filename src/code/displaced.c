#include "code/displaced.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "code/near.h"
#include "code/text.h"

enum { CHUNK_CODE = 16384, CHUNK_COPIES = CHUNK_CODE / HP_COPY_CODE };

/* Copies that lie together; chunks are only ever added, and a copy is counted when it is complete. */
struct chunk {
	struct chunk *next;
	uintptr_t code; /* read-execute from the start, written as text is */
	_Atomic size_t used;
	struct hp_copy_map maps[CHUNK_COPIES];
};

static _Atomic(struct chunk *) chunks;

static int chunk_new(const char *name, uintptr_t jump, struct chunk **ret_chunk, struct hp_err *err)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the first instructions of '%s'", name);
	chunk->code = hp_near_map(jump, CHUNK_CODE, PROT_READ | PROT_EXEC);
	if (!chunk->code) {
		free(chunk);
		return hp_err_system(err, HOTPATCH_ENOMEM, errno,
		                     "no executable memory within 2 GiB of '%s' for its first instructions", name);
	}
	chunk->next = atomic_load(&chunks);
	atomic_store(&chunks, chunk);
	*ret_chunk = chunk;
	return 0;
}

static struct chunk *chunk_find(uintptr_t jump)
{
	for (struct chunk *chunk = atomic_load(&chunks); chunk; chunk = chunk->next)
		if (atomic_load(&chunk->used) < CHUNK_COPIES && hp_near_reaches(chunk->code, CHUNK_CODE, jump))
			return chunk;
	return NULL;
}

int hp_displaced_new(const char *name, uintptr_t jump, const struct hp_displaced *displaced, uintptr_t *ret_copy,
                     struct hp_err *err)
{
	uint8_t code[HP_COPY_CODE], bytes[HP_COPY_CODE];
	if (!hp_text_read(jump, bytes, displaced->size))
		return hp_err_set(err, HOTPATCH_ECODE, "the code of '%s' cannot be read", name);
	struct chunk *chunk = chunk_find(jump);
	int error = chunk ? 0 : chunk_new(name, jump, &chunk, err);
	if (error)
		return error;
	size_t i = atomic_load(&chunk->used);
	uintptr_t address = chunk->code + i * HP_COPY_CODE;
	if (!hp_arch_copy_fill(code, address, jump, bytes, displaced, &chunk->maps[i]))
		return hp_err_set(err, HOTPATCH_ENOTPREPARED,
		                  "'%s' is not prepared for patching, and cannot be patched as it is: what its first "
		                  "instructions refer to is out of their reach",
		                  name);
	struct hp_text text;
	hp_text_open(&text);
	error = hp_text_write(&text, address, code, sizeof(code), err);
	hp_text_close(&text);
	if (error)
		return error;
	atomic_store(&chunk->used, i + 1);
	*ret_copy = address;
	return 0;
}

bool hp_displaced_origin(uintptr_t ip, struct hp_copy_point *ret_point)
{
	for (struct chunk *chunk = atomic_load(&chunks); chunk; chunk = chunk->next) {
		size_t i = (ip - chunk->code) / HP_COPY_CODE, at = (ip - chunk->code) % HP_COPY_CODE;
		if (ip < chunk->code || i >= atomic_load(&chunk->used))
			continue;
		const struct hp_copy_map *map = &chunk->maps[i];
		size_t point = map->n;
		while (point > 0 && map->v[point - 1].from > at)
			point--;
		*ret_point = map->v[point - 1]; /* the first begins with the copy */
		return true;
	}
	return false;
}

bool hp_displaced_notes(uintptr_t address)
{
	for (struct chunk *chunk = atomic_load(&chunks); chunk; chunk = chunk->next)
		if (address >= (uintptr_t)chunk && address < (uintptr_t)(chunk + 1))
			return true;
	return false;
}
