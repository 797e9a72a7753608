#include "remote/region.h"

#include <stdlib.h>
#include <string.h>

#include "link/symfile.h"

enum { WRITE_MAX = 1 << 20 }; /* bytes in one request */

static size_t page_size(const struct hp_region *region)
{
	size_t page = hp_remote_hello(region->remote)->page_size;
	return page && (page & (page - 1)) == 0 ? page : 4096;
}

static uint64_t page_up(const struct hp_region *region, uint64_t value)
{
	return (value + page_size(region) - 1) & ~(uint64_t)(page_size(region) - 1);
}

static int make_symfile(struct hp_region *region, struct hp_err *err)
{
	free(region->symfile);
	region->symfile = NULL;
	return hp_symfile_make(&region->linking, &region->symfile, &region->symfile_size, err);
}

int hp_region_reserve(struct hp_region *region, struct hp_remote *remote, const struct hp_patchfile *part,
                      struct hp_resolved *symbols, uint64_t low, uint64_t high, bool pretend, struct hp_err *err)
{
	int r;

	*region = (struct hp_region){.remote = remote, .part = part, .symbols = symbols};
	if ((r = hp_layout_make(part, page_size(region), &region->layout, err)) < 0)
		return r;
	region->linking = (struct hp_linking){
		.layout = region->layout,
		.symbols = symbols,
		.tls_code = hp_remote_hello(remote)->tls_code,
	};
	if ((r = make_symfile(region, err)) < 0)
		return r;
	uint64_t size = region->layout->size + page_up(region, region->symfile_size);
	if (region->layout->is_low)
		low = page_size(region);
	if (pretend)
		region->memory = (struct hp_remote_region){.address = page_up(region, high), .size = size};
	else if ((r = hp_remote_reserve(remote, low, high, size, &region->memory, err)) < 0)
		return r;
	region->linking.base = region->memory.address;
	return 0;
}

int hp_region_relocate(struct hp_region *region, struct hp_err *err)
{
	int r;

	region->bytes = malloc(region->layout->size + 1);
	if (!region->bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to link '%s'", region->part->path);
	if ((r = hp_relocate(&region->linking, region->bytes, err)) < 0)
		return r;
	return make_symfile(region, err);
}

/* -- Into the process ---------------------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *bytes, size_t n)
{
	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

/* The region is full of zeroes. */
static int write_bytes(struct hp_region *region, uint64_t offset, const uint8_t *bytes, size_t size, struct hp_err *err)
{
	int r = 0;

	for (size_t at = 0; at < size && r == 0;) {
		size_t n = size - at < WRITE_MAX ? size - at : WRITE_MAX;
		if (!is_zero(bytes + at, n))
			r = hp_remote_write(region->remote, region->memory.id, offset + at, bytes + at, n, err);
		at += n;
	}
	return r;
}

static int seal(struct hp_region *region, struct hp_err *err)
{
	static const enum hp_remote_protection protections[HP_ZONES] = {HP_REMOTE_RX, HP_REMOTE_R, HP_REMOTE_RW};
	struct hp_remote_seal seals[HP_ZONES + 1];
	size_t n = 0;

	for (int zone = 0; zone < HP_ZONES; zone++)
		if (region->layout->zones[zone].size)
			seals[n++] = (struct hp_remote_seal){region->layout->zones[zone].offset,
			                                     page_up(region, region->layout->zones[zone].size),
			                                     protections[zone]};
	if (region->symfile_size)
		seals[n++] = (struct hp_remote_seal){region->layout->size, page_up(region, region->symfile_size),
		                                     HP_REMOTE_R};
	return hp_remote_seal(region->remote, region->memory.id, seals, n, err);
}

/* The code of the patch by name, for perf and for what reports addresses. */
static size_t list_names(const struct hp_region *region, struct hp_remote_name *names)
{
	size_t n = 0;

	for (uint32_t i = 1; i < region->part->n_symbols; i++) {
		const struct hp_patch_symbol *symbol = &region->part->symbols[i];
		uint64_t address = hp_linking_address(&region->linking, i);
		if (symbol->type == STT_FUNC && symbol->size && address && !region->symbols[i].is_elsewhere)
			names[n++] = (struct hp_remote_name){address - region->memory.address, (uint32_t)symbol->size,
			                                     symbol->name};
	}
	return n;
}

static int register_region(struct hp_region *region, struct hp_err *err)
{
	struct hp_remote_name *names = calloc(region->part->n_symbols + 1, sizeof(*names));
	struct hp_remote_registered registered;

	if (!names)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to link '%s'", region->part->path);
	struct hp_remote_register request = {
		.region = region->memory.id,
		.eh_frame = region->layout->eh_frame,
		.eh_frame_size = region->layout->eh_frame_size,
		.symfile = region->symfile_size ? region->layout->size : 0,
		.symfile_size = region->symfile_size,
		.label = region->part->name,
		.perf_map = true,
		.names = names,
		.n_names = list_names(region, names),
	};
	int r = hp_remote_register(region->remote, &request, &registered, err);
	free(names);
	return r;
}

int hp_region_bring(struct hp_region *region, struct hp_err *err)
{
	int r;

	if ((r = write_bytes(region, 0, region->bytes, region->layout->size, err)) < 0 ||
	    (r = write_bytes(region, region->layout->size, region->symfile, region->symfile_size, err)) < 0 ||
	    (r = seal(region, err)) < 0)
		return r;
	return register_region(region, err);
}

void hp_region_clear(struct hp_region *region, bool release)
{
	struct hp_err ignored;

	if (release && region->memory.id && hp_remote_release(region->remote, region->memory.id, &ignored) < 0)
		region->memory.id = 0; /* it goes with the connection */
	hp_layout_free(region->layout);
	free(region->symbols);
	free(region->bytes);
	free(region->symfile);
}
