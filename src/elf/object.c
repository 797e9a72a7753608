#include "elf/object.h"

#include <stdlib.h>
#include <string.h>

#include "elf/field.h"

struct parse {
	const struct hp_image *image;
	struct hp_object *object;
	const struct hp_section *table; /* .symtab; NULL where there is none */
	size_t table_index;
	char *string; /* where the next one goes */
	uint8_t *byte;
	struct hp_err *err;
};

static int damaged(const struct parse *p, const char *why)
{
	return hp_err_set(p->err, HOTPATCH_ENOTELF, "the object '%s' is damaged or cut short: %s", p->image->name, why);
}

static int no_memory(const struct parse *p)
{
	return hp_err_set(p->err, HOTPATCH_ENOMEM, "no memory to read '%s'", p->image->name);
}

static const char *keep_string(struct parse *p, const char *string)
{
	size_t length = strlen(string);
	char *copy = memcpy(p->string, string, length + 1);

	p->string += length + 1;
	return copy;
}

/* Read by libelf into native order; hp_image_open has seen to it that the machine is ours. */
static Elf_Data *data_of(const struct hp_section *section)
{
	return section->header.sh_type == SHT_NOBITS ? NULL : hp_section_data(section);
}

/* -- Room: what is copied is measured first -------------------------------------------------------------------- */

static size_t symbol_count(const struct parse *p)
{
	Elf_Data *data = p->table ? data_of(p->table) : NULL;
	return data ? data->d_size / sizeof(Elf64_Sym) : 0;
}

static const char *symbol_name(const struct parse *p, const GElf_Sym *sym)
{
	const char *name = elf_strptr(p->image->elf, p->table->header.sh_link, sym->st_name);
	return name ? name : "";
}

static bool make_room(struct parse *p)
{
	size_t n = p->image->n_sections, strings = 1, bytes = 0, relocs = 0, symbols = symbol_count(p);
	GElf_Sym sym;

	for (size_t i = 0; i < n; i++) {
		const struct hp_section *section = &p->image->sections[i];
		Elf_Data *data = data_of(section);
		strings += strlen(section->name) + 1;
		bytes += data ? data->d_size : 0;
		relocs += data && section->header.sh_type == SHT_RELA ? data->d_size / sizeof(Elf64_Rela) : 0;
	}
	for (size_t i = 0; i < symbols; i++)
		if (gelf_getsym(data_of(p->table), (int)i, &sym))
			strings += strlen(symbol_name(p, &sym)) + 1;
	struct hp_object *o = p->object;
	o->name = strdup(p->image->name);
	o->sections = calloc(n + 2, sizeof(*o->sections));
	o->symbols = calloc(symbols + 1, sizeof(*o->symbols));
	o->relocs = calloc(relocs + 1, sizeof(*o->relocs));
	o->bytes = p->byte = malloc(bytes + 1);
	o->strings = p->string = malloc(strings);
	return o->name && o->sections && o->symbols && o->relocs && o->bytes && o->strings;
}

/* -- Sections -------------------------------------------------------------------------------------------------- */

static int read_section(struct parse *p, const struct hp_section *from, struct hp_object_section *section)
{
	const GElf_Shdr *h = &from->header;
	Elf_Data *data = data_of(from);
	uint64_t align = h->sh_addralign ? h->sh_addralign : 1;

	*section = (struct hp_object_section){
		.name = keep_string(p, from->name),
		.type = h->sh_type,
		.flags = h->sh_flags & ~(uint64_t)SHF_COMPRESSED, /* no more */
		.align = align,
		.size = data                       ? data->d_size
	                : h->sh_type == SHT_NOBITS ? h->sh_size
	                                           : 0,
		.entsize = h->sh_entsize,
		.link = h->sh_link,
		.info = h->sh_info,
	};
	if (align & (align - 1))
		return damaged(p, "the alignment of a section makes no sense");
	if (!data && h->sh_type != SHT_NOBITS && h->sh_type != SHT_NULL && h->sh_size)
		return damaged(p, "a section cannot be read");
	if (data) {
		section->bytes = memcpy(p->byte, data->d_buf, data->d_size);
		p->byte += data->d_size;
	}
	return 0;
}

/* libelf's list leaves the section of index 0 out. */
static int read_sections(struct parse *p)
{
	p->object->sections[0] = (struct hp_object_section){.name = "", .align = 1};
	for (size_t i = 0; i < p->image->n_sections; i++) {
		const struct hp_section *from = &p->image->sections[i];
		if (elf_ndxscn(from->scn) != i + 1)
			return damaged(p, "its sections are not in order");
		int r = read_section(p, from, &p->object->sections[i + 1]);
		if (r < 0)
			return r;
		p->object->n_sections = i + 2;
		if (from == p->table) /* the first, for which there is room; a second one is none of ours */
			p->table_index = i + 1;
	}
	return 0;
}

/* -- Symbols --------------------------------------------------------------------------------------------------- */

static bool find_section(const struct parse *p, const GElf_Sym *sym, uint32_t *ret_section)
{
	if (sym->st_shndx == SHN_ABS || sym->st_shndx == SHN_COMMON)
		*ret_section = sym->st_shndx == SHN_ABS ? HP_SECTION_ABSOLUTE : HP_SECTION_COMMON;
	else
		*ret_section = sym->st_shndx;
	return sym->st_shndx < SHN_LORESERVE ? sym->st_shndx < p->object->n_sections
	                                     : sym->st_shndx == SHN_ABS || sym->st_shndx == SHN_COMMON;
}

static int read_symbol(struct parse *p, const GElf_Sym *sym, const char **unit)
{
	struct hp_object_symbol *symbol = &p->object->symbols[p->object->n_symbols++];

	*symbol = (struct hp_object_symbol){
		.name = keep_string(p, symbol_name(p, sym)),
		.value = sym->st_value,
		.size = sym->st_size,
		.type = GELF_ST_TYPE(sym->st_info),
		.bind = GELF_ST_BIND(sym->st_info),
		.other = sym->st_other,
	};
	if (symbol->type == STT_FILE)
		*unit = symbol->name;
	symbol->unit = symbol->bind == STB_LOCAL ? *unit : "";
	if (!find_section(p, sym, &symbol->section))
		return damaged(p, "a symbol is in no section (or there are more than 65279, which cannot be read)");
	if (!symbol->section || symbol->section >= HP_SECTION_ABSOLUTE)
		return 0;
	uint64_t size = p->object->sections[symbol->section].size;
	if (symbol->value > size || symbol->size > size - symbol->value)
		return damaged(p, "a symbol leaves its section");
	return 0;
}

static int read_symbols(struct parse *p)
{
	Elf_Data *data = p->table ? data_of(p->table) : NULL;
	size_t count = symbol_count(p);
	const char *unit = "";
	GElf_Sym sym;

	if (!data || !count)
		return hp_err_set(p->err, HOTPATCH_ENOTELF, "the object '%s' has no symbols", p->image->name);
	for (size_t i = 0; i < count; i++) {
		if (!gelf_getsym(data, (int)i, &sym))
			return damaged(p, "a symbol cannot be read");
		int r = read_symbol(p, &sym, &unit);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- Relocations ----------------------------------------------------------------------------------------------- */

static int read_relocation(struct parse *p, Elf_Data *data, size_t i, const struct hp_object_section *section,
                           struct hp_object_relocation *reloc)
{
	struct hp_field field = {0};
	GElf_Rela rela;

	if (!gelf_getrela(data, (int)i, &rela))
		return damaged(p, "a relocation cannot be read");
	*reloc = (struct hp_object_relocation){
		.offset = rela.r_offset,
		.type = (uint32_t)GELF_R_TYPE(rela.r_info),
		.symbol = (uint32_t)GELF_R_SYM(rela.r_info),
		.addend = rela.r_addend,
	};
	if (!hp_field_of(reloc->type, &field) && section->flags & SHF_ALLOC)
		return hp_err_set(p->err, HOTPATCH_ENOTELF,
		                  "the object '%s' has a relocation of type %u in '%s', which is not known",
		                  p->image->name, reloc->type, section->name);
	if (reloc->offset > section->size || field.size > section->size - reloc->offset)
		return damaged(p, "a relocation leaves its section");
	if (reloc->symbol >= p->object->n_symbols)
		return damaged(p, "a relocation refers to no symbol");
	if (reloc->addend > HP_ADDEND_MAX || reloc->addend < -HP_ADDEND_MAX)
		return damaged(p, "a relocation refers to what is further away than memory reaches");
	return 0;
}

static int compare_relocs(const void *a, const void *b)
{
	const struct hp_object_relocation *x = a, *y = b;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x < y ? -1 : x > y;
}

/* By offset, as most compilers leave them; those of one place in the file's order. */
static void sort_relocs(struct hp_object_relocation *relocs, size_t count)
{
	for (size_t i = 1; i < count; i++)
		if (relocs[i].offset < relocs[i - 1].offset) {
			qsort(relocs, count, sizeof(*relocs), compare_relocs);
			return;
		}
}

static int read_relocations(struct parse *p, const struct hp_section *from)
{
	Elf_Data *data = data_of(from);
	size_t count = data ? data->d_size / sizeof(Elf64_Rela) : 0;
	struct hp_object_relocation *relocs = p->object->relocs + p->object->n_relocs;

	if (from->header.sh_info == 0 || from->header.sh_info >= p->object->n_sections ||
	    from->header.sh_link != p->table_index || from->header.sh_entsize != sizeof(Elf64_Rela))
		return damaged(p, "a table of relocations is for no section");
	struct hp_object_section *section = &p->object->sections[from->header.sh_info];
	if (section->relocs)
		return damaged(p, "a section has two tables of relocations");
	for (size_t i = 0; i < count; i++) {
		int r = read_relocation(p, data, i, section, &relocs[i]);
		if (r < 0)
			return r;
	}
	sort_relocs(relocs, count);
	p->object->n_relocs += count;
	section->relocs = relocs;
	section->n_relocs = count;
	return 0;
}

static int read_all_relocations(struct parse *p)
{
	for (size_t i = 0; i < p->image->n_sections; i++) {
		const struct hp_section *from = &p->image->sections[i];
		int r = from->header.sh_type == SHT_RELA ? read_relocations(p, from) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- The object ------------------------------------------------------------------------------------------------ */

static int read_image(struct parse *p)
{
	p->table = hp_image_section_of_type(p->image, SHT_SYMTAB);
	if (p->image->header.e_type != ET_REL)
		return hp_err_set(p->err, HOTPATCH_ENOTELF, "'%s' is not a relocatable object: compile with -c",
		                  p->image->name);
	if (!make_room(p))
		return no_memory(p);
	int r = read_sections(p);
	if (r == 0)
		r = read_symbols(p);
	if (r == 0)
		r = read_all_relocations(p);
	return r;
}

int hp_object_read(const char *path, struct hp_object **ret_object, struct hp_err *err)
{
	struct hp_object *object = calloc(1, sizeof(*object));
	struct hp_image *image = NULL;
	int r = HOTPATCH_ENOMEM;

	if (!object)
		return hp_err_set(err, r, "no memory to read '%s'", path);
	if ((r = hp_image_open_whole(path, path, &image, err)) < 0)
		goto out;
	struct parse p = {.image = image, .object = object, .err = err};
	if ((r = read_image(&p)) < 0)
		goto out;
	*ret_object = object;
	object = NULL;
out:
	hp_image_close(image);
	hp_object_free(object);
	return r;
}

size_t hp_object_reloc_at(const struct hp_object_section *section, uint64_t offset)
{
	size_t first = 0, end = section->n_relocs;

	while (first < end) {
		size_t middle = first + (end - first) / 2;
		if (section->relocs[middle].offset < offset)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

struct hp_object *hp_object_share(struct hp_object *object)
{
	object->n_more++;
	return object;
}

void hp_object_free(struct hp_object *object)
{
	if (!object || (object->n_more && object->n_more--))
		return;
	free(object->sections);
	free(object->symbols);
	free(object->relocs);
	free(object->bytes);
	free(object->strings);
	free(object->name);
	free(object);
}
