#include <stdlib.h>
#include <string.h>

#include "remote/client.h"
#include "remote/talk.h"

/* -- Applying, reverting, switching ------------------------------------------------------------------------------ */

static void put_extents(struct hp_wire *out, const struct hp_remote_extent *extents, size_t n)
{
	hp_put(out, n, 1);
	for (size_t i = 0; i < n; i++) {
		hp_put(out, extents[i].low, 8);
		hp_put(out, extents[i].high, 8);
	}
}

static void put_ids(struct hp_wire *out, const uint64_t *ids, size_t n)
{
	hp_put(out, n, 4);
	for (size_t i = 0; i < n; i++)
		hp_put(out, ids[i], 8);
}

static void put_changes(struct hp_wire *out, const struct hp_remote_change *changes, size_t n)
{
	hp_put(out, n, 4);
	for (size_t i = 0; i < n; i++) {
		hp_put(out, changes[i].entry, 8);
		hp_put_str(out, changes[i].name);
		hp_put(out, changes[i].code, 8);
		put_extents(out, changes[i].extents, changes[i].n_extents);
		put_extents(out, changes[i].old, changes[i].n_old);
	}
}

static void put_apply(struct hp_wire *out, const struct hp_remote_apply *request)
{
	hp_put_str(out, request->name);
	hp_put(out, request->mode, 1);
	hp_put(out, (unsigned)((request->dry_run ? 1 : 0) | (request->aside ? 2 : 0)) | (request->is_ground ? 4u : 0u),
	       1);
	hp_put(out, request->timeout_ms, 4);
	hp_put(out, request->stall_ms, 4);
	hp_put(out, request->generation, 8);
	put_ids(out, request->regions, request->n_regions);
	put_ids(out, request->replaced, request->n_replaced);
	put_changes(out, request->changes, request->n_changes);
	hp_put(out, request->n_callbacks, 4);
	for (size_t i = 0; i < request->n_callbacks; i++) {
		hp_put(out, request->callbacks[i].event, 1);
		hp_put(out, request->callbacks[i].address, 8);
	}
	hp_put(out, request->n_data, 4);
	for (size_t i = 0; i < request->n_data; i++) {
		hp_put(out, request->data[i].address, 8);
		hp_put_bytes(out, request->data[i].bytes, request->data[i].size);
	}
	put_ids(out, request->uses, request->n_uses);
	hp_put_bytes(out, request->notes, request->notes_size);
}

/* What the agent may take beyond the time for any request: the runtime's default is 5 s. */
static unsigned patience(uint32_t timeout_ms)
{
	return (timeout_ms ? timeout_ms : 5000) + 1000;
}

int hp_remote_apply(struct hp_remote *remote, const struct hp_remote_apply *request,
                    struct hp_remote_result *ret_result, struct hp_err *err)
{
	*ret_result = (struct hp_remote_result){0};
	put_apply(hp_talk_begin(remote, HP_WIRE_APPLY), request);
	int error = hp_talk_ask(remote, patience(request->timeout_ms), ret_result, err);
	if (error)
		return error;
	ret_result->patch = hp_take(&remote->body, 8);
	ret_result->ns = hp_take(&remote->body, 8);
	ret_result->live = ret_result->left = !request->dry_run;
	return hp_talk_end(remote, err);
}

int hp_remote_revert(struct hp_remote *remote, const struct hp_remote_revert *request,
                     struct hp_remote_result *ret_result, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_REVERT);
	*ret_result = (struct hp_remote_result){.patch = request->patch};
	hp_put(out, request->patch, 8);
	hp_put_str(out, request->name ? request->name : "");
	hp_put(out, request->mode, 1);
	hp_put(out, request->timeout_ms, 4);
	hp_put(out, request->stall_ms, 4);
	int error = hp_talk_ask(remote, patience(request->timeout_ms), ret_result, err);
	if (error)
		return error;
	ret_result->ns = hp_take(&remote->body, 8);
	ret_result->live = ret_result->left = true;
	return hp_talk_end(remote, err);
}

int hp_remote_switch(struct hp_remote *remote, const struct hp_remote_switch *request,
                     struct hp_remote_result *ret_result, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_SWITCH);
	*ret_result = (struct hp_remote_result){.patch = request->patch};
	hp_put(out, request->patch, 8);
	hp_put(out, request->n_out, 4);
	for (size_t i = 0; i < request->n_out; i++)
		hp_put(out, request->out[i], 8);
	hp_put(out, request->aside ? 1 : 0, 1);
	hp_put(out, request->mode, 1);
	hp_put(out, request->timeout_ms, 4);
	hp_put(out, request->stall_ms, 4);
	int error = hp_talk_ask(remote, patience(request->timeout_ms), ret_result, err);
	if (error)
		return error;
	ret_result->ns = hp_take(&remote->body, 8);
	ret_result->live = ret_result->left = true;
	return hp_talk_end(remote, err);
}

int hp_remote_forget(struct hp_remote *remote, uint64_t patch, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, HP_WIRE_FORGET), patch, 8);
	int error = hp_talk_ask(remote, 0, NULL, err);
	return error ? error : hp_talk_end(remote, err);
}

int hp_remote_status(struct hp_remote *remote, uint64_t patch, uint32_t timeout_ms, struct hp_remote_result *ret_result,
                     struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_STATUS);
	*ret_result = (struct hp_remote_result){.patch = patch};
	hp_put(out, patch, 8);
	hp_put(out, timeout_ms, 4);
	int error = hp_talk_ask(remote, patience(timeout_ms), ret_result, err);
	if (error)
		return error;
	ret_result->left = hp_take(&remote->body, 1);
	hp_talk_take_blockers(&remote->body, ret_result);
	return hp_talk_end(remote, err);
}

void hp_remote_result_free(struct hp_remote_result *result)
{
	free(result->blockers);
	result->blockers = NULL;
	result->n_blockers = 0;
}

static void take_patch(struct hp_cursor *c, struct hp_remote_patch *patch)
{
	patch->id = hp_take(c, 8);
	patch->name = hp_talk_take_string(c);
	patch->since_s = hp_take(c, 8);
	patch->since_ns = (uint32_t)hp_take(c, 4);
	uint64_t state = hp_take(c, 1);
	patch->live = state == 1;
	patch->aside = state == 3;
	patch->n_changes = (uint32_t)hp_take(c, 4);
	patch->reason = hp_talk_take_string(c);
	patch->place = hp_talk_take_string(c);
	patch->address = hp_take(c, 8);
	patch->target = hp_take(c, 8);
	size_t n = hp_take_count(c, 4, HP_WIRE_REGIONS_MAX, 24);
	patch->regions = calloc(n + 1, sizeof(*patch->regions));
	c->bad |= !patch->name || !patch->reason || !patch->place || !patch->regions;
	for (size_t i = 0; i < n && !c->bad; i++) {
		struct hp_remote_region *region = &patch->regions[patch->n_regions++];
		region->id = hp_take(c, 8);
		region->address = hp_take(c, 8);
		region->size = hp_take(c, 8);
	}
} /* NOLINT(-Wanalyzer-malloc-leak): the patch has them */

int hp_remote_patches(struct hp_remote *remote, struct hp_remote_patches *ret_patches, struct hp_err *err)
{
	struct hp_remote_patches patches = {0};
	uint32_t total = 0, n = 0;
	int error;
	do {
		error = hp_talk_ask_part(remote, HP_WIRE_PATCHES, patches.n, err);
		if (!error && !hp_talk_take_part(&remote->body, patches.n, &total, &n, 51))
			error = hp_talk_nonsense(remote, err);
		if (!error && !hp_talk_grow((void **)&patches.v, patches.n, n, sizeof(*patches.v)))
			error = hp_talk_no_memory(err);
		for (uint32_t i = 0; i < n && !error; i++)
			take_patch(&remote->body, &patches.v[patches.n++]);
		if (!error)
			error = hp_talk_end(remote, err);
	} while (!error && patches.n < total);
	if (error)
		hp_remote_patches_free(&patches);
	else
		*ret_patches = patches;
	return error;
}

void hp_remote_patches_free(struct hp_remote_patches *patches)
{
	for (size_t i = 0; i < patches->n; i++) {
		free(patches->v[i].name);
		free(patches->v[i].reason);
		free(patches->v[i].place);
		free(patches->v[i].regions);
	}
	free(patches->v);
	*patches = (struct hp_remote_patches){0};
}

int hp_remote_wait(struct hp_remote *remote, const char *text, struct hp_remote_waits *ret_waits, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_WAIT);
	struct hp_remote_waits waits = {0};
	hp_put(out, text != NULL, 1);
	hp_put_str(out, text ? text : "");
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	waits.loads = hp_take(&remote->body, 8);
	uint32_t n = hp_take_count(&remote->body, 4, HP_WIRE_ITEMS_MAX, 6);
	if (!hp_talk_grow((void **)&waits.v, 0, n, sizeof(*waits.v)))
		return hp_talk_no_memory(err);
	for (; waits.n < n; waits.n++) {
		waits.v[waits.n].pid = (pid_t)hp_take(&remote->body, 4);
		waits.v[waits.n].text = hp_talk_take_string(&remote->body);
		remote->body.bad |= !waits.v[waits.n].text;
	}
	error = hp_talk_end(remote, err);
	if (error)
		hp_remote_waits_free(&waits);
	else
		*ret_waits = waits;
	return error;
}

void hp_remote_waits_free(struct hp_remote_waits *waits)
{
	for (size_t i = 0; i < waits->n; i++)
		free(waits->v[i].text);
	free(waits->v);
	*waits = (struct hp_remote_waits){0};
}

int hp_remote_notes(struct hp_remote *remote, uint64_t patch, void **ret_notes, size_t *ret_size, struct hp_err *err)
{
	uint32_t n;
	hp_put(hp_talk_begin(remote, HP_WIRE_NOTES), patch, 8);
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	const uint8_t *bytes = hp_take_bytes(&remote->body, &n);
	error = hp_talk_end(remote, err);
	void *notes = error ? NULL : malloc(n + 1u);
	if (!error && !notes)
		return hp_talk_no_memory(err);
	if (error)
		return error;
	memcpy(notes, bytes, n);
	*ret_notes = notes;
	*ret_size = n;
	return 0;
}

static void take_layer(struct hp_cursor *c, struct hp_remote_layer *layer)
{
	layer->entry = hp_take(c, 8);
	layer->function = hp_talk_take_string(c);
	layer->definition = hp_talk_take_string(c);
	layer->body = hp_take(c, 8);
	layer->patch = hp_talk_take_string(c);
	layer->patch_id = hp_take(c, 8);
	layer->since_s = hp_take(c, 8);
	layer->since_ns = (uint32_t)hp_take(c, 4);
	layer->level = (uint32_t)hp_take(c, 4);
	layer->current = hp_take(c, 1);
	c->bad |= !layer->function || !layer->definition || !layer->patch;
}

int hp_remote_changes(struct hp_remote *remote, struct hp_remote_layers *ret_layers, struct hp_err *err)
{
	struct hp_remote_layers layers = {0};
	uint32_t total = 0, n = 0;
	int error;
	do {
		error = hp_talk_ask_part(remote, HP_WIRE_CHANGES, layers.n, err);
		if (!error && !hp_talk_take_part(&remote->body, layers.n, &total, &n, 47))
			error = hp_talk_nonsense(remote, err);
		if (!error && !hp_talk_grow((void **)&layers.v, layers.n, n, sizeof(*layers.v)))
			error = hp_talk_no_memory(err);
		for (uint32_t i = 0; i < n && !error; i++)
			take_layer(&remote->body, &layers.v[layers.n++]);
		if (!error)
			error = hp_talk_end(remote, err);
	} while (!error && layers.n < total);
	if (error)
		hp_remote_layers_free(&layers);
	else
		*ret_layers = layers;
	return error;
}

void hp_remote_layers_free(struct hp_remote_layers *layers)
{
	for (size_t i = 0; i < layers->n; i++) {
		free(layers->v[i].function);
		free(layers->v[i].definition);
		free(layers->v[i].patch);
	}
	free(layers->v);
	*layers = (struct hp_remote_layers){0};
}
