#include "types/objdwarf.h"

#include <string.h>

struct tables {
	const struct hp_image *image;
	Elf_Data *symbols;
	struct hp_err *err;
};

static int damaged(const struct tables *t, const struct hp_section *section)
{
	return hp_err_set(t->err, HOTPATCH_ENOTYPE, "the type information of '%s' is damaged: the relocations of '%s'",
	                  t->image->name, section->name);
}

/* The list of an image leaves the section of index 0 out. */
static const struct hp_section *section_of(const struct hp_image *image, size_t index)
{
	return index && index <= image->n_sections ? &image->sections[index - 1] : NULL;
}

static uint64_t address_of(const struct tables *t, const GElf_Sym *sym)
{
	const struct hp_section *section = sym->st_shndx < SHN_LORESERVE ? section_of(t->image, sym->st_shndx) : NULL;

	if (!section || !(section->header.sh_flags & SHF_ALLOC))
		return sym->st_value;
	return hp_objdwarf_address(sym->st_shndx, sym->st_value);
}

static size_t width_of(uint32_t type)
{
	switch (type) {
	case R_X86_64_64:
	case R_X86_64_DTPOFF64:
		return 8;
	case R_X86_64_32:
	case R_X86_64_32S:
	case R_X86_64_DTPOFF32:
		return 4;
	default:
		return 0;
	}
}

static int relocate_one(const struct tables *t, const GElf_Rela *rela, const struct hp_section *section, Elf_Data *data)
{
	uint32_t type = (uint32_t)GELF_R_TYPE(rela->r_info);
	size_t width = width_of(type);
	GElf_Sym sym;

	if (!width) /* R_X86_64_NONE, or what DWARF has no use for */
		return 0;
	if (rela->r_offset > data->d_size || width > data->d_size - rela->r_offset ||
	    !gelf_getsym(t->symbols, (int)GELF_R_SYM(rela->r_info), &sym))
		return damaged(t, section);
	uint64_t value = address_of(t, &sym) + (uint64_t)rela->r_addend;
	if (type == R_X86_64_DTPOFF32)
		value = (uint64_t)sym.st_shndx << 16 | ((value - (value >> 32 << 32)) & 0xffff);
	memcpy((uint8_t *)data->d_buf + rela->r_offset, &value, width);
	return 0;
}

static int relocate_section(const struct tables *t, const struct hp_section *relocations)
{
	const struct hp_section *section = section_of(t->image, relocations->header.sh_info);
	GElf_Rela rela;

	if (!section || section->header.sh_flags & SHF_ALLOC)
		return 0;
	Elf_Data *data = hp_section_data(section), *from = hp_section_data(relocations);
	size_t count = from ? from->d_size / sizeof(Elf64_Rela) : 0;
	for (size_t i = 0; data && i < count; i++) {
		if (!gelf_getrela(from, (int)i, &rela))
			return damaged(t, section);
		int r = relocate_one(t, &rela, section, data);
		if (r < 0)
			return r;
	}
	return 0;
}

int hp_objdwarf_relocate(const struct hp_image *image, struct hp_err *err)
{
	const struct hp_section *table = hp_image_section_of_type(image, SHT_SYMTAB);
	struct tables t = {image, table ? hp_section_data(table) : NULL, err};

	for (size_t i = 0; t.symbols && i < image->n_sections; i++) {
		int r = image->sections[i].header.sh_type == SHT_RELA ? relocate_section(&t, &image->sections[i]) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}
