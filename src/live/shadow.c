/* shadow - fields for objects that live already, whose structs cannot grow.
 *
 *     object + id --hash--> shard --hash--> bucket ---> entry ---> entry
 *                           (its lock)                  | object, id, size | memory ... |
 *
 * A field may be read with every request, by many threads: so there are many locks, each held for a few loads, and
 * threads meet at one only if they ask for the same object, or by chance one time in 64.
 */
#include "live/shadow.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "hotpatch.h"

/* All locks are taken for a fork; ThreadSanitizer counts up to 64 that a thread holds. */
enum { SHARDS = 32, BUCKETS = 16 };

struct entry {
	struct entry *next;
	const void *object;
	unsigned long id;
	size_t size;
	char memory[] __attribute__((aligned(16)));
};

struct shard {
	pthread_mutex_t lock; /* protects the rest */
	struct entry **buckets;
	size_t n_buckets, n; /* n_buckets: a power of two, or 0 */
} __attribute__((aligned(64)));

static struct shard shards[SHARDS] = {[0 ... SHARDS - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

/* -- Entries ----------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const void *object, unsigned long id)
{
	uint64_t h = ((uint64_t)(uintptr_t)object ^ (uint64_t)id << 48 ^ id) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

static struct shard *shard_of(uint64_t hash)
{
	return &shards[hash % SHARDS];
}

/* Where the entry hangs, or would; the shard has buckets. */
static struct entry **find(const struct shard *shard, uint64_t hash, const void *object, unsigned long id)
{
	struct entry **at = &shard->buckets[hash / SHARDS % shard->n_buckets];
	while (*at && ((*at)->object != object || (*at)->id != id))
		at = &(*at)->next;
	return at;
}

static bool grow(struct shard *shard)
{
	size_t n = shard->n_buckets ? 2 * shard->n_buckets : BUCKETS;
	struct entry **buckets = calloc(n, sizeof(struct entry *)), **old = shard->buckets;
	if (!buckets)
		return old != NULL; /* longer chains do as well */
	size_t n_old = shard->n_buckets;
	shard->buckets = buckets;
	shard->n_buckets = n;
	for (size_t i = 0; i < n_old; i++)
		for (struct entry *entry = old[i], *next; entry; entry = next) {
			struct entry **at = &buckets[hash_of(entry->object, entry->id) / SHARDS % n];
			next = entry->next;
			entry->next = *at;
			*at = entry;
		}
	free(old);
	return true;
}

static int refuse(int code, const void *object, unsigned long id, const char *why)
{
	struct hp_err err;
	return hp_report(code, (hp_err_set(&err, code, "shadow %lu of %p: %s", id, object, why), &err));
}

/* -- The public interface ------------------------------------------------------------------------------------------ */

static struct entry *make(struct shard *shard, uint64_t hash, const void *object, unsigned long id, size_t size)
{
	struct entry *entry = NULL;
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the shard has the buckets */
	bool has_room = shard->n < shard->n_buckets || grow(shard);
	if (has_room && size <= SIZE_MAX / 2 &&
	    (entry = aligned_alloc(16, (sizeof(*entry) + size + 15) & ~(size_t)15))) {
		memset(entry, 0, sizeof(*entry) + size);
		*entry = (struct entry){.object = object, .id = id, .size = size};
		*find(shard, hash, object, id) = entry;
		shard->n++;
	}
	return entry;
}

void *hotpatch_shadow_attach(const void *object, unsigned long id, size_t size, void (*init)(void *memory, void *arg),
                             void *arg)
{
	uint64_t hash = hash_of(object, id);
	struct shard *shard = shard_of(hash);
	if (!object) {
		refuse(HOTPATCH_EINVAL, object, id, "NULL is no object");
		return NULL;
	}
	pthread_mutex_lock(&shard->lock);
	struct entry *entry = shard->n_buckets ? *find(shard, hash, object, id) : NULL;
	bool is_new = !entry;
	if (is_new && (entry = make(shard, hash, object, id, size)) && init)
		init(entry->memory, arg);
	bool fits = entry && entry->size == size;
	pthread_mutex_unlock(&shard->lock);
	if (fits)
		return entry->memory;
	if (entry)
		refuse(HOTPATCH_EINVAL, object, id, "it is there, and has another size");
	else
		refuse(HOTPATCH_ENOMEM, object, id, "no memory for it");
	return NULL;
}

void *hotpatch_shadow_get(const void *object, unsigned long id)
{
	uint64_t hash = hash_of(object, id);
	struct shard *shard = shard_of(hash);
	pthread_mutex_lock(&shard->lock);
	struct entry *entry = shard->n_buckets ? *find(shard, hash, object, id) : NULL;
	pthread_mutex_unlock(&shard->lock);
	return entry ? entry->memory : NULL;
}

static void take_out(struct shard *shard, struct entry **at, void (*free_inner)(void *memory))
{
	struct entry *entry = *at;
	*at = entry->next;
	shard->n--;
	if (free_inner)
		free_inner(entry->memory);
	free(entry);
}

static bool detach_one(const void *object, unsigned long id, void (*free_inner)(void *memory))
{
	uint64_t hash = hash_of(object, id);
	struct shard *shard = shard_of(hash);
	pthread_mutex_lock(&shard->lock);
	struct entry **at = shard->n_buckets ? find(shard, hash, object, id) : NULL;
	bool found = at && *at;
	if (found)
		take_out(shard, at, free_inner);
	pthread_mutex_unlock(&shard->lock);
	return found;
}

static bool detach_all(struct shard *shard, unsigned long id, void (*free_inner)(void *memory))
{
	bool found = false;
	pthread_mutex_lock(&shard->lock);
	for (size_t i = 0; i < shard->n_buckets; i++)
		for (struct entry **at = &shard->buckets[i]; *at;)
			if ((*at)->id == id) {
				take_out(shard, at, free_inner);
				found = true;
			} else {
				at = &(*at)->next;
			}
	pthread_mutex_unlock(&shard->lock);
	return found;
}

int hotpatch_shadow_detach(const void *object, unsigned long id, void (*free_inner)(void *memory))
{
	bool found = false;
	if (object)
		found = detach_one(object, id, free_inner);
	for (size_t i = 0; !object && i < SHARDS; i++)
		found |= detach_all(&shards[i], id, free_inner);
	return found ? 0 : refuse(HOTPATCH_ENOSYM, object, id, "there is none");
}

/* -- fork ---------------------------------------------------------------------------------------------------------- */

void hp_shadows_lock(void)
{
	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_lock(&shards[i].lock);
}

void hp_shadows_unlock(void)
{
	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_unlock(&shards[i].lock);
}
