/* registry - all sites, by entry: a hash table that is only added to. */
#ifndef HP_LIVE_REGISTRY_H
#define HP_LIVE_REGISTRY_H

#include "live/site.h"

/* The site at entry if there is one. Async-signal-safe. */
struct hp_site *hp_site_at(uintptr_t entry);

/* Calls each for every site there is when it begins, in order of entry if there is memory for that, until it returns
 * something else than 0. */
int hp_sites_each(int (*each)(struct hp_site *site, void *arg), void *arg);

/* The same as they lie. Async-signal-safe. */
int hp_sites_each_unordered(int (*each)(struct hp_site *site, void *arg), void *arg);

/* Makes room for one more, so that adding it cannot fail. One caller at a time. */
int hp_registry_reserve(struct hp_err *err) HP_MUST_CHECK;
void hp_registry_add(struct hp_site *site);

#endif
