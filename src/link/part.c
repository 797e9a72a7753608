#include "link/part.h"

#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "base/cursor.h"

static const uint32_t nobody = UINT32_MAX;

struct divider {
	const struct hp_patchfile *file;
	const size_t *image_of_change;
	size_t images[HP_PARTS_MAX]; /* by part */
	struct hp_parts *parts;
	uint32_t *owner; /* by section: a part, or nobody */
	struct hp_err *err;
};

static int no_memory(const struct divider *d)
{
	return hp_err_set(d->err, HOTPATCH_ENOMEM, "no memory to divide '%s'", d->file->path);
}

static bool is_frames(const struct hp_patch_section *section)
{
	return (section->flags & SHF_ALLOC) && strcmp(section->name, ".eh_frame") == 0;
}

/* -- Which section goes where ------------------------------------------------------------------------------------ */

static int part_of_image(struct divider *d, size_t image, uint32_t *ret_part)
{
	uint32_t part = 0;

	while (part < d->parts->n && d->images[part] != image)
		part++;
	if (part == HP_PARTS_MAX)
		return hp_err_set(d->err, HOTPATCH_ENOTSUP, "'%s' changes more than %d images", d->file->path,
		                  HP_PARTS_MAX);
	if (part == d->parts->n)
		d->images[d->parts->n++] = image;
	*ret_part = part;
	return 0;
}

static int own_changes(struct divider *d)
{
	int r = 0;

	for (size_t i = 0; i < d->file->n_changes && r == 0; i++) {
		const struct hp_patch_symbol *symbol = &d->file->symbols[d->file->changes[i].symbol];
		uint32_t part = nobody;
		if ((r = part_of_image(d, d->image_of_change[i], &part)) < 0)
			break;
		if (d->owner[symbol->section] != nobody && d->owner[symbol->section] != part)
			r = hp_err_set(d->err, HOTPATCH_EINVAL, "'%s': section '%s' has functions of several images",
			               d->file->path, d->file->sections[symbol->section].name);
		d->owner[symbol->section] = part;
	}
	return r;
}

/* -- Unwind tables ------------------------------------------------------------------------------------------------
 *
 * .eh_frame is a list of records: u32 length, u32 id, ... A common record (CIE) has the id 0; that of a function (FDE)
 * has the distance from its id back to its common one, and then the function's address, which is a relocation (LSB
 * Core,
 * ".eh_frame"). Every part gets the records of its functions, and the common ones that these refer to; the zero that
 * ends the list is left out, since the layout adds one.
 */

struct record {
	size_t at, size;
	size_t common; /* of a function: where its common record is */
	bool is_function;
};

/* The record at *at, which is moved on. 1: there is one, 0: the end, -1: damaged. */
static int next_record(const struct hp_patch_section *frames, size_t *at, struct record *ret)
{
	if (!frames->bytes)
		return frames->size ? -1 : 0;
	struct hp_cursor c = {.at = frames->bytes + *at, .end = frames->bytes + frames->size};

	while (c.at < c.end) {
		size_t begin = (size_t)(c.at - frames->bytes);
		uint64_t length = hp_take(&c, 4), id = length ? hp_take(&c, 4) : 0;
		if (c.bad || length % 4 || (length && length - 4 > (uint64_t)(c.end - c.at)))
			return -1;
		if (!length)
			continue; /* an end; the layout adds the last one */
		if (id > begin + 4 || (begin + 4 - id) % 4)
			return -1;
		*ret = (struct record){begin, length + 4, begin + 4 - id, id != 0};
		*at = begin + length + 4;
		return 1;
	}
	return 0;
}

/* Of the record of a function. */
static bool find_common(const struct hp_patch_section *frames, const struct record *record, struct record *ret)
{
	size_t at = record->common;
	return at < record->at && next_record(frames, &at, ret) > 0 && ret->at == record->common && !ret->is_function;
}

/* The first relocation at an offset or behind it: they are by offset. */
static size_t first_reloc(const struct hp_patch_section *section, size_t offset)
{
	size_t low = 0, high = section->n_relocs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (section->relocs[middle].offset < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The part of the function that a record is of; nobody where its address is no relocation. */
static uint32_t owner_of_record(const struct divider *d, const struct hp_patch_section *frames,
                                const struct record *record)
{
	size_t i = first_reloc(frames, record->at + 8);
	if (i == frames->n_relocs || frames->relocs[i].offset != record->at + 8)
		return nobody;
	return d->owner[d->file->symbols[frames->relocs[i].symbol].section];
}

/* -- What goes along --------------------------------------------------------------------------------------------- */

/* What must be near is taken along first; what may be far, afterwards, by whoever comes first. */
static bool must_be_near(uint32_t number)
{
	const struct hp_reloc_type *type = hp_arch_reloc_type(number);
	return type && type->size <= 4 && (type->kind == HP_RELOC_RELATIVE || type->kind == HP_RELOC_ABSOLUTE);
}

/* What the section's relocations in [begin, end) refer to goes where the owner is. */
static bool take_along(struct divider *d, const struct hp_patch_section *from, size_t begin, size_t end, uint32_t owner,
                       bool near_only)
{
	bool changed = false;

	for (size_t i = first_reloc(from, begin); i < from->n_relocs && from->relocs[i].offset < end; i++) {
		uint32_t to = d->file->symbols[from->relocs[i].symbol].section;
		if (!to || d->owner[to] != nobody || (near_only && !must_be_near(from->relocs[i].type)))
			continue;
		d->owner[to] = owner;
		changed = true;
	}
	return changed;
}

static bool take_along_frames(struct divider *d, const struct hp_patch_section *frames, bool near_only)
{
	struct record record, common;
	size_t at = 0;
	bool changed = false;

	while (next_record(frames, &at, &record) > 0) {
		uint32_t owner = record.is_function ? owner_of_record(d, frames, &record) : nobody;
		if (owner == nobody)
			continue;
		changed |= take_along(d, frames, record.at, record.at + record.size, owner, near_only);
		if (find_common(frames, &record, &common))
			changed |= take_along(d, frames, common.at, common.at + common.size, owner, near_only);
	}
	return changed;
}

/* All that what is owned refers to. */
static void own_what_is_needed(struct divider *d)
{
	bool changed;

	for (int near_only = 1; near_only >= 0; near_only--)
		do {
			changed = false;
			for (uint32_t i = 1; i < d->file->n_sections; i++) {
				const struct hp_patch_section *section = &d->file->sections[i];
				if (is_frames(section))
					changed |= take_along_frames(d, section, near_only);
				else if (d->owner[i] != nobody)
					changed |= take_along(d, section, 0, SIZE_MAX, d->owner[i], near_only);
			}
		} while (changed);
}

static void own_the_rest(struct divider *d)
{
	own_what_is_needed(d);
	for (uint32_t i = 1; i < d->file->n_sections; i++)
		if (d->owner[i] == nobody)
			d->owner[i] = 0; /* nobody refers to it, or it is not in memory */
}

/* -- Dividing the unwind tables ------------------------------------------------------------------------------------ */

enum { HERE = UINT32_MAX - 1 };

struct frames {
	const struct hp_patch_section *from;
	uint32_t *moved; /* by offset / 4 of a common record: where it went, here, or nobody: none begins at this offset
	                  */
	uint8_t *bytes;
	struct hp_patch_reloc *relocs;
	size_t size, n_relocs;
};

/* Returns where it went. */
static size_t copy_record(struct frames *f, const struct record *record)
{
	size_t to = f->size;

	memcpy(f->bytes + to, f->from->bytes + record->at, record->size);
	for (size_t i = first_reloc(f->from, record->at);
	     i < f->from->n_relocs && f->from->relocs[i].offset < record->at + record->size; i++) {
		f->relocs[f->n_relocs] = f->from->relocs[i];
		f->relocs[f->n_relocs++].offset += to - record->at;
	}
	f->size += record->size;
	return to;
}

/* A record is copied once: so the copy is no longer than the original, as long as what is said to be a common record is
 * one of the list, and not some bytes inside of another one. */
static bool copy_function(struct frames *f, const struct record *record)
{
	struct record common;

	if (!find_common(f->from, record, &common) || f->moved[common.at / 4] == nobody)
		return false;
	if (f->moved[common.at / 4] == HERE)
		f->moved[common.at / 4] = (uint32_t)copy_record(f, &common);
	size_t to = copy_record(f, record);
	uint32_t id = (uint32_t)(to + 4 - f->moved[common.at / 4]);
	memcpy(f->bytes + to + 4, &id, sizeof(id));
	return true;
}

static int copy_records(const struct divider *d, struct frames *f, uint32_t part)
{
	struct record record;
	size_t at = 0;
	int more;

	while ((more = next_record(f->from, &at, &record)) > 0) {
		if (!record.is_function)
			f->moved[record.at / 4] = HERE;
		else if (owner_of_record(d, f->from, &record) == part && !copy_function(f, &record))
			break;
	}
	if (more == 0)
		return 0;
	return hp_err_set(d->err, HOTPATCH_ENOTELF, "'%s' is damaged: its unwind tables cannot be read", d->file->path);
}

static int divide_frames(struct divider *d, uint32_t part, uint32_t section)
{
	struct hp_patch_section *to = &d->parts->v[part].sections[section];
	struct frames f = {.from = &d->file->sections[section]};
	size_t words = f.from->size / 4 + 1;
	int r;

	f.moved = malloc(words * sizeof(*f.moved));
	f.bytes = d->parts->frames[part] = malloc(f.from->size + 1);
	f.relocs = d->parts->frame_relocs[part] = calloc(f.from->n_relocs + 1, sizeof(*f.relocs));
	if (!f.moved || !f.bytes || !f.relocs) {
		free(f.moved);
		return no_memory(d);
	}
	memset(f.moved, 0xff, words * sizeof(*f.moved)); /* nobody */
	to->relocs = f.relocs;
	r = copy_records(d, &f, part);
	to->bytes = f.bytes;
	to->size = f.size;
	to->n_relocs = f.n_relocs;
	free(f.moved);
	return r;
}

/* -- The parts ---------------------------------------------------------------------------------------------------- */

static void leave_out(struct hp_patch_section *section)
{
	section->name = "";
	section->flags = 0;
	section->relocs = NULL;
	section->n_relocs = 0;
}

static int make_room(struct divider *d)
{
	struct hp_parts *parts = d->parts;

	parts->v = calloc(parts->n, sizeof(*parts->v));
	parts->frames = calloc(parts->n, sizeof(*parts->frames));
	parts->frame_relocs = calloc(parts->n, sizeof(struct hp_patch_reloc *));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the parts have them */
	return parts->v && parts->frames && parts->frame_relocs ? 0 : no_memory(d);
}

static int make_part(struct divider *d, uint32_t p)
{
	struct hp_patchfile *part = &d->parts->v[p];
	bool has_frames = false;
	int r = 0;

	*part = *d->file;
	part->sections = calloc(d->file->n_sections + 1, sizeof(*part->sections));
	part->symbols = calloc(d->file->n_symbols + 1, sizeof(*part->symbols));
	if (!part->sections || !part->symbols) /* NOLINT(-Wanalyzer-malloc-leak): the part has them */
		return no_memory(d);           /* NOLINT(-Wanalyzer-malloc-leak): the part has them */
	memcpy(part->sections, d->file->sections, d->file->n_sections * sizeof(*part->sections));
	memcpy(part->symbols, d->file->symbols, d->file->n_symbols * sizeof(*part->symbols));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the part has them */
	for (uint32_t i = 1; i < part->n_sections && r == 0; i++) {
		if (is_frames(&part->sections[i])) {
			if (has_frames)
				return hp_err_set(d->err, HOTPATCH_ENOTELF,
				                  "'%s' has unwind tables in several sections", d->file->path);
			has_frames = true;
			r = divide_frames(d, p, i);
		} else if (d->owner[i] != p) {
			leave_out(&part->sections[i]);
		}
	}
	for (size_t i = 0; i < part->n_symbols; i++)
		if (part->symbols[i].section && d->owner[part->symbols[i].section] != p)
			part->symbols[i].section = 0;
	return r;
}

static int divide(struct divider *d)
{
	int r = own_changes(d);

	if (r < 0)
		return r;
	if (!d->parts->n)
		d->parts->n = 1; /* a patch that changes nothing, but replaces others */
	own_the_rest(d);
	for (size_t i = 0; i < d->file->n_symbols; i++)
		d->parts->of_symbol[i] = d->owner[d->file->symbols[i].section];
	r = make_room(d);
	for (uint32_t p = 0; p < d->parts->n && r == 0; p++)
		r = make_part(d, p);
	return r;
}

int hp_parts_make(const struct hp_patchfile *file, const size_t *image_of_change, struct hp_parts **ret_parts,
                  struct hp_err *err)
{
	struct divider d = {.file = file, .image_of_change = image_of_change, .err = err};
	int r = HOTPATCH_ENOMEM;

	d.parts = calloc(1, sizeof(*d.parts));
	d.owner = malloc((file->n_sections + 1) * sizeof(*d.owner));
	if (d.parts)
		d.parts->of_symbol = calloc(file->n_symbols + 1, sizeof(uint32_t));
	if (!d.parts || !d.owner || !d.parts->of_symbol) {
		no_memory(&d);
	} else {
		memset(d.owner, 0xff, (file->n_sections + 1) * sizeof(*d.owner)); /* nobody */
		r = divide(&d);
	}
	free(d.owner);
	if (r == 0)
		*ret_parts = d.parts;
	else
		hp_parts_free(d.parts);
	return r;
}

static void free_part(const struct hp_parts *parts, size_t p)
{
	free(parts->v[p].sections);
	free(parts->v[p].symbols);
	free(parts->frames[p]);
	free(parts->frame_relocs[p]);
}

void hp_parts_free(struct hp_parts *parts)
{
	if (!parts)
		return;
	for (size_t p = 0; parts->v && parts->frames && parts->frame_relocs && p < parts->n; p++)
		free_part(parts, p);
	for (size_t i = 0; i < sizeof(parts->own) / sizeof(parts->own[0]); i++)
		free(parts->own[i]);
	free(parts->v);
	free(parts->frames);
	free(parts->frame_relocs);
	free(parts->of_symbol);
	free(parts);
}

/* -- A part of the changes ------------------------------------------------------------------------------------------
 */

static bool is_referred_to(const struct hp_patchfile *part, uint32_t symbol)
{
	for (uint32_t i = 1; i < part->n_sections; i++)
		for (size_t k = 0; k < part->sections[i].n_relocs; k++)
			if (part->sections[i].relocs[k].symbol == symbol)
				return true;
	return false;
}

/* Lists of their own, without what is absent. */
static int filter_notes(const struct divider *d, const bool *absent_changes, const bool *absent_targets)
{
	struct hp_patchfile *part = &d->parts->v[0];
	struct hp_patch_change *changes = d->parts->own[0] = calloc(d->file->n_changes + 1, sizeof(*changes));
	struct hp_patch_define *defines = d->parts->own[1] = calloc(d->file->n_defines + 1, sizeof(*defines));
	struct hp_patch_target *targets = d->parts->own[2] = calloc(d->file->n_targets + 1, sizeof(*targets));
	struct hp_patch_binding *bindings = d->parts->own[3] = calloc(d->file->n_bindings + 1, sizeof(*bindings));

	if (!changes || !defines || !targets || !bindings)
		return no_memory(d);
	part->n_changes = part->n_defines = part->n_targets = 0;
	for (size_t i = 0; i < d->file->n_changes; i++)
		if (!absent_changes[i])
			changes[part->n_changes++] = d->file->changes[i];
	for (size_t i = 0; i < d->file->n_defines; i++)
		if (part->symbols[d->file->defines[i].symbol].section)
			defines[part->n_defines++] = d->file->defines[i];
	for (size_t i = 0; i < d->file->n_targets; i++)
		if (!absent_targets[i])
			targets[part->n_targets++] = d->file->targets[i];
	for (size_t i = 0; i < d->file->n_bindings; i++) {
		bindings[i] = d->file->bindings[i];
		if (!is_referred_to(part, bindings[i].symbol))
			bindings[i].flags |= HP_BINDING_WEAK;
	}
	part->changes = changes;
	part->defines = defines;
	part->targets = targets;
	part->bindings = bindings;
	return 0;
}

static int take_present(struct divider *d, const bool *absent_changes, const bool *absent_targets)
{
	for (size_t i = 0; i < d->file->n_changes; i++)
		if (!absent_changes[i]) {
			d->owner[d->file->symbols[d->file->changes[i].symbol].section] = 0;
			d->owner[d->file->changes[i].old_section] = 0;
		}
	own_what_is_needed(d);
	d->parts->n = 1;
	int r = make_room(d);
	if (r == 0)
		r = make_part(d, 0);
	return r < 0 ? r : filter_notes(d, absent_changes, absent_targets);
}

int hp_part_present(const struct hp_patchfile *file, const bool *absent_changes, const bool *absent_targets,
                    struct hp_parts **ret_parts, struct hp_err *err)
{
	struct divider d = {.file = file, .err = err};
	int r = HOTPATCH_ENOMEM;

	if (file->n_callbacks || file->n_migrations || file->n_reinits)
		return hp_err_set(
			err, HOTPATCH_ENOTSUP,
			"'%s' has callbacks, HOTPATCH_MIGRATE or new initial values, so that it is applied as a "
			"whole or not at all",
			file->path);
	d.parts = calloc(1, sizeof(*d.parts));
	d.owner = malloc((file->n_sections + 1) * sizeof(*d.owner));
	if (!d.parts || !d.owner) {
		no_memory(&d);
	} else {
		memset(d.owner, 0xff, (file->n_sections + 1) * sizeof(*d.owner)); /* nobody */
		r = take_present(&d, absent_changes, absent_targets);
	}
	free(d.owner);
	if (r == 0)
		*ret_parts = d.parts;
	else
		hp_parts_free(d.parts);
	return r;
}
