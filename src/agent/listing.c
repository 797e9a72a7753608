/* listing - what is in force, by whose patch, and who is still in what was replaced. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/records.h"
#include "agent/regions.h"
#include "agent/requests.h"
#include "base/mapped.h"
#include "live/registry.h"

enum { ROOM = HP_WIRE_BODY_MAX - 4 * HP_WIRE_STR_MAX }; /* where an answer ends that has a next part */

/* -- Patches ----------------------------------------------------------------------------------------------------- */

static void put_record(const struct hp_agent *agent, struct hp_wire *out, const struct hp_record *record)
{
	hp_put(out, record->id, 8);
	hp_put_str(out, record->name);
	hp_put(out, (uint64_t)record->since.tv_sec, 8);
	hp_put(out, (uint64_t)record->since.tv_nsec, 4);
	hp_put(out, record->patch ? 1 : record->aside ? 3 : 2, 1);
	hp_put(out, record->n_changes, 4);
	hp_put_str(out, record->left.reason);
	hp_put_str(out, record->left.place);
	hp_put(out, record->left.address, 8);
	hp_put(out, record->left.target, 8);
	hp_put(out, record->n_regions, 4);
	for (size_t i = 0; i < record->n_regions; i++) {
		const struct hp_region *region = hp_region_find(agent, record->regions[i]);
		hp_put(out, record->regions[i], 8);
		hp_put(out, region ? region->address : 0, 8);
		hp_put(out, region ? region->size : 0, 8);
	}
}

int hp_record_patches_handle(struct hp_exchange *x)
{
	struct hp_wire *out = x->out;
	uint32_t first = (uint32_t)hp_take(&x->in, 4), total = 0, n = 0;
	int error = hp_request_read(x);
	if (error)
		return error;
	size_t total_at = hp_put_later(out), n_at = hp_put_later(out);
	for (const struct hp_record *record = x->agent->records; record; record = record->next, total++)
		if (total >= first && out->n < ROOM) {
			put_record(x->agent, out, record);
			n++;
		}
	hp_put_at(out, total_at, total);
	hp_put_at(out, n_at, n);
	return 0;
}

int hp_record_notes_handle(struct hp_exchange *x)
{
	uint64_t id = hp_take(&x->in, 8);
	int error = hp_request_read(x);
	const struct hp_record *record = hp_record_find(x->agent, id);
	if (!error && !record)
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "there is no patch %llu", (unsigned long long)id);
	if (!error)
		hp_put_bytes(x->out, record->notes, record->notes_size);
	return error;
}

/* -- Who waits for what -------------------------------------------------------------------------------------------- */

static uint32_t peer_of(const struct hp_client *client)
{
	struct ucred peer = {.pid = 0};
	socklen_t size = sizeof(peer);
	return getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? (uint32_t)peer.pid : 0;
}

/* Clients look often; what they wait for goes with them. */
int hp_client_wait_handle(struct hp_exchange *x)
{
	char text[sizeof(x->client->waits)];
	bool waits = hp_take(&x->in, 1) & 1;
	uint32_t n = 0;
	hp_take_str(&x->in, text, sizeof(text));
	int error = hp_request_read(x);
	if (!error)
		error = hp_registry_enter(&x->err);
	if (error)
		return error;
	hp_put(x->out, hp_mapped_loads(), 8);
	hp_registry_leave();
	if (waits)
		memcpy(x->client->waits, text, sizeof(text));
	size_t at = hp_put_later(x->out);
	for (const struct hp_client *client = x->agent->clients; client; client = client->next)
		if (*client->waits) {
			hp_put(x->out, peer_of(client), 4);
			hp_put_str(x->out, client->waits);
			n++;
		}
	hp_put_at(x->out, at, n);
	return 0;
}

/* -- Changes ----------------------------------------------------------------------------------------------------- */

struct changes {
	const struct hp_agent *agent;
	struct hp_wire *out;
	uint32_t first, total, n;
};

static uint64_t record_of(const struct hp_agent *agent, const struct hotpatch *patch)
{
	const struct hp_record *record = agent->records;
	while (record && !(patch && record->patch == patch))
		record = record->next;
	return record ? record->id : 0;
}

static void put_layer(struct changes *changes, const struct hp_site *site, size_t level)
{
	const struct hp_layer *layer = &site->layers[level];
	struct hp_wire *out = changes->out;
	hp_put(out, site->entry, 8);
	hp_put_str(out, site->name);
	hp_put_str(out, layer->definition->name);
	hp_put(out, layer->definition->body, 8);
	hp_put_str(out, layer->patch_name);
	hp_put(out, record_of(changes->agent, layer->patch), 8);
	hp_put(out, (uint64_t)layer->since.tv_sec, 8);
	hp_put(out, (uint64_t)layer->since.tv_nsec, 4);
	hp_put(out, level + 1, 4);
	hp_put(out, level + 1 == site->n_layers, 1);
}

static int put_layers(struct hp_site *site, void *arg)
{
	struct changes *changes = arg;
	for (size_t i = 0; i < site->n_layers; i++, changes->total++)
		if (changes->total >= changes->first && changes->out->n < ROOM) {
			put_layer(changes, site, i);
			changes->n++;
		}
	return 0;
}

int hp_record_changes_handle(struct hp_exchange *x)
{
	struct changes changes = {.agent = x->agent, .out = x->out};
	changes.first = (uint32_t)hp_take(&x->in, 4);
	int error = hp_request_read(x);
	if (!error)
		error = hp_registry_enter(&x->err);
	if (error)
		return error;
	size_t total = hp_put_later(x->out), n = hp_put_later(x->out);
	hp_layers_lock();
	hp_sites_each(put_layers, &changes);
	hp_layers_unlock();
	hp_registry_leave();
	hp_put_at(x->out, total, changes.total);
	hp_put_at(x->out, n, changes.n);
	return 0;
}

/* -- Who is still there ------------------------------------------------------------------------------------------- */

struct status {
	const struct hp_record *record;
	struct hp_session *session;
	struct hp_wire blockers;
	uint32_t n_blockers;
};

static bool has_region(const struct hp_agent *agent, const struct hp_record *record, uintptr_t address)
{
	for (size_t i = 0; i < record->n_regions; i++) {
		const struct hp_region *region = hp_region_find(agent, record->regions[i]);
		if (region && address >= region->address && address - region->address < region->size)
			return true;
	}
	return false;
}

static void look_for(struct status *status, const struct hp_site *site, const struct hp_definition *definition)
{
	struct hp_outcome *outcome = status->session->outcome;
	outcome->n_obstacles = 0;
	if (hp_definition_is_left(definition, outcome))
		return;
	if (status->n_blockers + outcome->n_obstacles <= HP_WIRE_BLOCKERS_MAX)
		status->n_blockers += hp_request_put_blockers(&status->blockers, outcome, site->name);
}

/* What the patch replaced, as long as it is in force; what it brought, once it is not. */
static int look_at_site(struct status *status, struct hp_site *site, const struct hp_agent *agent)
{
	const struct hp_record *record = status->record;
	bool changed = false;
	for (size_t i = 0; i < site->n_layers; i++)
		changed |= record->patch && site->layers[i].patch == record->patch;
	if (changed && !site->layers[site->n_layers - 1].definition->is_original)
		look_for(status, site, &site->original);
	for (const struct hp_definition *d = site->lingering; d; d = d->next)
		if (changed || has_region(agent, record, d->body))
			look_for(status, site, d);
	return 0;
}

struct look {
	struct status *status;
	const struct hp_agent *agent;
};

static int look_at_each(struct hp_site *site, void *arg)
{
	struct look *look = arg;
	return look_at_site(look->status, site, look->agent);
}

int hp_record_status_handle(struct hp_exchange *x)
{
	uint64_t id = hp_take(&x->in, 8);
	struct hotpatch_options options = {.size = sizeof(options)};
	struct hp_session session;
	options.timeout_ms = (unsigned)hp_take(&x->in, 4);
	int error = hp_request_read(x);
	struct status status = {hp_record_find(x->agent, id), &session, {0}, 0};
	if (!error && !status.record)
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "there is no patch %llu", (unsigned long long)id);
	if (error)
		return error;
	error = hp_session_begin(&session, &options, __builtin_frame_address(0));
	if (!error && (error = hp_registry_enter(&session.err)) == 0) {
		hp_registry_leave();
		hp_sites_each(look_at_each, &(struct look){&status, x->agent});
	}
	if (error)
		x->err = session.err;
	hp_session_close(&session);
	hp_put(x->out, status.n_blockers == 0, 1);
	hp_put(x->out, status.n_blockers, 4);
	uint8_t *at = hp_put_space(x->out, status.blockers.n);
	if (at && status.blockers.n)
		memcpy(at, status.blockers.v, status.blockers.n);
	hp_wire_free(&status.blockers);
	return error;
}
