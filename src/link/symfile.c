#include "link/symfile.h"

#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"

/* The file as it is put together; bytes NULL while only the size is wanted. */
struct builder {
	const struct hp_linking *linking;
	const struct hp_patchfile *file;
	uint32_t *section_index; /* in the symfile, of each of the patch file's; 0: left out */
	Elf64_Shdr *headers;
	size_t n_headers;
	uint8_t *bytes;
	size_t size, room;
	bool failed;
};

static size_t append(struct builder *b, const void *bytes, size_t n, size_t align)
{
	size_t at = (b->size + align - 1) & ~(align - 1);
	if (at + n > b->room && !b->failed) {
		size_t room = 2 * (at + n) + 4096;
		uint8_t *grown = realloc(b->bytes, room);
		b->failed = !grown;
		if (grown) {
			memset(grown + b->room, 0, room - b->room);
			b->bytes = grown;
			b->room = room;
		}
	}
	if (b->failed)
		return 0;
	if (bytes)
		memcpy(b->bytes + at, bytes, n);
	b->size = at + n;
	return at;
}

static bool is_debug(const struct hp_patch_section *section)
{
	return section->bytes && strncmp(section->name, ".debug_", 7) == 0;
}

/* -- Sections -------------------------------------------------------------------------------------------------- */

static void add_in_memory(struct builder *b, uint32_t i)
{
	const struct hp_patch_section *section = &b->file->sections[i];
	const struct hp_section_place *place = &b->linking->layout->sections[i];

	b->section_index[i] = (uint32_t)b->n_headers;
	b->headers[b->n_headers++] = (Elf64_Shdr){
		.sh_type = SHT_NOBITS,
		.sh_flags = section->flags & (SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR),
		.sh_addr = b->linking->base + place->offset,
		.sh_size = section->size,
		.sh_addralign = section->align,
	};
}

static int add_debug(struct builder *b, uint32_t i, struct hp_err *err)
{
	const struct hp_patch_section *section = &b->file->sections[i];
	size_t at = append(b, section->bytes, section->size, section->align);

	if (b->failed)
		return 0;
	b->section_index[i] = (uint32_t)b->n_headers;
	b->headers[b->n_headers++] = (Elf64_Shdr){
		.sh_type = SHT_PROGBITS,
		.sh_flags = section->flags & (SHF_MERGE | SHF_STRINGS),
		.sh_offset = at,
		.sh_size = section->size,
		.sh_addralign = section->align,
	};
	return hp_relocate_section(b->linking, i, b->bytes + at, err);
}

/* Unwind tables lie in memory as well, but debuggers read them here. Without an address only their size is wanted: what
 * they refer to may be out of reach of none. */
static int add_frames(struct builder *b, uint32_t i, struct hp_err *err)
{
	const struct hp_patch_section *section = &b->file->sections[i];
	size_t at = append(b, section->bytes, section->size, 8);

	add_in_memory(b, i);
	b->headers[b->section_index[i]].sh_type = SHT_PROGBITS;
	b->headers[b->section_index[i]].sh_offset = at;
	return b->failed || !b->linking->base ? 0 : hp_relocate_section(b->linking, i, b->bytes + at, err);
}

static int add_sections(struct builder *b, struct hp_err *err)
{
	int r = 0;

	b->n_headers = 1;
	for (uint32_t i = 1; i < b->file->n_sections && r == 0; i++) {
		bool is_in_memory = b->linking->layout->sections[i].zone != HP_ZONE_NONE;
		if (is_in_memory && strcmp(b->file->sections[i].name, ".eh_frame") == 0)
			r = add_frames(b, i, err);
		else if (is_in_memory)
			add_in_memory(b, i);
		else if (is_debug(&b->file->sections[i]))
			r = add_debug(b, i, err);
	}
	return r;
}

/* -- Symbols --------------------------------------------------------------------------------------------------- */

static bool is_named(const struct builder *b, const struct hp_patch_symbol *symbol)
{
	return symbol->section && symbol->name[0] && b->section_index[symbol->section] &&
	       b->linking->layout->sections[symbol->section].zone != HP_ZONE_NONE;
}

/* Strings first: their offsets are what the symbols hold. */
static void add_symbols(struct builder *b)
{
	size_t n = 1, names = append(b, "", 1, 1), at = 1;

	for (size_t i = 1; i < b->file->n_symbols; i++)
		if (is_named(b, &b->file->symbols[i])) {
			append(b, b->file->symbols[i].name, strlen(b->file->symbols[i].name) + 1, 1);
			n++;
		}
	size_t names_size = b->size - names;
	size_t symbols = append(b, NULL, n * sizeof(Elf64_Sym), 8);
	if (b->failed)
		return;
	Elf64_Sym *symbol = (Elf64_Sym *)(b->bytes + symbols) + 1;
	for (uint32_t i = 1; i < b->file->n_symbols; i++) {
		const struct hp_patch_symbol *from = &b->file->symbols[i];
		if (!is_named(b, from))
			continue;
		*symbol++ = (Elf64_Sym){
			.st_name = (Elf64_Word)at,
			.st_info = ELF64_ST_INFO(STB_LOCAL, from->type),
			.st_shndx = (Elf64_Section)b->section_index[from->section],
			.st_value = hp_linking_address(b->linking, i),
			.st_size = from->size,
		};
		at += strlen(from->name) + 1;
	}
	uint32_t index = (uint32_t)b->n_headers;
	b->headers[b->n_headers++] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
	                                          .sh_offset = symbols,
	                                          .sh_size = n * sizeof(Elf64_Sym),
	                                          .sh_link = index + 1,
	                                          .sh_info = (Elf64_Word)n,
	                                          .sh_addralign = 8,
	                                          .sh_entsize = sizeof(Elf64_Sym)};
	b->headers[b->n_headers++] =
		(Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = names, .sh_size = names_size, .sh_addralign = 1};
}

/* -- Section names, headers, ELF header ------------------------------------------------------------------------ */

static void name_section(struct builder *b, size_t names, uint32_t header, const char *name)
{
	b->headers[header].sh_name = (Elf64_Word)(append(b, name, strlen(name) + 1, 1) - names);
}

/* Code says which patch it is of: a debugger tells the section of an address (gdb: info symbol), also in a core. */
static void name_code(struct builder *b, size_t names, uint32_t header, const char *name)
{
	name_section(b, names, header, name);
	b->size--; /* the end of the name */
	append(b, "@", 1, 1);
	append(b, b->file->name, strlen(b->file->name) + 1, 1);
}

static void add_headers(struct builder *b)
{
	size_t names = append(b, "", 1, 1);
	uint32_t last = (uint32_t)b->n_headers++;

	for (uint32_t i = 1; i < b->file->n_sections; i++)
		if (b->section_index[i] && b->file->sections[i].flags & SHF_EXECINSTR)
			name_code(b, names, b->section_index[i], b->file->sections[i].name);
		else if (b->section_index[i])
			name_section(b, names, b->section_index[i], b->file->sections[i].name);
	name_section(b, names, last - 2, ".symtab");
	name_section(b, names, last - 1, ".strtab");
	name_section(b, names, last, ".shstrtab");
	b->headers[last].sh_type = SHT_STRTAB;
	b->headers[last].sh_offset = names;
	b->headers[last].sh_size = b->size - names;
	b->headers[last].sh_addralign = 1;
	size_t at = append(b, b->headers, b->n_headers * sizeof(*b->headers), 8);
	if (b->failed)
		return;
	*(Elf64_Ehdr *)b->bytes = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = hp_arch_elf_machine,
		.e_version = EV_CURRENT,
		.e_shoff = at,
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = (Elf64_Half)b->n_headers,
		.e_shstrndx = (Elf64_Half)last,
	};
}

int hp_symfile_make(const struct hp_linking *linking, uint8_t **ret_bytes, size_t *ret_size, struct hp_err *err)
{
	const struct hp_patchfile *file = linking->layout->file;
	struct builder b = {.linking = linking, .file = file};
	int r = 0;

	b.section_index = calloc(file->n_sections + 1, sizeof(*b.section_index));
	b.headers = calloc(file->n_sections + 5, sizeof(*b.headers));
	b.failed = !b.section_index || !b.headers;
	append(&b, NULL, sizeof(Elf64_Ehdr), 8);
	if (!b.failed && (r = add_sections(&b, err)) == 0) {
		add_symbols(&b);
		if (!b.failed)
			add_headers(&b);
	}
	if (b.failed)
		r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory to tell debuggers of '%s'", file->path);
	if (r == 0) {
		*ret_bytes = b.bytes;
		*ret_size = b.size;
		b.bytes = NULL;
	}
	free(b.bytes);
	free(b.headers);
	free(b.section_index);
	return r;
}
