#include "agent/order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/records.h"
#include "agent/regions.h"
#include "base/mapped.h"
#include "base/memory.h"

void hp_order_free(struct hp_order *order)
{
	if (!order)
		return;
	for (uint32_t i = 0; order->changes && i < order->n_changes; i++)
		free(order->changes[i].name);
	hp_memory_forget(order->changes, order->n_changes * sizeof(*order->changes));
	free(order->writes);
	hp_memory_forget(order, sizeof(*order));
}

void hp_order_take_options(struct hp_cursor *in, unsigned *ret_flags, struct hotpatch_options *options)
{
	*options = (struct hotpatch_options){.size = sizeof(*options), .mode = (enum hotpatch_mode)hp_take(in, 1)};
	if (ret_flags)
		*ret_flags = (unsigned)hp_take(in, 1);
	options->timeout_ms = (unsigned)hp_take(in, 4);
	options->stall_ms = (unsigned)hp_take(in, 4);
}

static void take_parts(struct hp_cursor *in, struct hp_parts *parts)
{
	parts->n = hp_take_count(in, 1, HP_PARTS_MAX, 16);
	for (size_t i = 0; i < parts->n; i++) {
		parts->v[i].low = hp_take(in, 8);
		parts->v[i].high = hp_take(in, 8);
		in->bad |= parts->v[i].low >= parts->v[i].high;
	}
}

static void take_changes(struct hp_cursor *in, struct hp_order *order)
{
	char name[HP_WIRE_STR_MAX + 1];
	uint32_t n = hp_take_count(in, 4, HP_WIRE_ITEMS_MAX, 20);
	order->changes = calloc(n + 1, sizeof(*order->changes));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): hp_order_free frees what changes have */
	for (uint32_t i = 0; order->changes && i < n && !in->bad; i++) {
		struct hp_order_change *change = &order->changes[order->n_changes++];
		change->entry = hp_take(in, 8);
		hp_take_str(in, name, sizeof(name));
		change->code = hp_take(in, 8);
		take_parts(in, &change->parts);
		take_parts(in, &change->old);
		change->name = strdup(name);
	}
}

static void take_writes(struct hp_cursor *in, struct hp_order *order)
{
	uint32_t n = hp_take_count(in, 4, HP_WIRE_WRITES_MAX, 12);
	order->writes = calloc(n + 1, sizeof(*order->writes));
	for (uint32_t i = 0; order->writes && i < n && !in->bad; i++) {
		struct hp_order_write *item = &order->writes[order->n_writes++];
		item->address = hp_take(in, 8);
		item->bytes = hp_take_bytes(in, &item->n);
	}
}

/* A way back stands behind its way there. */
static void take_callback(struct hp_cursor *in, struct hp_order *order, uint32_t i)
{
	unsigned event = (unsigned)hp_take(in, 1);
	order->callbacks[i].event = event;
	order->callbacks[i].address = hp_take(in, 8);
	in->bad |= event > HP_WIRE_MIGRATE_BACK ||
	           (event == HP_WIRE_MIGRATE_BACK && (i == 0 || order->callbacks[i - 1].event != HP_WIRE_MIGRATE));
}

/* What earlier patches have and this one refers to: as the regions it lies in, each once. */
static void take_use(const struct hp_agent *agent, struct hp_cursor *in, struct hp_order *order)
{
	uint64_t address = hp_take(in, 8);
	const struct hp_region *region = hp_region_at(agent, address);
	if (!region || region->client) {
		order->lost = address;
		return;
	}
	for (size_t i = 0; i < order->n_used; i++)
		if (order->used[i] == region->id)
			return;
	if (order->n_used < HP_WIRE_REGIONS_MAX)
		order->used[order->n_used++] = region->id;
	else
		in->bad = true;
}

int hp_order_take(struct hp_exchange *x, struct hp_order *order)
{
	struct hp_cursor *in = &x->in;
	unsigned flags = 0;
	hp_take_str(in, order->name, sizeof(order->name));
	hp_order_take_options(in, &flags, &order->options);
	order->dry = flags & 1;
	order->aside = flags & 2;
	order->is_ground = flags & 4;
	order->generation = hp_take(in, 8);
	order->n_regions = hp_take_count(in, 4, HP_WIRE_REGIONS_MAX, 8);
	for (uint32_t i = 0; i < order->n_regions; i++)
		order->regions[i] = hp_take(in, 8);
	order->n_replaced = hp_take_count(in, 4, HP_WIRE_REGIONS_MAX, 8);
	for (uint32_t i = 0; i < order->n_replaced; i++)
		order->replaced_ids[i] = hp_take(in, 8);
	take_changes(in, order);
	order->n_callbacks = hp_take_count(in, 4, HP_WIRE_CALLBACKS_MAX, 9);
	for (uint32_t i = 0; i < order->n_callbacks; i++)
		take_callback(in, order, i);
	take_writes(in, order);
	order->n_uses = hp_take_count(in, 4, HP_WIRE_USES_MAX, 8);
	for (uint32_t i = 0; i < order->n_uses; i++)
		take_use(x->agent, in, order);
	order->notes = hp_take_bytes(in, &order->notes_size);
	in->bad |= order->notes_size > HP_WIRE_NOTES_MAX;
	if (!order->changes || !order->writes)
		return hp_err_set(&x->err, HOTPATCH_ENOMEM, "no memory for the request");
	return hp_request_read(x);
}

/* -- Checks ------------------------------------------------------------------------------------------------------ */

static bool is_code(uintptr_t low, uintptr_t high)
{
	return hp_mapped_is_text(low, high - low);
}

int hp_order_check_change(const struct hp_order *order, const struct hp_order_change *change, struct hp_err *err)
{
	if (!change->name)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the request");
	if (!is_code(change->entry, change->entry + 1) || (change->old.n && change->old.v[0].low != change->entry))
		return hp_err_set(err, HOTPATCH_ENOTFUNC, "'%s' (%#lx) is no function of a loaded image", change->name,
		                  (unsigned long)change->entry);
	for (size_t i = 0; i < change->old.n; i++)
		if (!is_code(change->old.v[i].low, change->old.v[i].high))
			return hp_err_set(err, HOTPATCH_ENOTFUNC, "a part of '%s' (%#lx) is no code of a loaded image",
			                  change->name, (unsigned long)change->old.v[i].low);
	if (order->dry && !change->code)
		return 0;
	bool sound =
		change->parts.n > 0 && change->code >= change->parts.v[0].low && change->code < change->parts.v[0].high;
	for (size_t i = 0; i < change->parts.n; i++)
		sound &= is_code(change->parts.v[i].low, change->parts.v[i].high);
	return sound ? 0
	             : hp_err_set(err, HOTPATCH_EINVAL,
	                          "the new code of '%s' (%#lx) is not in a region that is sealed and registered",
	                          change->name, (unsigned long)change->code);
}

/* Data is written while callers are held: it must be certain by then that it can be. */
static bool is_writable(uintptr_t address, size_t size)
{
	FILE *maps = fopen("/proc/thread-self/maps", "re");
	char line[512], flags[5];
	unsigned long low, high;
	while (maps && size && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &low, &high, flags) == 3 && address >= low && address < high) {
			size_t n = high - address < size ? high - address : size;
			if (flags[1] != 'w')
				break;
			address += n;
			size -= n;
		}
	if (maps)
		fclose(maps);
	return size == 0;
}

static int check_callbacks_and_data(const struct hp_order *order, struct hp_err *err)
{
	for (uint32_t i = 0; i < order->n_callbacks; i++)
		if (!(order->callbacks[i].event == HP_WIRE_MIGRATE_BACK && !order->callbacks[i].address) &&
		    !is_code(order->callbacks[i].address, order->callbacks[i].address + 1))
			return hp_err_set(err, HOTPATCH_EINVAL, "a callback (%#lx) is no code of a loaded image",
			                  (unsigned long)order->callbacks[i].address);
	for (uint32_t i = 0; i < order->n_writes; i++)
		if (!is_writable(order->writes[i].address, order->writes[i].n))
			return hp_err_set(err, HOTPATCH_EINVAL, "%u bytes of data at %#lx cannot be written",
			                  order->writes[i].n, (unsigned long)order->writes[i].address);
	return 0;
}

/* A region that the order does not name goes with the connection, and all that is in it. */
static bool stays(const struct hp_exchange *x, const struct hp_order *order, uintptr_t address)
{
	const struct hp_region *region = x->agent->regions;
	while (region && address - region->address >= region->size)
		region = region->next;
	bool named = !region || !region->client;
	for (uint32_t i = 0; i < order->n_regions && !named; i++)
		named = order->regions[i] == region->id;
	return named;
}

static int check_regions(const struct hp_exchange *x, const struct hp_order *order, struct hp_err *err)
{
	bool stay = true;
	for (uint32_t i = 0; i < order->n_regions; i++) {
		const struct hp_region *region = hp_region_find(x->agent, order->regions[i]);
		if (!region || region->client != x->client->id || !region->sealed)
			return hp_err_set(err, HOTPATCH_EINVAL, "this connection has no sealed region %llu",
			                  (unsigned long long)order->regions[i]);
	}
	for (uint32_t i = 0; i < order->n_changes; i++)
		stay &= stays(x, order, order->changes[i].code);
	for (uint32_t i = 0; i < order->n_callbacks; i++)
		stay &= stays(x, order, order->callbacks[i].address);
	return stay ? 0
	            : hp_err_set(err, HOTPATCH_EINVAL,
	                         "code of patch '%s' lies in a region that the request does not name, and which would "
	                         "go with the connection",
	                         order->name);
}

static int find_replaced(const struct hp_exchange *x, struct hp_order *order, struct hp_err *err)
{
	for (uint32_t i = 0; i < order->n_replaced; i++) {
		struct hp_record *record = hp_record_find(x->agent, order->replaced_ids[i]);
		for (uint32_t k = 0; k < i; k++)
			if (order->replaced_ids[k] == order->replaced_ids[i])
				record = NULL;
		if (!record || !record->patch)
			return hp_err_set(err, HOTPATCH_ESTATE, "patch %llu, which is to be replaced, is not in force",
			                  (unsigned long long)order->replaced_ids[i]);
		order->replaced[i] = record->patch;
	}
	return 0;
}

static int check_name(const struct hp_exchange *x, const struct hp_order *order, struct hp_err *err)
{
	const struct hp_record *record = hp_record_named(x->agent, order->name);
	if (!*order->name)
		return hp_err_set(err, HOTPATCH_EINVAL, "a patch must have a name");
	for (uint32_t i = 0; record && i < order->n_replaced; i++)
		if (order->replaced[i] == record->patch)
			return 0;
	return record ? hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is in force already", order->name) : 0;
}

/* It takes part in no transition, in which callbacks and data would have their moment. */
static int check_empty(const struct hp_order *order, struct hp_err *err)
{
	if (order->n_changes || (!order->n_callbacks && !order->n_writes))
		return 0;
	return hp_err_set(err, HOTPATCH_EINVAL, "patch '%s' changes no function, but has callbacks or data",
	                  order->name);
}

int hp_order_check(const struct hp_exchange *x, struct hp_order *order, struct hp_err *err)
{
	int error = order->generation && order->generation != hp_mapped_generation()
	                    ? hp_err_set(err, HOTPATCH_ESTATE, "libraries were loaded or unloaded meanwhile; try again")
	                    : check_callbacks_and_data(order, err);
	if (!error && order->lost)
		error = hp_err_set(err, HOTPATCH_ESTATE,
		                   "the patch that has %#lx, to which this one refers, has gone meanwhile; try again",
		                   (unsigned long)order->lost);
	if (!error)
		error = check_regions(x, order, err);
	if (!error)
		error = find_replaced(x, order, err);
	if (!error)
		error = check_empty(order, err);
	return error ? error : check_name(x, order, err);
}
