#include "remote/link.h"

#include <stdlib.h>
#include <string.h>

#include "elf/names.h"
#include "link/part.h"
#include "link/notes.h"
#include "remote/region.h"
#include "remote/resolve.h"

struct hp_link {
	struct hp_remote *remote;
	const struct hp_patchfile *file; /* or what of it is there */
	struct hp_parts *present;
	struct hp_absence absence;
	const char *absent; /* the first function of it */
	struct hp_link_options options;
	struct hp_view *view;
	struct hp_match *match;
	struct hp_resolved *symbols;
	struct hp_parts *parts;
	struct hp_region *regions; /* by part */
	size_t n_regions;          /* that are begun */
	uint64_t *region_ids;
	struct hp_remote_change *changes;
	uint64_t *replaced; /* patch ids */
	size_t n_replaced;
	struct hp_remote_callback *callbacks;
	size_t n_callbacks;
	struct hp_remote_data *data;
	uint64_t *uses;
	size_t n_uses;
	void *notes;
	size_t notes_size;
	bool is_live;
};

static int no_memory(const struct hp_link *link, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to link '%s'", link->file->path);
}

/* -- Other patches ----------------------------------------------------------------------------------------------- */

static bool is_replaced(const struct hp_patchfile *file, const char *name)
{
	for (size_t i = 0; i < file->n_replaces; i++)
		if (strcmp(file->replaces[i], "*") == 0 || strcmp(file->replaces[i], name) == 0)
			return true;
	return false;
}

static int check_required(const struct hp_link *link, const char *name, struct hp_err *err)
{
	for (size_t i = 0; i < link->view->patches.n; i++) {
		const struct hp_remote_patch *patch = &link->view->patches.v[i];
		if (patch->live && strcmp(patch->name, name) == 0 && !is_replaced(link->file, name))
			return 0;
	}
	return hp_err_set(err, HOTPATCH_EREFUSED, "'%s' requires the patch '%s', which is not in force in process %d",
	                  link->file->name, name, (int)link->view->pid);
}

/* What stays must not require what is replaced. */
static int check_dependants(const struct hp_link *link, struct hp_err *err)
{
	for (size_t i = 0; i < link->view->patches.n; i++) {
		const struct hp_notes *notes = link->view->notes[i];
		if (!notes || is_replaced(link->file, link->view->patches.v[i].name))
			continue;
		for (size_t k = 0; k < notes->n_requires; k++)
			if (is_replaced(link->file, notes->requires[k]))
				return hp_err_set(
					err, HOTPATCH_EREFUSED,
					"'%s' would replace '%s', which the patch '%s' of process %d requires",
					link->file->name, notes->requires[k], link -> view -> patches.v[i].name,
					(int)link->view->pid);
	}
	return 0;
}

static int find_replaced(struct hp_link *link, struct hp_err *err)
{
	int r = link->file->n_replaces ? check_dependants(link, err) : 0;

	for (size_t i = 0; i < link->file->n_requires && r == 0; i++)
		r = check_required(link, link->file->requires[i], err);
	if (r < 0)
		return r;
	link->replaced = calloc(link->view->patches.n + 2, sizeof(*link->replaced));
	if (!link->replaced)
		return no_memory(link, err);
	for (size_t i = 0; i < link->view->patches.n; i++)
		if (link->view->patches.v[i].live && is_replaced(link->file, link->view->patches.v[i].name))
			link->replaced[link->n_replaced++] = link->view->patches.v[i].id;
	if (link->options.instead && !is_replaced(link->file, link->file->name))
		link->replaced[link->n_replaced++] = link->options.instead;
	return 0;
}

/* -- Where, and with what bytes ------------------------------------------------------------------------------------ */

/* The address of something that the patch defines, in whichever part. */
static uint64_t address_of(const struct hp_link *link, uint32_t symbol)
{
	return hp_linking_address(&link->regions[link->parts->of_symbol[symbol]].linking, symbol);
}

static int divide(struct hp_link *link, struct hp_err *err)
{
	size_t *images = calloc(link->file->n_changes + 1, sizeof(*images));
	int r;

	if (!images)
		return no_memory(link, err);
	for (size_t i = 0; i < link->file->n_changes; i++)
		images[i] = link->match->changes[i].image;
	r = hp_parts_make(link->file, images, &link->parts, err);
	free(images);
	if (r < 0)
		return r;
	link->regions = calloc(link->parts->n, sizeof(*link->regions));
	link->region_ids = calloc(link->parts->n, sizeof(*link->region_ids));
	return link->regions && link->region_ids ? 0 : no_memory(link, err);
}

/* The image whose functions change in the part: it has to be in reach. */
static void find_window(const struct hp_link *link, size_t part, uint64_t *ret_low, uint64_t *ret_high)
{
	*ret_low = *ret_high = 0; /* anywhere */
	for (size_t i = 0; i < link->file->n_changes; i++)
		if (link->parts->of_symbol[link->file->changes[i].symbol] == part) {
			const struct hp_remote_image *image = &link->view->images.v[link->match->changes[i].image];
			*ret_low = image->low;
			*ret_high = image->high;
		}
}

static int reserve(struct hp_link *link, struct hp_err *err)
{
	uint64_t low, high;
	int r = 0;

	for (size_t p = 0; p < link->parts->n && r == 0; p++) {
		size_t size = (link->file->n_symbols + 1) * sizeof(struct hp_resolved);
		struct hp_resolved *symbols = malloc(size);
		if (!symbols)
			return no_memory(link, err);
		memcpy(symbols, link->symbols, size);
		find_window(link, p, &low, &high);
		link->n_regions = p + 1;
		r = hp_region_reserve(&link->regions[p], link->remote, &link->parts->v[p], symbols, low, high,
		                      link->options.check, err);
		link->region_ids[p] = link->regions[p].memory.id;
	}
	return r;
}

/* What one part defines and another refers to. */
static void join(struct hp_link *link)
{
	for (uint32_t i = 1; i < link->file->n_symbols; i++) {
		const struct hp_patch_symbol *symbol = &link->file->symbols[i];
		if (!symbol->section || link->symbols[i].is_elsewhere)
			continue;
		struct hp_resolved there = {.address = address_of(link, i),
		                            .size = symbol->size,
		                            .is_function = symbol->type == STT_FUNC};
		for (uint32_t p = 0; p < link->parts->n; p++)
			if (p != link->parts->of_symbol[i])
				link->regions[p].symbols[i] = there;
	}
}

static int make_bytes(struct hp_link *link, struct hp_err *err)
{
	int r;

	if ((r = divide(link, err)) < 0 || (r = reserve(link, err)) < 0)
		return r;
	join(link);
	for (size_t p = 0; p < link->parts->n && r == 0; p++)
		r = hp_region_relocate(&link->regions[p], err);
	return r;
}

static int bring_in(struct hp_link *link, struct hp_err *err)
{
	int r = 0;

	for (size_t p = 0; p < link->parts->n && r == 0; p++)
		r = hp_region_bring(&link->regions[p], err);
	return r < 0 ? r : hp_view_refresh(link->view, err);
}

/* -- What changes ---------------------------------------------------------------------------------------------------
 */

static void add_extent(struct hp_remote_change *change, struct hp_remote_extent extent)
{
	size_t room = sizeof(change->extents) / sizeof(change->extents[0]);

	for (size_t i = 0; i < change->n_extents; i++)
		if (change->extents[i].low == extent.low)
			return;
	if (change->n_extents < room) {
		change->extents[change->n_extents++] = extent;
		return;
	}
	/* More pieces than a change has extents: what lies between counts as well. */
	struct hp_remote_extent *last = &change->extents[room - 1];
	last->low = extent.low < last->low ? extent.low : last->low;
	last->high = extent.high > last->high ? extent.high : last->high;
}

/* The pieces that a section of the function jumps to: f.cold, and what is split off pieces. */
static void add_pieces(const struct hp_link *link, struct hp_remote_change *change, uint32_t section, const char *name,
                       unsigned depth)
{
	const struct hp_patch_section *in = &link->file->sections[section];

	for (size_t i = 0; i < in->n_relocs; i++) {
		uint32_t index = in->relocs[i].symbol;
		const struct hp_patch_symbol *symbol = &link->file->symbols[index];
		if (!symbol->section || symbol->type != STT_FUNC || !hp_names_is_piece(symbol->name, name))
			continue;
		uint64_t low = address_of(link, index);
		size_t before = change->n_extents;
		add_extent(change, (struct hp_remote_extent){low, low + symbol->size});
		if (change->n_extents > before && depth)
			add_pieces(link, change, symbol->section, name, depth - 1);
	}
}

static void fill_change(const struct hp_link *link, size_t i)
{
	const struct hp_patch_change *from = &link->file->changes[i];
	const struct hp_patch_symbol *symbol = &link->file->symbols[from->symbol];
	const struct hp_matched_change *matched = &link->match->changes[i];
	struct hp_remote_change *to = &link->changes[i];

	*to = (struct hp_remote_change){.entry = matched->entry, .name = from->name, .n_old = matched->n_old};
	memcpy(to->old, matched->old, sizeof(to->old));
	if (link->options.check)
		return;
	to->code = address_of(link, from->symbol);
	add_extent(to, (struct hp_remote_extent){to->code, to->code + symbol->size});
	add_pieces(link, to, symbol->section, symbol->name, 3);
}

static void add_callback(struct hp_link *link, unsigned event, uint32_t symbol)
{
	uint64_t address = symbol ? address_of(link, symbol) : 0;
	link->callbacks[link->n_callbacks++] = (struct hp_remote_callback){event, address};
}

static void fill_callbacks(struct hp_link *link)
{
	for (size_t i = 0; i < link->file->n_callbacks; i++)
		add_callback(link, link->file->callbacks[i].kind, link->file->callbacks[i].symbol);
	for (size_t i = 0; i < link->file->n_migrations; i++) {
		add_callback(link, HP_REMOTE_MIGRATE, link->file->migrations[i].forward);
		add_callback(link, HP_REMOTE_MIGRATE_BACK, link->file->migrations[i].back);
	}
}

static int fill_changes(struct hp_link *link, struct hp_err *err)
{
	link->changes = calloc(link->file->n_changes + 1, sizeof(*link->changes));
	link->callbacks = calloc(link->file->n_callbacks + 2 * link->file->n_migrations + 1, sizeof(*link->callbacks));
	link->data = calloc(link->file->n_reinits + 1, sizeof(*link->data));
	if (!link->changes || !link->callbacks || !link->data)
		return no_memory(link, err);
	for (size_t i = 0; i < link->file->n_changes; i++)
		fill_change(link, i);
	fill_callbacks(link);
	for (size_t i = 0; i < link->file->n_reinits; i++) {
		const struct hp_patch_reinit *reinit = &link->file->reinits[i];
		const struct hp_patch_symbol *value = &link->file->symbols[reinit->symbol];
		const struct hp_region *region = &link->regions[link->parts->of_symbol[reinit->symbol]];
		uint64_t from = address_of(link, reinit->symbol) - region->memory.address;
		link->data[i] = (struct hp_remote_data){
			.address = link->symbols[link->file->bindings[reinit->binding].symbol].address,
			.bytes = region->bytes + from,
			.size = (uint32_t)value->size,
		};
	}
	return 0;
}

static const struct hp_remote_region *region_at(const struct hp_link *link, uint64_t address)
{
	for (size_t i = 0; i < link->view->patches.n; i++)
		for (size_t k = 0; k < link->view->patches.v[i].n_regions; k++) {
			const struct hp_remote_region *region = &link->view->patches.v[i].regions[k];
			if (address >= region->address && address - region->address < region->size)
				return region;
		}
	return NULL;
}

/* What earlier patches have and this one is linked to: one address in each region is enough. */
static int find_uses(struct hp_link *link, struct hp_err *err)
{
	link->uses = calloc(link->file->n_symbols + 1, sizeof(*link->uses));
	if (!link->uses)
		return no_memory(link, err);
	for (uint32_t i = 1; i < link->file->n_symbols; i++) {
		bool is_bound = !link->file->symbols[i].section || link->symbols[i].is_elsewhere;
		const struct hp_remote_region *region = is_bound ? region_at(link, link->symbols[i].address) : NULL;
		bool is_known = !region;
		for (size_t k = 0; k < link->n_uses && !is_known; k++)
			is_known = region_at(link, link->uses[k]) == region;
		if (!is_known)
			link->uses[link->n_uses++] = link->symbols[i].address;
	}
	return 0;
}

/* -- Notes for later patches ------------------------------------------------------------------------------------------
 */

static const char *unit_of(const struct hp_link *link, uint32_t unit)
{
	return unit == HP_NO_UNIT ? "" : link->file->units[unit].file;
}

static void fill_notes(const struct hp_link *link, struct hp_notes *notes)
{
	for (size_t i = 0; i < link->file->n_changes; i++) {
		const struct hp_patch_change *change = &link->file->changes[i];
		const struct hp_matched_change *matched = &link->match->changes[i];
		notes->changes[notes->n_changes++] = (struct hp_note_change){
			.entry = matched->entry,
			.size = change->old_size,
			.name = change->name,
			.unit = unit_of(link, change->unit),
			.image = link->view->images.v[matched->image].name,
		};
	}
	for (size_t i = 0; i < link->file->n_defines; i++) {
		const struct hp_patch_define *define = &link->file->defines[i];
		notes->defines[notes->n_defines++] = (struct hp_note_define){
			.kind = define->kind,
			.flags = define->flags,
			.address = address_of(link, define->symbol),
			.size = define->size,
			.contents = define->contents,
			.name = define->name,
			.unit = unit_of(link, define->unit),
			.source = define->unit == HP_NO_UNIT ? "" : link->file->units[define->unit].source,
			.scope = define->scope,
		};
	}
}

static int write_notes(struct hp_link *link, struct hp_err *err)
{
	struct hp_notes notes = {
		.file = link->file->path,
		.description = link->file->description,
		.producer = link->file->producer,
		.requires = link->file->requires,
		.n_requires = link->file->n_requires,
	};
	int r = HOTPATCH_ENOMEM;

	notes.changes = calloc(link->file->n_changes + 1, sizeof(*notes.changes));
	notes.defines = calloc(link->file->n_defines + 1, sizeof(*notes.defines));
	if (!notes.changes || !notes.defines) {
		no_memory(link, err);
	} else {
		fill_notes(link, &notes);
		r = hp_notes_write(&notes, &link->notes, &link->notes_size, err);
	}
	free(notes.changes);
	free(notes.defines);
	return r;
}

/* -- The two steps
 * ----------------------------------------------------------------------------------------------------- */

static int apply(struct hp_link *link, bool dry_run, struct hp_remote_result *ret_result, struct hp_err *err)
{
	struct hp_remote_apply request = {
		.name = link->file->name,
		.mode = link->options.mode,
		.dry_run = dry_run,
		.is_ground = link->file->flags & HP_PATCH_GROUND,
		.aside = link->options.aside,
		.timeout_ms = link->options.timeout_ms,
		.stall_ms = link->options.stall_ms,
		.generation = link->view->images.generation,
		.regions = link->region_ids,
		.n_regions = link->options.check ? 0 : link->parts->n,
		.replaced = link->replaced,
		.n_replaced = link->n_replaced,
		.changes = link->changes,
		.n_changes = link->file->n_changes,
		.callbacks = link->callbacks,
		.n_callbacks = link->options.check ? 0 : link->n_callbacks,
		.data = link->data,
		.n_data = link->options.check ? 0 : link->file->n_reinits,
		.uses = link->uses,
		.n_uses = link->n_uses,
		.notes = link->notes,
		.notes_size = link->notes_size,
	};
	return hp_remote_apply(link->remote, &request, ret_result, err);
}

/* Goes on with what of the file is there. */
static int leave_absent_out(struct hp_link *link, struct hp_err *err)
{
	int r = hp_match_absent(link->view, link->file, &link->absence, err);
	const struct hp_patchfile *file = link->file;

	if (r < 0 || !link->absence.n_changes)
		return r;
	for (size_t i = file->n_changes; i-- > 0;)
		if (link->absence.changes[i])
			link->absent = file->changes[i].name;
	if (link->absence.n_changes == file->n_changes)
		return 0;
	r = hp_part_present(file, link->absence.changes, link->absence.targets, &link->present, err);
	if (r == 0)
		link->file = &link->present->v[0];
	else if (r == HOTPATCH_ENOTSUP)
		link->absence.n_changes = file->n_changes; /* so none of it */
	return r == HOTPATCH_ENOTSUP ? 0 : r;
}

static bool is_empty(const struct hp_link *link)
{
	return !link->present && link->absence.n_changes > 0;
}

static int prepare(struct hp_link *link, struct hp_err *err)
{
	int r;

	if ((r = hp_view_open(link->remote, link->file, &link->view, err)) < 0 ||
	    (link->options.later && (r = leave_absent_out(link, err)) < 0) || is_empty(link) ||
	    (r = find_replaced(link, err)) < 0)
		return r;
	if ((r = hp_match_make(link->view, link->file, &link->match, err)) < 0 ||
	    (r = hp_resolve(link->view, link->file, link->match, &link->symbols, err)) < 0)
		return r;
	if ((r = make_bytes(link, err)) < 0 || (r = fill_changes(link, err)) < 0 || (r = find_uses(link, err)) < 0 ||
	    (r = write_notes(link, err)) < 0)
		return r;
	return link->options.check ? 0 : bring_in(link, err);
}

int hp_link_prepare(struct hp_remote *remote, const struct hp_patchfile *file, const struct hp_link_options *options,
                    struct hp_link **ret_link, struct hp_remote_result *ret_result, struct hp_err *err)
{
	struct hp_link *link = calloc(1, sizeof(*link));

	if (!link)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to link '%s'", file->path);
	link->remote = remote;
	link->file = file;
	link->options = *options;
	int r = prepare(link, err);
	if (r == 0 && !is_empty(link))
		r = apply(link, true, ret_result, err);
	if (r == 0)
		*ret_link = link;
	else
		hp_link_free(link);
	return r;
}

void hp_link_set_mode(struct hp_link *link, enum hotpatch_mode mode, uint32_t timeout_ms)
{
	link->options.mode = mode;
	link->options.timeout_ms = timeout_ms;
}

int hp_link_commit(struct hp_link *link, struct hp_remote_result *ret_result, struct hp_err *err)
{
	*ret_result = (struct hp_remote_result){0};
	int r = hp_view_refresh(link->view, err); /* the dry run may have loaded libhotpatch-inspect.so */
	if (r == 0)
		r = apply(link, false, ret_result, err);
	if (r == 0 || ret_result->live)
		link->is_live = true; /* the regions are the patch's */
	return r;
}

void hp_link_free(struct hp_link *link)
{
	if (!link)
		return;
	for (size_t p = 0; p < link->n_regions; p++)
		hp_region_clear(&link->regions[p], !link->is_live);
	free(link->regions);
	free(link->region_ids);
	hp_parts_free(link->parts);
	hp_match_free(link->match);
	hp_parts_free(link->present);
	hp_absence_free(&link->absence);
	hp_view_close(link->view);
	free(link->symbols);
	free(link->changes);
	free(link->replaced);
	free(link->callbacks);
	free(link->data);
	free(link->uses);
	free(link->notes);
	free(link);
}

void hp_link_tell(const struct hp_link *link, struct hp_link_report *ret_report)
{
	*ret_report = (struct hp_link_report){.n_absent = link->absence.n_changes,
	                                      .absent = link->absent ? link->absent : ""};
	if (is_empty(link))
		return;
	*ret_report = (struct hp_link_report){
		.n_absent = link->absence.n_changes,
		.absent = ret_report->absent,
		.n_functions = link->file->n_changes,
		.address = link->options.check ? 0 : link->regions[0].memory.address,
		.n_replaced = link->n_replaced,
	};
	for (size_t p = 0; p < link->parts->n; p++)
		ret_report->size += link->regions[p].memory.size;
}

bool hp_link_symfile(const struct hp_link *link, size_t part, const uint8_t **ret_bytes, size_t *ret_size)
{
	if (part >= link->n_regions)
		return false;
	*ret_bytes = link->regions[part].symfile;
	*ret_size = link->regions[part].symfile_size;
	return true;
}
