#include "link/relocate.h"

#include <string.h>

#include "arch/arch.h"

/* One relocation as it is computed. */
struct spot {
	const struct hp_linking *linking;
	const struct hp_patch_section *section;
	const struct hp_patch_reloc *reloc;
	const struct hp_reloc_type *type;
	const struct hp_patch_symbol *symbol;
	const struct hp_symbol_place *place;
	uint8_t *at;
	uint64_t address; /* P */
	uint64_t target;  /* S */
	struct hp_err *err;
};

static uint64_t section_address(const struct hp_linking *linking, uint32_t section)
{
	const struct hp_section_place *place = &linking->layout->sections[section];
	return place->zone == HP_ZONE_NONE ? 0 : linking->base + place->offset;
}

uint64_t hp_linking_address(const struct hp_linking *linking, uint32_t symbol)
{
	const struct hp_patch_symbol *s = &linking->layout->file->symbols[symbol];
	if (linking->symbols[symbol].is_elsewhere)
		return linking->symbols[symbol].address;
	if (s->section == 0 || linking->layout->sections[s->section].zone == HP_ZONE_NONE)
		return 0;
	return section_address(linking, s->section) + s->value;
}

/* -- Saying what is wrong -------------------------------------------------------------------------------------- */

static const char *symbol_name(const struct spot *spot)
{
	if (!spot->symbol->name[0] && spot->symbol->section)
		return spot->linking->layout->file->sections[spot->symbol->section].name;
	return spot->symbol->name;
}

static int refuse(const struct spot *spot, const char *why)
{
	return hp_err_set(spot->err, HOTPATCH_EINVAL, "'%s': section '%s' + %#llx: %s of '%s' %s",
	                  spot->linking->layout->file->path, spot->section->name,
	                  (unsigned long long)spot->reloc->offset, spot->type ? spot->type->name : "a relocation",
	                  symbol_name(spot), why);
}

static int refuse_range(const struct spot *spot, uint64_t value)
{
	return hp_err_set(spot->err, HOTPATCH_EINVAL,
	                  "'%s': section '%s' + %#llx: %s of '%s' does not fit: %#llx is needed, from %#llx to %#llx%s",
	                  spot->linking->layout->file->path, spot->section->name,
	                  (unsigned long long)spot->reloc->offset, spot->type->name, symbol_name(spot),
	                  (unsigned long long)value, (unsigned long long)spot->address,
	                  (unsigned long long)spot->target,
	                  spot->symbol->section
	                          ? ""
	                          : "; it is in another image, and the program has no copy of it near its code");
}

/* -- Computing ------------------------------------------------------------------------------------------------- */

static bool fits(uint64_t value, unsigned size, unsigned range)
{
	if (size == 8 || range == HP_RANGE_WRAPS)
		return true;
	uint64_t top = value >> (8 * size - 1), all = UINT64_MAX >> (8 * size - 1);
	bool is_signed = top == 0 || top == all, is_unsigned = top <= 1;
	return range == HP_RANGE_SIGNED     ? is_signed
	       : range == HP_RANGE_UNSIGNED ? is_unsigned
	                                    : is_signed || is_unsigned;
}

static uint64_t word_at(const struct spot *spot, uint32_t offset)
{
	return spot->linking->base + offset;
}

/* NULL where the symbol is in the patch itself. */
static const struct hp_resolved *resolved_of(const struct hp_linking *linking, uint32_t symbol)
{
	const struct hp_resolved *found = &linking->symbols[symbol];
	return linking->layout->file->symbols[symbol].section == 0 || found->is_elsewhere ? found : NULL;
}

static const struct hp_resolved *resolved(const struct spot *spot)
{
	return resolved_of(spot->linking, spot->reloc->symbol);
}

/* S itself, or where S is out of reach and may be got to by a jump, the jump. */
static uint64_t near_or_far(const struct spot *spot, uint64_t from)
{
	const struct hp_resolved *function = resolved(spot);
	uint64_t value = spot->target + (uint64_t)spot->reloc->addend - from;

	if (fits(value, spot->type->size, spot->type->range) || !function || spot->place->far == HP_NOWHERE)
		return value;
	if (spot->type->kind != HP_RELOC_CALL && !function->is_function)
		return value;
	return word_at(spot, spot->place->far) + (uint64_t)spot->reloc->addend - from;
}

static int thread_local_only(const struct spot *spot, const struct hp_resolved **ret_variable)
{
	*ret_variable = resolved(spot);
	return *ret_variable && (*ret_variable)->is_thread_local ? 0 : refuse(spot, "is not thread-local");
}

/* S - TP. */
static int thread_offset(const struct spot *spot, uint64_t *ret_offset)
{
	const struct hp_resolved *variable;
	int r = thread_local_only(spot, &variable);
	if (r)
		return r;
	if (!variable->is_static_tls) /* NOLINT(-Wanalyzer-null-dereference): refuse never returns 0 */
		return refuse(spot,
		              "needs it at one offset in all threads, but its library was loaded by dlopen and its "
		              "thread-local variables are allocated thread by thread");
	*ret_offset = (uint64_t)variable->tls_block + variable->tls_value;
	return 0;
}

static int through_table(const struct spot *spot, enum hp_entry_of entry, uint64_t from);

/* Where each thread has its own place for the variable, the code asks for it through a descriptor. */
static bool is_descriptor_kept(const struct spot *spot)
{
	const struct hp_resolved *variable = resolved(spot);
	return spot->linking->tls_code && variable && variable->is_thread_local && !variable->is_static_tls;
}

static int descriptor(const struct spot *spot)
{
	uint64_t offset;
	if (is_descriptor_kept(spot))
		return through_table(spot, HP_GOT_TLS_DESCRIPTOR, spot->address);
	int r = thread_offset(spot, &offset);
	if (r < 0)
		return r;
	if (!hp_arch_relax_descriptor(spot->at, spot->reloc->offset, (int64_t)offset))
		return refuse(spot, "stands in an instruction that is not known");
	return 0;
}

static int descriptor_call(const struct spot *spot)
{
	if (is_descriptor_kept(spot))
		return 0;
	if (!hp_arch_relax_descriptor_call(spot->at, spot->section->size - spot->reloc->offset))
		return refuse(spot, "stands in an instruction that is not known");
	return 0;
}

static int write_value(const struct spot *spot, uint64_t value)
{
	if (!fits(value, spot->type->size, spot->type->range))
		return refuse_range(spot, value);
	memcpy(spot->at, &value, spot->type->size);
	return 0;
}

static int through_table(const struct spot *spot, enum hp_entry_of entry, uint64_t from)
{
	uint32_t offset = spot->place->got[entry];
	if (offset == HP_NOWHERE)
		return refuse(spot, "has no entry in the table of offsets");
	return write_value(spot, word_at(spot, offset) + (uint64_t)spot->reloc->addend - from);
}

static bool is_relaxed(const struct spot *spot)
{
	uint64_t relative = spot->target + (uint64_t)spot->reloc->addend - spot->address;
	return hp_arch_relax_got(spot->reloc->type, spot->at, spot->reloc->offset, (int64_t)relative);
}

static int compute_thread_local(const struct spot *spot)
{
	const struct hp_resolved *variable;
	uint64_t offset;
	int r;

	switch (spot->type->kind) {
	case HP_RELOC_TLS_OFFSET:
		r = thread_offset(spot, &offset);
		return r < 0 ? r : write_value(spot, offset + (uint64_t)spot->reloc->addend);
	case HP_RELOC_TLS_IN_MODULE:
		r = thread_local_only(spot, &variable);
		/* NOLINTNEXTLINE(-Wanalyzer-null-dereference): refuse never returns 0 */
		return r ? r : write_value(spot, variable->tls_value + (uint64_t)spot->reloc->addend);
	case HP_RELOC_TLS_GOT_OFFSET:
		return through_table(spot, HP_GOT_TLS_OFFSET, spot->address);
	case HP_RELOC_TLS_GOT_PAIR:
		return through_table(spot, HP_GOT_TLS_PAIR, spot->address);
	case HP_RELOC_TLS_GOT_MODULE:
		return through_table(spot, HP_GOT_TLS_MODULE, spot->address);
	case HP_RELOC_TLS_DESCRIPTOR:
		return descriptor(spot);
	case HP_RELOC_TLS_DESCRIPTOR_CALL:
		return descriptor_call(spot);
	default:
		return refuse(spot, "is of a kind that cannot be computed");
	}
}

static int compute(const struct spot *spot)
{
	const struct hp_layout *layout = spot->linking->layout;
	uint64_t addend = (uint64_t)spot->reloc->addend, table = word_at(spot, layout->got);

	switch (spot->type->kind) {
	case HP_RELOC_NONE:
		return 0;
	case HP_RELOC_ABSOLUTE:
		return write_value(spot, near_or_far(spot, 0));
	case HP_RELOC_RELATIVE:
	case HP_RELOC_CALL:
		return write_value(spot, near_or_far(spot, spot->address));
	case HP_RELOC_SIZE:
		return write_value(spot, (resolved(spot) ? resolved(spot)->size : spot->symbol->size) + addend);
	case HP_RELOC_GOT:
		return is_relaxed(spot) ? 0 : through_table(spot, HP_GOT_ADDRESS, spot->address);
	case HP_RELOC_GOT_OFFSET:
		return through_table(spot, HP_GOT_ADDRESS, table);
	case HP_RELOC_GOT_BASE:
		return write_value(spot, table + addend - spot->address);
	case HP_RELOC_FROM_GOT:
		return write_value(spot, spot->target + addend - table);
	default:
		return compute_thread_local(spot);
	}
}

static bool is_of_thread_locals(const struct hp_reloc_type *type)
{
	return type->kind >= HP_RELOC_TLS_OFFSET;
}

/* What S is; 0 for thread-locals, which have no address. */
static int find_target(struct spot *spot, bool is_in_memory)
{
	const struct hp_linking *linking = spot->linking;
	const struct hp_resolved *binding = resolved(spot);

	if (binding) {
		if (binding->is_thread_local && !is_of_thread_locals(spot->type) && spot->type->kind != HP_RELOC_NONE)
			return refuse(spot, "takes a thread-local variable for an ordinary one");
		spot->target = binding->address;
		return 0;
	}
	if (is_in_memory && linking->layout->sections[spot->symbol->section].zone == HP_ZONE_NONE)
		return refuse(spot, "refers to a section that does not go into memory");
	spot->target = section_address(linking, spot->symbol->section) + spot->symbol->value;
	return 0;
}

static int relocate_one(struct spot *spot, bool is_in_memory)
{
	const struct hp_patchfile *file = spot->linking->layout->file;

	spot->symbol = &file->symbols[spot->reloc->symbol];
	spot->place = &spot->linking->layout->symbols[spot->reloc->symbol];
	spot->type = hp_arch_reloc_type(spot->reloc->type);
	if (!spot->type)
		return hp_err_set(spot->err, HOTPATCH_EINVAL,
		                  "'%s': section '%s' + %#llx: relocation type %u of '%s' is not known", file->path,
		                  spot->section->name, (unsigned long long)spot->reloc->offset, spot->reloc->type,
		                  symbol_name(spot));
	if (spot->reloc->offset > spot->section->size || spot->section->size - spot->reloc->offset < spot->type->size)
		return refuse(spot, "lies outside of the section");
	int r = find_target(spot, is_in_memory);
	return r < 0 ? r : compute(spot);
}

int hp_relocate_section(const struct hp_linking *linking, uint32_t index, uint8_t *bytes, struct hp_err *err)
{
	const struct hp_patch_section *section = &linking->layout->file->sections[index];
	bool is_in_memory = linking->layout->sections[index].zone != HP_ZONE_NONE;
	struct spot spot = {.linking = linking, .section = section, .err = err};
	int r = 0;

	if (section->n_relocs && section->type == SHT_NOBITS)
		return hp_err_set(err, HOTPATCH_ENOTELF, "'%s': section '%s' has relocations, but no bytes",
		                  linking->layout->file->path, section->name);
	for (size_t i = 0; i < section->n_relocs && r == 0; i++) {
		spot.reloc = &section->relocs[i];
		spot.at = bytes + spot.reloc->offset;
		spot.address = section_address(linking, index) + spot.reloc->offset;
		r = relocate_one(&spot, is_in_memory);
	}
	return r;
}

/* -- What the layout adds: the table of offsets and the far calls ------------------------------------------------ */

static void put_word(uint8_t *bytes, uint32_t offset, uint64_t value)
{
	memcpy(bytes + offset, &value, sizeof(value));
}

static int fill_entry(const struct hp_linking *linking, uint8_t *bytes, uint32_t symbol, enum hp_entry_of entry,
                      struct hp_err *err)
{
	const struct hp_patch_symbol *s = &linking->layout->file->symbols[symbol];
	const struct hp_resolved *binding = resolved_of(linking, symbol);
	uint32_t at = linking->layout->symbols[symbol].got[entry];

	if (entry == HP_GOT_ADDRESS) {
		uint64_t address = binding ? binding->address : section_address(linking, s->section) + s->value;
		put_word(bytes, at, address);
		return 0;
	}
	if (!binding || !binding->is_thread_local)
		return hp_err_set(err, HOTPATCH_EINVAL, "'%s': '%s' is used as a thread-local variable, but is none",
		                  linking->layout->file->path, s->name);
	if (entry == HP_GOT_TLS_OFFSET) {
		if (!binding->is_static_tls)
			return hp_err_set(
				err, HOTPATCH_EINVAL,
				"'%s': '%s' is needed at one offset in all threads, but its library was loaded by "
				"dlopen and its thread-local variables are allocated thread by thread",
				linking->layout->file->path, s->name);
		put_word(bytes, at, (uint64_t)binding->tls_block + binding->tls_value);
		return 0;
	}
	if (entry == HP_GOT_TLS_DESCRIPTOR) {
		put_word(bytes, at, linking->tls_code);
		put_word(bytes, at + 8, linking->base + linking->layout->symbols[symbol].got[HP_GOT_TLS_PAIR]);
		return 0;
	}
	put_word(bytes, at, binding->tls_module);
	put_word(bytes, at + 8, entry == HP_GOT_TLS_PAIR ? binding->tls_value : 0);
	return 0;
}

static int fill_symbol(const struct hp_linking *linking, uint8_t *bytes, uint32_t symbol, struct hp_err *err)
{
	const struct hp_symbol_place *place = &linking->layout->symbols[symbol];
	int r = 0;

	for (int entry = 0; entry < HP_GOT_KINDS && r == 0; entry++)
		if (place->got[entry] != HP_NOWHERE)
			r = fill_entry(linking, bytes, symbol, (enum hp_entry_of)entry, err);
	if (r < 0 || place->far == HP_NOWHERE)
		return r;
	if (!hp_arch_far_fill(bytes + place->far, linking->base + place->far,
	                      linking->base + place->got[HP_GOT_ADDRESS]))
		return hp_err_set(err, HOTPATCH_EINVAL, "'%s' is too large for far calls", linking->layout->file->path);
	return 0;
}

int hp_relocate(const struct hp_linking *linking, uint8_t *bytes, struct hp_err *err)
{
	const struct hp_patchfile *file = linking->layout->file;
	int r = 0;

	memset(bytes, 0, linking->layout->size);
	for (uint32_t i = 0; i < file->n_symbols && r == 0; i++)
		r = fill_symbol(linking, bytes, i, err);
	for (uint32_t i = 1; i < file->n_sections && r == 0; i++) {
		const struct hp_patch_section *section = &file->sections[i];
		const struct hp_section_place *place = &linking->layout->sections[i];
		if (place->zone == HP_ZONE_NONE)
			continue;
		if (section->bytes)
			memcpy(bytes + place->offset, section->bytes, section->size);
		r = hp_relocate_section(linking, i, bytes + place->offset, err);
	}
	return r;
}

bool hp_relocation_read(const struct hp_patch_reloc *reloc, const uint8_t *at, uint64_t address, uint64_t *ret_target)
{
	const struct hp_reloc_type *type = hp_arch_reloc_type(reloc->type);
	uint64_t value = 0;

	if (!type || type->size < 4 ||
	    (type->kind != HP_RELOC_RELATIVE && type->kind != HP_RELOC_CALL && type->kind != HP_RELOC_ABSOLUTE))
		return false;
	memcpy(&value, at, type->size);
	if (type->size == 4 && type->range == HP_RANGE_SIGNED)
		value = (uint64_t)(int64_t)(int32_t)value;
	*ret_target = value - (uint64_t)reloc->addend + (type->kind == HP_RELOC_ABSOLUTE ? 0 : address);
	return true;
}
