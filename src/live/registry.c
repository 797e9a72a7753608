#include "live/registry.h"

#include <stdlib.h>

/* Readers go without a lock: a table is published whole, and an outgrown one is kept for those still in it; all of them
 * together are smaller than the one that came after. */
struct table {
	size_t size; /* a power of two, at least twice used */
	_Atomic size_t used;
	struct table *outgrown; /* for nobody but leak checkers, which would take it for lost */
	_Atomic(struct hp_site *) v[];
};

static _Atomic(struct table *) registry;

static size_t place(const struct table *table, uintptr_t entry)
{
	size_t i = (size_t)((entry * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (table->size - 1);
	for (;; i = (i + 1) & (table->size - 1)) {
		const struct hp_site *site = atomic_load(&table->v[i]);
		if (!site || site->entry == entry)
			return i;
	}
}

struct hp_site *hp_site_at(uintptr_t entry)
{
	struct table *table = atomic_load(&registry);
	return table ? atomic_load(&table->v[place(table, entry)]) : NULL;
}

static int registry_grow(struct hp_err *err)
{
	struct table *old = atomic_load(&registry);
	size_t size = old ? 2 * old->size : 64;
	struct table *table = calloc(1, sizeof(*table) + size * sizeof(table->v[0]));
	if (!table)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the table of %zu sites", size);
	table->size = size;
	table->outgrown = old;
	for (size_t i = 0; old && i < old->size; i++) {
		struct hp_site *site = atomic_load(&old->v[i]);
		if (site) {
			atomic_store(&table->v[place(table, site->entry)], site);
			table->used++;
		}
	}
	atomic_store(&registry, table);
	return 0;
}

int hp_registry_reserve(struct hp_err *err)
{
	struct table *table = atomic_load(&registry);
	return table && 2 * (table->used + 1) <= table->size ? 0 : registry_grow(err);
}

void hp_registry_add(struct hp_site *site)
{
	struct table *table = atomic_load(&registry);
	table->used++;
	atomic_store(&table->v[place(table, site->entry)], site);
}

static int compare(const void *a, const void *b)
{
	uintptr_t left = (*(struct hp_site *const *)a)->entry, right = (*(struct hp_site *const *)b)->entry;
	return left < right ? -1 : left > right;
}

static int each_as_they_lie(const struct table *table, int (*each)(struct hp_site *site, void *arg), void *arg)
{
	int result = 0;
	for (size_t i = 0; i < table->size && result == 0; i++) {
		struct hp_site *site = atomic_load(&table->v[i]);
		result = site ? each(site, arg) : 0;
	}
	return result;
}

int hp_sites_each_unordered(int (*each)(struct hp_site *site, void *arg), void *arg)
{
	const struct table *table = atomic_load(&registry);
	return table ? each_as_they_lie(table, each, arg) : 0;
}

int hp_sites_each(int (*each)(struct hp_site *site, void *arg), void *arg)
{
	struct table *table = atomic_load(&registry);
	if (!table)
		return 0;
	size_t room = table->used + 1; /* more may come meanwhile, which are not waited for */
	struct hp_site **sites = calloc(room, sizeof(struct hp_site *));
	if (!sites)
		return each_as_they_lie(table, each, arg); /* an answer is worth more than its order */
	size_t n = 0;
	int result = 0;
	for (size_t i = 0; i < table->size && n < room; i++)
		if (atomic_load(&table->v[i]))
			sites[n++] = atomic_load(&table->v[i]);
	qsort(sites, n, sizeof(struct hp_site *), compare);
	for (size_t i = 0; i < n && result == 0; i++)
		result = each(sites[i], arg);
	free(sites);
	return result;
}
