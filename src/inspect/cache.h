/* cache - what has been read of modules, until a file changes or everything is forgotten.
 *
 * A module is known by its path and by which file that was: device, inode, time, size. Reading one again after it was
 * rebuilt under the same path gives a new entry; the old one is kept until hp_cache_sweep, because a caller may hold
 * it. Symbols are read at once, types when they are first compared.
 */
#ifndef HP_INSPECT_CACHE_H
#define HP_INSPECT_CACHE_H

#include "elf/symbols.h"
#include "types/debuginfo.h"

struct hp_cached {
	struct hp_cached *next;
	char *path;
	struct hp_symbols *symbols;
	struct hp_debuginfo *debuginfo; /* NULL until hp_cached_debuginfo */
};

struct hp_cache {
	struct hp_cached *first; /* of each path the latest */
	struct hp_cached *stale;
};

/* Finds or reads the module; refuses it when its build-id is not the module's. What it returns is valid until the
 * next sweep or clear. */
int hp_cache_get(struct hp_cache *cache, const struct hp_module *module, struct hp_cached **ret_cached,
                 struct hp_err *err) HP_MUST_CHECK;

/* The types of what hp_cache_get found. */
int hp_cached_debuginfo(struct hp_cached *cached, const struct hp_module *module, struct hp_debuginfo **ret_info,
                        struct hp_err *err) HP_MUST_CHECK;

/* Drops what is out of date; drops everything. */
void hp_cache_sweep(struct hp_cache *cache);
void hp_cache_clear(struct hp_cache *cache);

#endif
