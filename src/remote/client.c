#include "remote/client.h"

#include <stdlib.h>
#include <string.h>

#include "remote/talk.h"

/* -- Images and symbols -------------------------------------------------------------------------------------------- */

static char *take_string(struct hp_cursor *c)
{
	char text[HP_WIRE_STR_MAX + 1];
	hp_take_str(c, text, sizeof(text));
	return strdup(text);
}

static void take_image(struct hp_cursor *c, struct hp_remote_image *image)
{
	enum { SEGMENTS = sizeof(image->segments) / sizeof(*image->segments) };
	image->path = take_string(c);
	image->name = take_string(c);
	image->bias = hp_take(c, 8);
	image->low = hp_take(c, 8);
	image->high = hp_take(c, 8);
	uint64_t flags = hp_take(c, 4);
	image->is_program = flags & 1;
	image->is_linked = flags & 2;
	image->is_vdso = flags & 4;
	image->tls_module = hp_take(c, 8);
	image->tls_offset = (int64_t)hp_take(c, 8);
	image->tls_size = hp_take(c, 8);
	image->n_segments = hp_take_count(c, 1, SEGMENTS, 20);
	for (size_t i = 0; i < image->n_segments; i++) {
		image->segments[i].low = hp_take(c, 8);
		image->segments[i].high = hp_take(c, 8);
		image->segments[i].flags = (uint32_t)hp_take(c, 4);
	}
	image->build_id_size = hp_take_count(c, 2, sizeof(image->build_id), 1);
	for (size_t i = 0; i < image->build_id_size; i++)
		image->build_id[i] = (uint8_t)hp_take(c, 1);
	c->bad |= !image->path || !image->name;
}

/* Room for n more items. */
static bool grow(void **array, size_t n_now, size_t n, size_t size)
{
	void *grown = realloc(*array, (n_now + n + 1) * size);
	if (!grown)
		return false;
	*array = grown;
	memset((char *)grown + n_now * size, 0, (n + 1) * size);
	return true;
}

/* Lists come in parts: asks for the one that begins at `first`, and says how long it and the whole are. */
static int ask_part(struct hp_remote *remote, enum hp_wire_kind kind, size_t first, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, kind), first, 4);
	return hp_talk_ask(remote, 0, NULL, err);
}

static int no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for what the agent lists");
}

/* Counts of one part: false where it makes no sense, or brings nothing although there is more. */
static bool take_part(struct hp_cursor *c, size_t first, uint32_t *ret_total, uint32_t *ret_n, size_t item_size)
{
	*ret_total = (uint32_t)hp_take(c, 4);
	*ret_n = hp_take_count(c, 4, UINT32_MAX, item_size);
	return !c->bad && (*ret_n > 0 || first >= *ret_total);
}

static int take_images(struct hp_remote *remote, struct hp_remote_images *images, uint32_t *ret_total,
                       struct hp_err *err)
{
	uint32_t n;
	uint64_t generation = hp_take(&remote->body, 8);
	if (images->n && generation != images->generation)
		return hp_err_set(err, HOTPATCH_ESTATE, "libraries were loaded or unloaded meanwhile; try again");
	images->generation = generation;
	if (!take_part(&remote->body, images->n, ret_total, &n, 59))
		return hp_talk_nonsense(remote, err);
	if (!grow((void **)&images->v, images->n, n, sizeof(*images->v)))
		return no_memory(err);
	for (uint32_t i = 0; i < n; i++)
		take_image(&remote->body, &images->v[images->n++]);
	return hp_talk_end(remote, err);
}

int hp_remote_images(struct hp_remote *remote, struct hp_remote_images *ret_images, struct hp_err *err)
{
	struct hp_remote_images images = {0};
	uint32_t total;
	int error;
	do {
		error = ask_part(remote, HP_WIRE_IMAGES, images.n, err);
		if (!error)
			error = take_images(remote, &images, &total, err);
	} while (!error && images.n < total);
	if (error)
		hp_remote_images_free(&images);
	else
		*ret_images = images;
	return error;
}

void hp_remote_images_free(struct hp_remote_images *images)
{
	for (size_t i = 0; i < images->n; i++) {
		free(images->v[i].path);
		free(images->v[i].name);
	}
	free(images->v);
	*images = (struct hp_remote_images){0};
}

enum { SYMBOLS_AT_ONCE = 8192, BYTES_AT_ONCE = 1 << 20 };

static int ask_symbols(struct hp_remote *remote, struct hp_remote_symbol *symbols, size_t n, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_SYMBOLS);
	hp_put(out, n, 4);
	for (size_t i = 0; i < n; i++) {
		hp_put(out, symbols[i].image, 8);
		hp_put(out, symbols[i].defined_there, 1);
		hp_put_str(out, symbols[i].name);
		hp_put_str(out, symbols[i].version ? symbols[i].version : "");
	}
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	if (hp_take(&remote->body, 4) != n)
		return hp_talk_nonsense(remote, err);
	for (size_t i = 0; i < n; i++)
		symbols[i].address = hp_take(&remote->body, 8);
	return hp_talk_end(remote, err);
}

/* As many as fit into a frame, by a generous estimate. */
static size_t symbols_that_fit(const struct hp_remote_symbol *symbols, size_t n)
{
	size_t bytes = 0, i = 0;
	while (i < n && i < SYMBOLS_AT_ONCE && bytes < BYTES_AT_ONCE) {
		bytes += 13 + strlen(symbols[i].name) + (symbols[i].version ? strlen(symbols[i].version) : 0);
		i++;
	}
	return i;
}

int hp_remote_symbols(struct hp_remote *remote, struct hp_remote_symbol *symbols, size_t n, struct hp_err *err)
{
	int error = 0;
	for (size_t done = 0, part; done < n && !error; done += part) {
		part = symbols_that_fit(symbols + done, n - done);
		error = ask_symbols(remote, symbols + done, part, err);
	}
	return error;
}

int hp_remote_ifunc(struct hp_remote *remote, uint64_t resolver, uint64_t *ret_address, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, HP_WIRE_IFUNC), resolver, 8);
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	*ret_address = hp_take(&remote->body, 8);
	return hp_talk_end(remote, err);
}

/* -- Memory -------------------------------------------------------------------------------------------------------- */

static int read_some(struct hp_remote *remote, bool original, struct hp_remote_range *ranges, size_t n,
                     struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_READ);
	hp_put(out, original, 1);
	hp_put(out, n, 4);
	for (size_t i = 0; i < n; i++) {
		hp_put(out, ranges[i].address, 8);
		hp_put(out, ranges[i].size, 4);
	}
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	if (hp_take(&remote->body, 4) != n)
		return hp_talk_nonsense(remote, err);
	for (size_t i = 0; i < n; i++) {
		uint32_t got;
		const uint8_t *bytes = hp_take_bytes(&remote->body, &got);
		if (!bytes || got > ranges[i].size)
			return hp_talk_nonsense(remote, err);
		memcpy(ranges[i].buffer, bytes, got);
		ranges[i].got = got;
	}
	return hp_talk_end(remote, err);
}

int hp_remote_read(struct hp_remote *remote, bool original, struct hp_remote_range *ranges, size_t n,
                   struct hp_err *err)
{
	int error = 0;
	for (size_t done = 0; done < n && !error;) {
		size_t part = 0, bytes = 0;
		while (done + part < n && part < SYMBOLS_AT_ONCE &&
		       (part == 0 || bytes + ranges[done + part].size <= BYTES_AT_ONCE))
			bytes += ranges[done + part++].size;
		error = read_some(remote, original, ranges + done, part, err);
		done += part;
	}
	return error;
}

int hp_remote_reserve(struct hp_remote *remote, uint64_t low, uint64_t high, uint64_t size,
                      struct hp_remote_region *ret_region, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_RESERVE);
	hp_put(out, low, 8);
	hp_put(out, high, 8);
	hp_put(out, size, 8);
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	struct hp_remote_region region = {.id = hp_take(&remote->body, 8)};
	region.address = hp_take(&remote->body, 8);
	region.size = hp_take(&remote->body, 8);
	error = hp_talk_end(remote, err);
	if (!error)
		*ret_region = region;
	return error;
}

int hp_remote_write(struct hp_remote *remote, uint64_t region, uint64_t offset, const void *bytes, size_t n,
                    struct hp_err *err)
{
	int error = 0;
	for (size_t done = 0; done < n && !error;) {
		size_t part = n - done < BYTES_AT_ONCE ? n - done : BYTES_AT_ONCE;
		struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_WRITE);
		hp_put(out, region, 8);
		hp_put(out, offset + done, 8);
		hp_put_bytes(out, (const uint8_t *)bytes + done, part);
		error = hp_talk_ask(remote, 0, NULL, err);
		if (!error)
			error = hp_talk_end(remote, err);
		done += part;
	}
	return error;
}

int hp_remote_seal(struct hp_remote *remote, uint64_t region, const struct hp_remote_seal *seals, size_t n,
                   struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_SEAL);
	hp_put(out, region, 8);
	hp_put(out, n, 4);
	for (size_t i = 0; i < n; i++) {
		hp_put(out, seals[i].offset, 8);
		hp_put(out, seals[i].size, 8);
		hp_put(out, seals[i].protection, 1);
	}
	int error = hp_talk_ask(remote, 0, NULL, err);
	return error ? error : hp_talk_end(remote, err);
}

int hp_remote_register(struct hp_remote *remote, const struct hp_remote_register *request,
                       struct hp_remote_registered *ret_registered, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_REGISTER);
	hp_put(out, request->region, 8);
	hp_put(out, request->eh_frame, 8);
	hp_put(out, request->eh_frame_size, 8);
	hp_put(out, request->symfile, 8);
	hp_put(out, request->symfile_size, 8);
	hp_put_str(out, request->label);
	hp_put(out, request->perf_map, 1);
	hp_put(out, request->n_names, 4);
	for (size_t i = 0; i < request->n_names; i++) {
		hp_put(out, request->names[i].offset, 8);
		hp_put(out, request->names[i].size, 4);
		hp_put_str(out, request->names[i].name);
	}
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	uint64_t told = hp_take(&remote->body, 4);
	error = hp_talk_end(remote, err);
	if (!error)
		*ret_registered = (struct hp_remote_registered){told & 1, told & 2, told & 4};
	return error;
}

int hp_remote_release(struct hp_remote *remote, uint64_t region, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, HP_WIRE_RELEASE), region, 8);
	int error = hp_talk_ask(remote, 0, NULL, err);
	return error ? error : hp_talk_end(remote, err);
}

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
	hp_put(out, (request->dry_run ? 1 : 0) | (request->aside ? 2 : 0), 1);
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
	patch->name = take_string(c);
	patch->since_s = hp_take(c, 8);
	patch->since_ns = (uint32_t)hp_take(c, 4);
	uint64_t state = hp_take(c, 1);
	patch->live = state == 1;
	patch->aside = state == 3;
	patch->n_changes = (uint32_t)hp_take(c, 4);
	patch->reason = take_string(c);
	patch->place = take_string(c);
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
}

int hp_remote_patches(struct hp_remote *remote, struct hp_remote_patches *ret_patches, struct hp_err *err)
{
	struct hp_remote_patches patches = {0};
	uint32_t total = 0, n = 0;
	int error;
	do {
		error = ask_part(remote, HP_WIRE_PATCHES, patches.n, err);
		if (!error && !take_part(&remote->body, patches.n, &total, &n, 51))
			error = hp_talk_nonsense(remote, err);
		if (!error && !grow((void **)&patches.v, patches.n, n, sizeof(*patches.v)))
			error = no_memory(err);
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
	if (!grow((void **)&waits.v, 0, n, sizeof(*waits.v)))
		return no_memory(err);
	for (; waits.n < n; waits.n++) {
		waits.v[waits.n].pid = (pid_t)hp_take(&remote->body, 4);
		waits.v[waits.n].text = take_string(&remote->body);
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
		return no_memory(err);
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
	layer->function = take_string(c);
	layer->definition = take_string(c);
	layer->body = hp_take(c, 8);
	layer->patch = take_string(c);
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
		error = ask_part(remote, HP_WIRE_CHANGES, layers.n, err);
		if (!error && !take_part(&remote->body, layers.n, &total, &n, 47))
			error = hp_talk_nonsense(remote, err);
		if (!error && !grow((void **)&layers.v, layers.n, n, sizeof(*layers.v)))
			error = no_memory(err);
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
