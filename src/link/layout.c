#include "link/layout.h"

#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"

/* rel32 reaches 2 GiB; more than a quarter of it is no patch. */
static const uint64_t size_max = UINT64_C(1) << 29;

/* Puts size bytes at the end of what is laid out so far. */
struct writer {
	uint64_t at;
};

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

static uint32_t put(struct writer *w, uint64_t size, uint64_t align)
{
	uint64_t offset = align_up(w->at, align);
	if (offset >= size_max || size >= size_max)
		offset = size = size_max; /* put_all finds out that it is too much */
	w->at = offset + size;
	return (uint32_t)offset;
}

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* -- Zones ----------------------------------------------------------------------------------------------------- */

static bool is_frames(const struct hp_patch_section *section)
{
	return (section->flags & SHF_ALLOC) && strcmp(section->name, ".eh_frame") == 0;
}

static int refuse(const struct hp_patchfile *file, const struct hp_patch_section *section, struct hp_err *err,
                  const char *why)
{
	return hp_err_set(err, HOTPATCH_EINVAL, "'%s': its section '%s' %s", file->path, section->name, why);
}

static int zone_of(const struct hp_patchfile *file, const struct hp_patch_section *section, uint32_t *ret_zone,
                   struct hp_err *err)
{
	uint32_t type = section->type;

	*ret_zone = HP_ZONE_NONE;
	if (!(section->flags & SHF_ALLOC) || type == SHT_NOTE ||
	    strcmp(section->name, "__patchable_function_entries") == 0)
		return 0;
	if (section->flags & SHF_TLS)
		return refuse(file, section, err,
		              "defines thread-local variables, which running threads cannot be given");
	if (type == SHT_INIT_ARRAY || type == SHT_FINI_ARRAY || type == SHT_PREINIT_ARRAY ||
	    begins(section->name, ".ctors") || begins(section->name, ".dtors") || begins(section->name, ".init") ||
	    begins(section->name, ".fini"))
		return section->size ? refuse(file, section, err,
		                              "runs when a program begins or ends, which a running one is past")
		                     : 0;
	bool writable = section->flags & SHF_WRITE, code = section->flags & SHF_EXECINSTR;
	if (writable && code)
		return refuse(file, section, err, "is writable and executable");
	*ret_zone = code                                                 ? HP_ZONE_CODE
	            : writable && !begins(section->name, ".data.rel.ro") ? HP_ZONE_DATA
	                                                                 : HP_ZONE_CONST;
	return 0;
}

static int choose_zones(struct hp_layout *layout, struct hp_err *err)
{
	const struct hp_patchfile *file = layout->file;
	int r = 0;

	layout->sections[0].zone = HP_ZONE_NONE;
	for (size_t i = 1; i < file->n_sections && r == 0; i++)
		r = zone_of(file, &file->sections[i], &layout->sections[i].zone, err);
	return r;
}

static void put_sections(struct hp_layout *layout, struct writer *w, uint32_t zone, bool nobits)
{
	const struct hp_patchfile *file = layout->file;

	for (size_t i = 1; i < file->n_sections; i++) {
		const struct hp_patch_section *section = &file->sections[i];
		if (layout->sections[i].zone == zone && !is_frames(section) && (section->type == SHT_NOBITS) == nobits)
			layout->sections[i].offset = put(w, section->size, section->align);
	}
}

/* The tables of all functions in one piece, ended by a length of zero (LSB Core, ".eh_frame"). */
static int put_frames(struct hp_layout *layout, struct writer *w, struct hp_err *err)
{
	const struct hp_patchfile *file = layout->file;

	w->at = align_up(w->at, 8);
	uint64_t begin = w->at;
	for (size_t i = 1; i < file->n_sections; i++) {
		const struct hp_patch_section *section = &file->sections[i];
		if (!is_frames(section))
			continue;
		if (section->size % 4 || section->align > 8 || section->type == SHT_NOBITS)
			return refuse(file, section, err, "is damaged: its entries are not padded to words");
		layout->sections[i].offset = put(w, section->size, 4);
	}
	if (w->at == begin)
		return 0;
	put(w, 4, 4);
	layout->eh_frame = (uint32_t)begin;
	layout->eh_frame_size = (uint32_t)(w->at - begin);
	return 0;
}

/* -- What symbols need: entries of the table, far calls, room for common ones ------------------------------------ */

static enum hp_entry_of entry_for(uint8_t kind)
{
	switch (kind) {
	case HP_RELOC_GOT:
	case HP_RELOC_GOT_OFFSET:
		return HP_GOT_ADDRESS;
	case HP_RELOC_TLS_GOT_OFFSET:
		return HP_GOT_TLS_OFFSET;
	case HP_RELOC_TLS_GOT_PAIR:
		return HP_GOT_TLS_PAIR;
	case HP_RELOC_TLS_GOT_MODULE:
		return HP_GOT_TLS_MODULE;
	case HP_RELOC_TLS_DESCRIPTOR: /* may turn out not to be needed */
		return HP_GOT_TLS_DESCRIPTOR;
	default:
		return HP_GOT_KINDS;
	}
}

bool hp_layout_may_be_far(uint32_t number)
{
	const struct hp_reloc_type *type = hp_arch_reloc_type(number);
	return type && type->size == 4 &&
	       (type->kind == HP_RELOC_CALL || type->kind == HP_RELOC_RELATIVE || type->kind == HP_RELOC_ABSOLUTE);
}

static void want(uint32_t *offset)
{
	*offset = 0; /* from HP_NOWHERE; where, is decided when all are known */
}

static void note_need(struct hp_layout *layout, const struct hp_patch_reloc *reloc)
{
	const struct hp_reloc_type *type = hp_arch_reloc_type(reloc->type);
	const struct hp_patch_symbol *symbol = &layout->file->symbols[reloc->symbol];
	struct hp_symbol_place *place = &layout->symbols[reloc->symbol];

	if (!type)
		return; /* refused when it is to be computed */
	enum hp_entry_of entry = entry_for(type->kind);
	if (entry < HP_GOT_KINDS)
		want(&place->got[entry]);
	if (entry == HP_GOT_TLS_DESCRIPTOR)
		want(&place->got[HP_GOT_TLS_PAIR]);
	if (symbol->section == 0 && hp_layout_may_be_far(reloc->type)) {
		want(&place->far);
		want(&place->got[HP_GOT_ADDRESS]);
	}
	if (symbol->section != 0 && type->kind == HP_RELOC_ABSOLUTE && type->size <= 4)
		layout->is_low = true;
}

static void note_needs(struct hp_layout *layout)
{
	for (size_t i = 1; i < layout->file->n_sections; i++)
		if (layout->sections[i].zone != HP_ZONE_NONE)
			for (size_t k = 0; k < layout->file->sections[i].n_relocs; k++)
				note_need(layout, &layout->file->sections[i].relocs[k]);
}

static void put_far_calls(struct hp_layout *layout, struct writer *w)
{
	for (size_t i = 0; i < layout->file->n_symbols; i++)
		if (layout->symbols[i].far != HP_NOWHERE)
			layout->symbols[i].far = put(w, HP_FAR_CODE, HP_FAR_CODE);
}

static void put_table(struct hp_layout *layout, struct writer *w)
{
	layout->got = put(w, 0, 8);
	for (size_t i = 0; i < layout->file->n_symbols; i++)
		for (int kind = 0; kind < HP_GOT_KINDS; kind++)
			if (layout->symbols[i].got[kind] != HP_NOWHERE)
				layout->symbols[i].got[kind] = put(w, kind < HP_GOT_TLS_PAIR ? 8 : 16, 8);
}

/* -- All of it ------------------------------------------------------------------------------------------------- */

static void end_zone(struct hp_layout *layout, struct writer *w, enum hp_zone zone, size_t page, uint64_t begin)
{
	layout->zones[zone].offset = (uint32_t)begin;
	layout->zones[zone].size = (uint32_t)(w->at - begin);
	w->at = align_up(w->at, page);
}

static int put_all(struct hp_layout *layout, size_t page, struct hp_err *err)
{
	struct writer w = {0};
	uint64_t begin = w.at;
	int r;

	put_sections(layout, &w, HP_ZONE_CODE, false);
	put_far_calls(layout, &w);
	end_zone(layout, &w, HP_ZONE_CODE, page, begin);
	begin = w.at;
	put_sections(layout, &w, HP_ZONE_CONST, false);
	put_sections(layout, &w, HP_ZONE_CONST, true);
	put_table(layout, &w);
	if ((r = put_frames(layout, &w, err)) < 0)
		return r;
	end_zone(layout, &w, HP_ZONE_CONST, page, begin);
	begin = w.at;
	put_sections(layout, &w, HP_ZONE_DATA, false);
	put_sections(layout, &w, HP_ZONE_DATA, true);
	end_zone(layout, &w, HP_ZONE_DATA, page, begin);
	if (w.at >= size_max)
		return hp_err_set(err, HOTPATCH_EINVAL,
		                  "'%s' takes %llu bytes of memory, more than the %llu that a patch may",
		                  layout->file->path, (unsigned long long)w.at, (unsigned long long)size_max);
	layout->size = (uint32_t)w.at;
	return 0;
}

int hp_layout_make(const struct hp_patchfile *file, size_t page, struct hp_layout **ret_layout, struct hp_err *err)
{
	struct hp_layout *layout = calloc(1, sizeof(*layout));
	int r = HOTPATCH_ENOMEM;

	if (layout) {
		layout->file = file;
		layout->sections = calloc(file->n_sections + 1, sizeof(*layout->sections));
		layout->symbols = calloc(file->n_symbols + 1, sizeof(*layout->symbols));
	}
	if (!layout || !layout->sections || !layout->symbols) {
		hp_err_set(err, r, "no memory to lay out '%s'", file->path);
		goto out;
	}
	memset(layout->symbols, 0xff, (file->n_symbols + 1) * sizeof(*layout->symbols)); /* HP_NOWHERE */
	if ((r = choose_zones(layout, err)) < 0)
		goto out;
	note_needs(layout);
	if ((r = put_all(layout, page, err)) < 0)
		goto out;
	*ret_layout = layout;
	layout = NULL;
out:
	hp_layout_free(layout);
	return r;
}

void hp_layout_free(struct hp_layout *layout)
{
	if (!layout)
		return;
	free(layout->sections);
	free(layout->symbols);
	free(layout);
}
