#include "make/callers.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "elf/debugfile.h"
#include "elf/symbols.h"
#include "types/array.h"

#ifndef SHT_RELR
#define SHT_RELR 19
#endif

struct search {
	const struct hp_make_options *options;
	const char *name;
	const struct hp_image *image;
	struct hp_symbols *symbols;
	uint64_t *targets; /* the function, and slots that hold its address */
	size_t n_targets;
	uint64_t end; /* of the function, whose own calls do not count */
	struct hp_err *err;
};

static int no_memory(const struct search *s)
{
	return hp_err_set(s->err, HOTPATCH_ENOMEM, "no memory to look for callers in '%s'", s->image->name);
}

static int add_target(struct search *s, uint64_t address)
{
	uint64_t *targets = hp_array_grow(s->targets, s->n_targets, sizeof(*targets));

	if (!targets)
		return no_memory(s);
	s->targets = targets;
	targets[s->n_targets++] = address;
	return 0;
}

/* -- Who it is --------------------------------------------------------------------------------------------------- */

static bool has_atom(const struct hp_make_unit *unit, const struct hp_function *function)
{
	const struct hp_diff *diff = unit->diff;

	if (function->is_static && strcmp(diff->old_atoms->unit, function->unit) != 0)
		return false;
	for (uint32_t i = 0; i < diff->old_atoms->count; i++) {
		const struct hp_atom *atom = &diff->old_atoms->items[i];
		bool is_code = atom->kind == HP_ATOM_FUNCTION || atom->kind == HP_ATOM_PART;
		if (!is_code || atom->is_global == function->is_static || strcmp(atom->name, function->name) != 0)
			continue;
		return atom->kind == HP_ATOM_PART || diff->new_of[i] != HP_NO_ATOM;
	}
	return false;
}

/* Of statics of one name in files of one name all have to be there. */
static int check_function(const struct search *s, const struct hp_function *function)
{
	const struct hp_function *const *named;
	size_t n_named, wanted = 0, found = 0;
	int r = hp_symbols_named(s->symbols, function->name, &named, &n_named, s->err);

	for (size_t i = 0; i < n_named && r == 0; i++)
		wanted += named[i]->is_static == function->is_static && strcmp(named[i]->unit, function->unit) == 0;
	for (size_t i = 0; i < s->options->n_units && r == 0; i++)
		found += has_atom(&s->options->units[i], function);
	if (r < 0 || found >= wanted)
		return r;
	return hp_err_set(s->err, HOTPATCH_EREFUSED, "'%s'%s%s%s refers to it in '%s' and is not in the patch",
	                  function->name, *function->unit ? " of '" : "", function->unit, *function->unit ? "'" : "",
	                  s->image->name);
}

static int check_code(const struct search *s, uint64_t address)
{
	const struct hp_function *function = hp_symbols_at(s->symbols, address);

	if (address >= s->targets[0] && address < s->end)
		return 0;
	if (function)
		return check_function(s, function);
	return hp_err_set(s->err, HOTPATCH_EREFUSED, "code without a name refers to it in '%s' (at %#llx)",
	                  s->image->name, (unsigned long long)address);
}

static const struct hp_section *section_at(const struct hp_image *image, uint64_t address)
{
	for (size_t i = 0; i < image->n_sections; i++) {
		const GElf_Shdr *header = &image->sections[i].header;
		if (header->sh_flags & SHF_ALLOC && !(header->sh_flags & SHF_TLS) && address >= header->sh_addr &&
		    address - header->sh_addr < header->sh_size)
			return &image->sections[i];
	}
	return NULL;
}

/* The compiler's list of entries is nobody's call. */
static int meet_data(struct search *s, uint64_t address)
{
	const struct hp_section *section = section_at(s->image, address);

	if (section && strcmp(section->name, "__patchable_function_entries") == 0)
		return 0;
	if (section && strncmp(section->name, ".got", 4) == 0)
		return add_target(s, address);
	return hp_err_set(s->err, HOTPATCH_EREFUSED, "data in '%s' of '%s' holds its address (at %#llx)",
	                  section ? section->name : "no section", s->image->name, (unsigned long long)address);
}

/* -- Relocations --------------------------------------------------------------------------------------------------- */

static uint64_t symbol_value(const struct search *s, const struct hp_section *relocations, size_t index)
{
	size_t link = relocations->header.sh_link;
	Elf_Data *data = link && link <= s->image->n_sections ? hp_section_data(&s->image->sections[link - 1]) : NULL;
	GElf_Sym sym;
	return data && gelf_getsym(data, (int)index, &sym) && sym.st_shndx != SHN_UNDEF ? sym.st_value : 0;
}

static int read_rela(struct search *s, const struct hp_section *section)
{
	Elf_Data *data = hp_section_data(section);
	size_t n = data ? data->d_size / sizeof(Elf64_Rela) : 0;
	GElf_Rela rela;
	int r = 0;

	for (size_t i = 0; i < n && r == 0 && gelf_getrela(data, (int)i, &rela); i++) {
		uint64_t target = (uint64_t)rela.r_addend;
		switch (GELF_R_TYPE(rela.r_info)) {
		case R_X86_64_RELATIVE:
		case R_X86_64_IRELATIVE:
			break;
		case R_X86_64_64:
		case R_X86_64_GLOB_DAT:
		case R_X86_64_JUMP_SLOT:
			target += symbol_value(s, section, GELF_R_SYM(rela.r_info));
			break;
		default:
			continue;
		}
		if (target == s->targets[0])
			r = meet_data(s, rela.r_offset);
	}
	return r;
}

static bool read_word(const struct search *s, uint64_t address, uint64_t *ret_word)
{
	const struct hp_section *section = section_at(s->image, address);
	Elf_Data *data = section ? hp_section_data(section) : NULL;
	uint64_t at = section ? address - section->header.sh_addr : 0;

	if (!data || !data->d_buf || at > data->d_size || data->d_size - at < sizeof(*ret_word))
		return false;
	memcpy(ret_word, (const uint8_t *)data->d_buf + at, sizeof(*ret_word));
	return true;
}

static int meet_relative(struct search *s, uint64_t address)
{
	uint64_t word;
	return read_word(s, address, &word) && word == s->targets[0] ? meet_data(s, address) : 0;
}

/* Even words are addresses, odd ones say which of the 63 words behind them are meant (generic ABI, SHT_RELR). */
static int read_relr(struct search *s, const struct hp_section *section)
{
	Elf_Data *data = hp_section_data(section);
	size_t n = data && data->d_buf ? data->d_size / sizeof(uint64_t) : 0;
	uint64_t next = 0, entry;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		memcpy(&entry, (const uint8_t *)data->d_buf + i * sizeof(entry), sizeof(entry));
		if (!(entry & 1)) {
			r = meet_relative(s, entry);
			next = entry + sizeof(entry);
			continue;
		}
		for (unsigned bit = 1; bit < 64 && r == 0; bit++)
			if (entry >> bit & 1)
				r = meet_relative(s, next + (bit - 1) * sizeof(entry));
		next += 63 * sizeof(entry);
	}
	return r;
}

/* Where nothing is relocated addresses stand in data as they are. */
static int search_data(struct search *s, const struct hp_section *section)
{
	Elf_Data *data = hp_section_data(section);
	uint64_t word;
	int r = 0;

	for (size_t at = 0; data && data->d_buf && at + sizeof(word) <= data->d_size && r == 0; at += 4) {
		memcpy(&word, (const uint8_t *)data->d_buf + at, sizeof(word));
		if (word == s->targets[0])
			r = meet_data(s, section->header.sh_addr + at);
	}
	return r;
}

static int find_addresses(struct search *s)
{
	int r = 0;

	for (size_t i = 0; i < s->image->n_sections && r == 0; i++) {
		const struct hp_section *section = &s->image->sections[i];
		const GElf_Shdr *header = &section->header;
		if (!(header->sh_flags & SHF_ALLOC))
			continue;
		if (header->sh_type == SHT_RELA)
			r = read_rela(s, section);
		else if (header->sh_type == SHT_RELR)
			r = read_relr(s, section);
		else if (s->image->header.e_type == ET_EXEC && header->sh_type != SHT_NOBITS &&
		         !(header->sh_flags & SHF_EXECINSTR))
			r = search_data(s, section);
	}
	return r;
}

/* -- Code ---------------------------------------------------------------------------------------------------------- */

struct code {
	const struct search *s;
	const uint8_t *bytes;
	uint64_t address; /* of the first of them */
	size_t size;
	ZydisDecoder decoder;
};

/* Who calls through an address that was taken cannot be told. */
static int refuse_address(const struct search *s, uint64_t address)
{
	const struct hp_function *function = hp_symbols_at(s->symbols, address);

	return hp_err_set(s->err, HOTPATCH_EREFUSED, "%s%s%s takes its address in '%s' (at %#llx), to call it later",
	                  function ? "'" : "", function ? function->name : "code without a name", function ? "'" : "",
	                  s->image->name, (unsigned long long)address);
}

static bool is_target(const struct search *s, uint64_t address)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (s->targets[i] == address)
			return true;
	return false;
}

/* Whether the operand of the instruction that ends at `end` is, or leads to, a target. */
static bool names_target(const struct search *s, const ZydisDecodedOperand *operand, uint64_t end)
{
	bool absolute = s->image->header.e_type == ET_EXEC;

	if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		if (operand->imm.is_relative)
			return is_target(s, end + operand->imm.value.u);
		return absolute && is_target(s, (uint32_t)operand->imm.value.u);
	}
	if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY || !operand->mem.disp.has_displacement)
		return false;
	if (operand->mem.base == ZYDIS_REGISTER_RIP)
		return is_target(s, end + (uint64_t)operand->mem.disp.value);
	return absolute && is_target(s, (uint32_t)operand->mem.disp.value);
}

static bool is_jump(const ZydisDecodedInstruction *instruction)
{
	return instruction->meta.category == ZYDIS_CATEGORY_CALL ||
	       instruction->meta.category == ZYDIS_CATEGORY_COND_BR ||
	       instruction->meta.category == ZYDIS_CATEGORY_UNCOND_BR;
}

static int check_instruction(const struct code *code, size_t at, const ZydisDecodedInstruction *instruction,
                             const ZydisDecodedOperand *operands)
{
	uint64_t address = code->address + at;

	for (size_t i = 0; i < instruction->operand_count_visible; i++)
		if (names_target(code->s, &operands[i], address + instruction->length))
			return is_jump(instruction) ? check_code(code->s, address) : refuse_address(code->s, address);
	return 0;
}

/* Bytes that are no instruction may be the middle of one. */
static int check_bytes(const struct code *code, size_t at)
{
	uint64_t address = code->address + at;
	int32_t field;

	if (code->size - at < sizeof(field))
		return 0;
	memcpy(&field, code->bytes + at, sizeof(field));
	return is_target(code->s, address + sizeof(field) + (uint64_t)(int64_t)field) ? refuse_address(code->s, address)
	                                                                              : 0;
}

/* [*at, end), where a function begins at the latest. */
static int search_piece(const struct code *code, size_t at, size_t end)
{
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	int r = 0;

	while (at < end && r == 0) {
		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&code->decoder, code->bytes + at, code->size - at, &instruction,
		                                        operands))) {
			r = check_instruction(code, at, &instruction, operands);
			at += instruction.length;
		} else {
			r = check_bytes(code, at++);
		}
	}
	return r;
}

/* Decoded anew from the beginning of each function: what lies between two may be anything. */
static int search_code(const struct search *s, const struct hp_section *section)
{
	Elf_Data *data = hp_section_data(section);
	struct code code = {.s = s, .address = section->header.sh_addr};
	size_t at = 0;
	int r = 0;

	if (!data || !data->d_buf)
		return 0;
	code.bytes = data->d_buf;
	code.size = data->d_size;
	ZydisDecoderInit(&code.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t i = 0; i < s->symbols->n_functions && r == 0; i++) {
		uint64_t begin = s->symbols->functions[i].value - code.address;
		if (s->symbols->functions[i].value < code.address || begin >= code.size || begin <= at)
			continue;
		r = search_piece(&code, at, begin);
		at = begin;
	}
	return r < 0 ? r : search_piece(&code, at, code.size);
}

static int find_code(const struct search *s)
{
	int r = 0;

	for (size_t i = 0; i < s->image->n_sections && r == 0; i++) {
		const GElf_Shdr *header = &s->image->sections[i].header;
		if (header->sh_flags & SHF_ALLOC && header->sh_flags & SHF_EXECINSTR && header->sh_type == SHT_PROGBITS)
			r = search_code(s, &s->image->sections[i]);
	}
	return r;
}

/* -- Other images ----------------------------------------------------------------------------------------------------
 */

/* Defined there, it is exported; not defined, that image refers to it. */
static int check_dynamic(const struct search *s)
{
	const struct hp_section *section = hp_image_section_of_type(s->image, SHT_DYNSYM);
	Elf_Data *data = section ? hp_section_data(section) : NULL;
	size_t n = data ? data->d_size / sizeof(Elf64_Sym) : 0;
	GElf_Sym sym;

	for (size_t i = 1; i < n && gelf_getsym(data, (int)i, &sym); i++) {
		const char *name = elf_strptr(s->image->elf, section->header.sh_link, sym.st_name);
		if (!name || strcmp(name, s->name) != 0)
			continue;
		return hp_err_set(s->err, HOTPATCH_EREFUSED,
		                  sym.st_shndx == SHN_UNDEF ? "'%s' refers to it"
		                                            : "'%s' exports it, so that other images may refer to it",
		                  s->image->name);
	}
	return 0;
}

/* -- All of it -------------------------------------------------------------------------------------------------------
 */

static int search_image(struct search *s, bool *ret_found)
{
	const struct hp_function *const *named;
	size_t n;
	int r = hp_symbols_read(s->image, HP_DEBUG_ROOT, &s->symbols, s->err);

	if (r == 0)
		r = check_dynamic(s);
	if (r == 0 && !s->symbols->has_locals)
		r = hp_err_set(s->err, HOTPATCH_EREFUSED,
		               "'%s' is stripped, and without its debug file callers cannot be told", s->image->name);
	if (r == 0)
		r = hp_symbols_named(s->symbols, s->name, &named, &n, s->err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (named[i]->is_static)
			continue;
		*ret_found = true;
		s->end = named[i]->value + named[i]->size;
		s->n_targets = 0;
		if ((r = add_target(s, named[i]->value)) == 0 && (r = find_addresses(s)) == 0)
			r = find_code(s);
	}
	hp_symbols_free(s->symbols);
	free(s->targets);
	return r;
}

int hp_callers_check(const struct hp_make_options *options, const char *function, struct hp_err *err)
{
	bool found = false;
	int r = 0;

	for (size_t i = 0; i < options->n_images && r == 0; i++) {
		struct hp_image *image;
		r = hp_image_open(options->images[i], options->images[i], &image, err);
		if (r < 0)
			return r;
		struct search s = {.options = options, .name = function, .image = image, .err = err};
		r = search_image(&s, &found);
		hp_image_close(image);
	}
	if (r < 0 || found)
		return r;
	return hp_err_set(err, HOTPATCH_EREFUSED,
	                  options->n_images
	                          ? "none of the images that were given has it"
	                          : "its callers can be looked for only in the linked program, which --image gives");
}
