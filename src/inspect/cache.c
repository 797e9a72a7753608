#include "inspect/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "elf/debugfile.h"

static void free_cached(struct hp_cached *cached)
{
	if (!cached)
		return;
	hp_symbols_free(cached->symbols);
	hp_debuginfo_close(cached->debuginfo);
	free(cached->path);
	free(cached);
}

static void free_list(struct hp_cached **list)
{
	while (*list) {
		struct hp_cached *cached = *list;
		*list = cached->next;
		free_cached(cached);
	}
}

static struct hp_cached **find(struct hp_cache *cache, const char *path)
{
	struct hp_cached **at = &cache->first;

	while (*at && strcmp((*at)->path, path) != 0)
		at = &(*at)->next;
	return at;
}

static int read_cached(const struct hp_module *module, struct hp_cached **ret_cached, struct hp_err *err)
{
	struct hp_image *image = NULL;
	int r = HOTPATCH_ENOMEM;
	struct hp_cached *cached = calloc(1, sizeof(*cached));

	if (!cached || !(cached->path = strdup(module->path))) {
		hp_err_set(err, r, "no memory to read '%s'", module->name);
		goto out;
	}
	if ((r = hp_image_open(module->path, module->name, &image, err)) < 0)
		goto out;
	if ((r = hp_image_expect(image, module, err)) < 0)
		goto out;
	if ((r = hp_symbols_read(image, HP_DEBUG_ROOT, &cached->symbols, err)) < 0)
		goto out;
	*ret_cached = cached;
	cached = NULL;
out:
	hp_image_close(image);
	free_cached(cached);
	return r;
}

int hp_cache_get(struct hp_cache *cache, const struct hp_module *module, struct hp_cached **ret_cached,
                 struct hp_err *err)
{
	struct stat status;
	struct hp_cached **at = find(cache, module->path), *cached = *at;

	if (stat(module->path, &status) < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot open '%s'", module->path);
	struct hp_identity identity = hp_identity_of(&status);
	if (cached && hp_identity_same(&identity, &cached->symbols->identity)) {
		const struct hp_symbols *symbols = cached->symbols;
		*ret_cached = cached;
		return hp_build_id_expect(symbols->build_id, symbols->build_id_size, module, err);
	}
	if (cached) {
		*at = cached->next;
		cached->next = cache->stale;
		cache->stale = cached;
	}
	int r = read_cached(module, &cached, err);
	if (r < 0)
		return r;
	cached->next = cache->first;
	*ret_cached = cache->first = cached;
	return 0;
}

int hp_cached_debuginfo(struct hp_cached *cached, const struct hp_module *module, struct hp_debuginfo **ret_info,
                        struct hp_err *err)
{
	int r = 0;

	if (!cached->debuginfo)
		r = hp_debuginfo_open(module->path, module->name, &cached->symbols->identity, HP_DEBUG_ROOT,
		                      &cached->debuginfo, err);
	if (r == 0)
		*ret_info = cached->debuginfo;
	return r;
}

void hp_cache_sweep(struct hp_cache *cache)
{
	free_list(&cache->stale);
}

void hp_cache_clear(struct hp_cache *cache)
{
	free_list(&cache->first);
	free_list(&cache->stale);
}
