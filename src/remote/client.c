#include "remote/client.h"

#include <stdlib.h>
#include <string.h>

#include "remote/talk.h"

/* -- Images and symbols -------------------------------------------------------------------------------------------- */

static void take_image(struct hp_cursor *c, struct hp_remote_image *image)
{
	enum { SEGMENTS = sizeof(image->segments) / sizeof(*image->segments) };
	image->path = hp_talk_take_string(c);
	image->name = hp_talk_take_string(c);
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

static int take_images(struct hp_remote *remote, struct hp_remote_images *images, uint32_t *ret_total,
                       struct hp_err *err)
{
	uint32_t n;
	uint64_t generation = hp_take(&remote->body, 8);
	if (images->n && generation != images->generation)
		return hp_err_set(err, HOTPATCH_ESTATE, "libraries were loaded or unloaded meanwhile; try again");
	images->generation = generation;
	if (!hp_talk_take_part(&remote->body, images->n, ret_total, &n, 59))
		return hp_talk_nonsense(remote, err);
	if (!hp_talk_grow((void **)&images->v, images->n, n, sizeof(*images->v)))
		return hp_talk_no_memory(err);
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
		error = hp_talk_ask_part(remote, HP_WIRE_IMAGES, images.n, err);
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
