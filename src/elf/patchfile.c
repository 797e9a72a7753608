#include "elf/patchfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf/field.h"
#include "elf/patchnote.h"

enum { FILE_MAX = 1 << 28, ZERO_MAX = 1 << 28, ALIGN_MAX = 4096 };

struct parse {
	struct hp_patchfile *file;
	const char *names; /* of sections */
	size_t names_size;
	Elf64_Ehdr header;
	Elf64_Shdr *headers;
	size_t table; /* index of .symtab */
	struct hp_err *err;
};

static int damaged(const struct parse *p, const char *why)
{
	return hp_err_set(p->err, HOTPATCH_ENOTELF, "the patch file '%s' is damaged: %s", p->file->path, why);
}

static int no_memory(const struct parse *p)
{
	return hp_err_set(p->err, HOTPATCH_ENOMEM, "no memory to read '%s'", p->file->path);
}

static bool is_in_file(const struct parse *p, uint64_t offset, uint64_t size)
{
	return offset <= p->file->size && size <= p->file->size - offset;
}

/* -- Sections -------------------------------------------------------------------------------------------------- */

static int check_header(struct parse *p)
{
	const Elf64_Ehdr *h = &p->header;

	if (p->file->size < sizeof(*h) || memcmp(p->file->bytes, ELFMAG, SELFMAG) != 0)
		return hp_err_set(p->err, HOTPATCH_ENOTELF, "'%s' is not a patch file: 'hotpatch build' makes them",
		                  p->file->path);
	memcpy(&p->header, p->file->bytes, sizeof(*h));
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return hp_err_set(p->err, HOTPATCH_ENOTELF, "'%s' is for another kind of machine", p->file->path);
	if (h->e_type != ET_REL)
		return hp_err_set(p->err, HOTPATCH_ENOTELF,
		                  "'%s' is an ELF file but not a patch file: 'hotpatch build' makes them",
		                  p->file->path);
	if (h->e_ident[EI_VERSION] != EV_CURRENT || h->e_version != EV_CURRENT || h->e_ehsize != sizeof(*h) ||
	    h->e_flags || h->e_phnum)
		return damaged(p, "its ELF header is not as it is to be");
	if (h->e_shentsize != sizeof(Elf64_Shdr) || !h->e_shnum || h->e_shnum >= SHN_LORESERVE ||
	    h->e_shstrndx >= h->e_shnum || !is_in_file(p, h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr)))
		return damaged(p, "it has no table of sections, or is cut short");
	return 0;
}

/* A table of strings ends in a NUL, so that any offset in it is that of a string. */
static bool find_strings(const struct parse *p, size_t index, const char **ret_strings, size_t *ret_size)
{
	const Elf64_Shdr *h = index < p->header.e_shnum ? &p->headers[index] : NULL;

	if (!h || h->sh_type != SHT_STRTAB || !h->sh_size || !is_in_file(p, h->sh_offset, h->sh_size) ||
	    p->file->bytes[h->sh_offset + h->sh_size - 1])
		return false;
	*ret_strings = (const char *)p->file->bytes + h->sh_offset;
	*ret_size = h->sh_size;
	return true;
}

static int read_section(struct parse *p, const Elf64_Shdr *h, struct hp_patch_section *section)
{
	bool is_loaded = h->sh_flags & SHF_ALLOC;
	uint64_t align = h->sh_addralign ? h->sh_addralign : 1;

	if (h->sh_name >= p->names_size)
		return damaged(p, "a section has no name");
	*section = (struct hp_patch_section){
		.name = p->names + h->sh_name,
		.type = h->sh_type,
		.flags = h->sh_flags,
		.size = h->sh_size,
		.align = align,
	};
	if (h->sh_addr || align & (align - 1) || align > ALIGN_MAX)
		return damaged(p, "a section has an address, or its alignment makes no sense");
	if (is_loaded && h->sh_type != SHT_PROGBITS && h->sh_type != SHT_NOBITS)
		return damaged(p, "a section to be loaded is neither code nor data");
	if (is_loaded && h->sh_flags & ~(uint64_t)(SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR))
		return damaged(p, "a section to be loaded has flags that do not belong there");
	if (h->sh_type == SHT_NOBITS)
		return h->sh_size <= ZERO_MAX ? 0 : damaged(p, "a section of zeroes is too large");
	if (h->sh_type == SHT_NULL)
		section->size = 0;
	else if (!is_in_file(p, h->sh_offset, h->sh_size))
		return damaged(p, "a section lies beyond its end, or it is cut short");
	else
		section->bytes = p->file->bytes + h->sh_offset;
	return 0;
}

/* Any object has sections; without this one it need not be looked at further. */
static int check_notes(const struct parse *p)
{
	for (size_t i = 0; i < p->header.e_shnum; i++)
		if (p->headers[i].sh_type == SHT_NOTE && p->headers[i].sh_name < p->names_size &&
		    strcmp(p->names + p->headers[i].sh_name, HP_PATCH_NOTES) == 0)
			return 0;
	return hp_err_set(p->err, HOTPATCH_ENOTELF,
	                  "'%s' is an object file but not a patch file: 'hotpatch build' makes them", p->file->path);
}

static int read_sections(struct parse *p)
{
	size_t count = p->header.e_shnum;
	int r;

	p->headers = malloc(count * sizeof(*p->headers));
	p->file->sections = calloc(count, sizeof(*p->file->sections));
	if (!p->headers || !p->file->sections)
		return no_memory(p);
	memcpy(p->headers, p->file->bytes + p->header.e_shoff, count * sizeof(*p->headers));
	if (!find_strings(p, p->header.e_shstrndx, &p->names, &p->names_size))
		return damaged(p, "its sections have no names");
	if (p->headers[0].sh_type != SHT_NULL || p->headers[0].sh_flags)
		return damaged(p, "its first section is not the empty one");
	if ((r = check_notes(p)) < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		p->file->n_sections = i + 1;
		if ((r = read_section(p, &p->headers[i], &p->file->sections[i])) < 0)
			return r;
		if (p->headers[i].sh_type == SHT_SYMTAB && p->table)
			return damaged(p, "it has two symbol tables");
		if (p->headers[i].sh_type == SHT_SYMTAB)
			p->table = i;
	}
	return p->table ? 0 : damaged(p, "it has no symbol table");
}

/* -- Symbols --------------------------------------------------------------------------------------------------- */

static int read_symbol(const struct parse *p, const Elf64_Sym *sym, const char *strings, size_t strings_size,
                       struct hp_patch_symbol *symbol)
{
	if (sym->st_name >= strings_size)
		return damaged(p, "a symbol has no name");
	*symbol = (struct hp_patch_symbol){
		.name = strings + sym->st_name,
		.section = sym->st_shndx,
		.value = sym->st_value,
		.size = sym->st_size,
		.type = ELF64_ST_TYPE(sym->st_info),
		.bind = ELF64_ST_BIND(sym->st_info),
		.binding = UINT32_MAX,
	};
	if (sym->st_shndx == SHN_UNDEF)
		return sym->st_value || sym->st_size ? damaged(p, "a symbol of the program has a place in it") : 0;
	/* Debug information refers to itself by the symbols of its sections. */
	if (sym->st_shndx >= p->file->n_sections ||
	    (!(p->file->sections[sym->st_shndx].flags & SHF_ALLOC) && symbol->type != STT_SECTION))
		return damaged(p, "a symbol is in no section that is loaded");
	const struct hp_patch_section *section = &p->file->sections[sym->st_shndx];
	if (sym->st_value > section->size || sym->st_size > section->size - sym->st_value)
		return damaged(p, "a symbol leaves its section");
	return 0;
}

static int read_symbols(struct parse *p)
{
	const Elf64_Shdr *h = &p->headers[p->table];
	const char *strings;
	size_t strings_size, count = h->sh_size / sizeof(Elf64_Sym);
	Elf64_Sym sym;

	if (h->sh_entsize != sizeof(sym) || h->sh_size % sizeof(sym) || !count ||
	    !find_strings(p, h->sh_link, &strings, &strings_size))
		return damaged(p, "its symbol table cannot be read");
	p->file->symbols = calloc(count, sizeof(*p->file->symbols));
	if (!p->file->symbols)
		return no_memory(p);
	p->file->n_symbols = count;
	for (size_t i = 0; i < count; i++) {
		memcpy(&sym, p->file->bytes + h->sh_offset + i * sizeof(sym), sizeof(sym));
		int r = read_symbol(p, &sym, strings, strings_size, &p->file->symbols[i]);
		if (r < 0)
			return r;
	}
	const struct hp_patch_symbol *first = &p->file->symbols[0];
	return first->section || *first->name ? damaged(p, "its first symbol is not the empty one") : 0;
}

/* -- Relocations ----------------------------------------------------------------------------------------------- */

static int read_relocation(const struct parse *p, const Elf64_Rela *rela, const struct hp_patch_section *section,
                           struct hp_patch_reloc *reloc)
{
	struct hp_field field;

	*reloc = (struct hp_patch_reloc){
		.offset = rela->r_offset,
		.type = ELF64_R_TYPE(rela->r_info),
		.symbol = ELF64_R_SYM(rela->r_info),
		.addend = rela->r_addend,
	};
	if (!hp_field_of(reloc->type, &field))
		return hp_err_set(p->err, HOTPATCH_ENOTELF,
		                  "the patch file '%s' has a relocation of type %u in '%s', which is not known",
		                  p->file->path, reloc->type, section->name);
	if (reloc->offset > section->size || field.size > section->size - reloc->offset)
		return damaged(p, "a relocation leaves its section");
	if (reloc->symbol >= p->file->n_symbols)
		return damaged(p, "a relocation refers to no symbol");
	return 0;
}

static int compare_relocs(const void *a, const void *b)
{
	const struct hp_patch_reloc *x = a, *y = b;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int read_relocations(struct parse *p, const Elf64_Shdr *h)
{
	size_t count = h->sh_size / sizeof(Elf64_Rela);
	Elf64_Rela rela;

	if (h->sh_entsize != sizeof(rela) || h->sh_size % sizeof(rela) || h->sh_link != p->table || !h->sh_info ||
	    h->sh_info >= p->file->n_sections)
		return damaged(p, "a table of relocations is for no section");
	struct hp_patch_section *section = &p->file->sections[h->sh_info];
	if (section->relocs || !section->bytes)
		return damaged(p, "a section has two tables of relocations, or no bytes for them");
	section->relocs = calloc(count + 1, sizeof(*section->relocs));
	if (!section->relocs)
		return no_memory(p);
	section->n_relocs = count;
	for (size_t i = 0; i < count; i++) {
		memcpy(&rela, p->file->bytes + h->sh_offset + i * sizeof(rela), sizeof(rela));
		int r = read_relocation(p, &rela, section, &section->relocs[i]);
		if (r < 0)
			return r;
	}
	qsort(section->relocs, count, sizeof(*section->relocs), compare_relocs);
	return 0;
}

static int read_all_relocations(struct parse *p)
{
	for (size_t i = 0; i < p->file->n_sections; i++) {
		uint32_t type = p->headers[i].sh_type;
		int r = type == SHT_RELA ? read_relocations(p, &p->headers[i]) : 0;
		if (type == SHT_REL)
			r = damaged(p, "it has relocations without addends");
		if (r < 0)
			return r;
	}
	return 0;
}

/* -- The file -------------------------------------------------------------------------------------------------- */

static int read_notes(struct parse *p)
{
	const struct hp_patch_section *notes = NULL;

	for (size_t i = 0; i < p->file->n_sections; i++) {
		const struct hp_patch_section *section = &p->file->sections[i];
		if (section->type != SHT_NOTE || strcmp(section->name, HP_PATCH_NOTES) != 0)
			continue;
		if (notes || !section->bytes)
			return damaged(p, "it has two sections of notes, or an empty one");
		notes = section;
	}
	if (!notes)
		return damaged(p, "it has no notes");
	return hp_patchnotes_read(p->file, notes->bytes, notes->size, p->err);
}

static int parse(struct hp_patchfile *file, struct hp_err *err)
{
	struct parse p = {.file = file, .err = err};
	int r = check_header(&p);

	if (r == 0)
		r = read_sections(&p);
	if (r == 0)
		r = read_symbols(&p);
	if (r == 0)
		r = read_all_relocations(&p);
	if (r == 0)
		r = read_notes(&p);
	free(p.headers);
	return r;
}

/* Takes bytes, also on failure. */
static int parse_owned(uint8_t *bytes, size_t size, const char *name, struct hp_patchfile **ret_file,
                       struct hp_err *err)
{
	struct hp_patchfile *file = calloc(1, sizeof(*file));
	char *path = strdup(name);

	if (!file || !path) {
		free(file);
		free(path);
		free(bytes);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", name);
	}
	file->path = path;
	file->bytes = bytes;
	file->size = size;
	int r = parse(file, err);
	if (r < 0)
		hp_patchfile_free(file);
	else
		*ret_file = file;
	return r;
}

int hp_patchfile_parse(const uint8_t *bytes, size_t size, const char *name, struct hp_patchfile **ret_file,
                       struct hp_err *err)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", name);
	if (size)
		memcpy(copy, bytes, size);
	return parse_owned(copy, size, name, ret_file, err);
}

/* Until the end of the file or `room` bytes. */
static ssize_t read_fully(int fd, uint8_t *bytes, size_t room)
{
	size_t got = 0;

	while (got < room) {
		ssize_t n = read(fd, bytes + got, room - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -1 : (ssize_t)got;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* What is sound by itself may still not be what was written: one byte of code is enough to crash a process. */
static int check_digest(const struct hp_patchfile *file, struct hp_err *err)
{
	uint8_t hash[HP_HASH_SIZE];
	if (file->digest) {
		struct hp_mask digest = {(uint32_t)(file->digest - file->bytes), HP_HASH_SIZE};
		hp_code_hash(file->bytes, file->size, &digest, 1, hash);
	}
	if (file->digest && memcmp(hash, file->digest, sizeof(hash)) == 0)
		return 0;
	return hp_err_set(err, HOTPATCH_ENOTELF,
	                  "the patch file '%s' is damaged: its bytes are not those that were written; get it anew",
	                  file->path);
}

int hp_patchfile_read(const char *path, struct hp_patchfile **ret_file, struct hp_err *err)
{
	struct stat status;
	uint8_t *bytes = NULL;
	ssize_t size = -1;
	int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot open '%s'", path);
	if (fstat(fd, &status) < 0)
		r = hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot tell the size of '%s'", path);
	else if (!S_ISREG(status.st_mode) || status.st_size > FILE_MAX)
		r = hp_err_set(err, HOTPATCH_ENOTELF, "'%s' is not a patch file: it is %s", path,
		               S_ISREG(status.st_mode) ? "too large" : "not a regular file");
	else if (!(bytes = malloc((size_t)status.st_size + 1)))
		r = hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", path);
	else if ((size = read_fully(fd, bytes, (size_t)status.st_size)) < 0)
		r = hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot read '%s'", path);
	close(fd);
	if (r != 0) {
		free(bytes);
		return r;
	}
	struct hp_patchfile *file;
	r = parse_owned(bytes, (size_t)size, path, &file, err);
	if (r == 0 && (r = check_digest(file, err)) < 0)
		hp_patchfile_free(file);
	else if (r == 0)
		*ret_file = file;
	return r;
}

void hp_patchfile_free(struct hp_patchfile *file)
{
	if (!file)
		return;
	for (size_t i = 0; i < file->n_sections; i++)
		free(file->sections[i].relocs);
	for (size_t i = 0; i < file->n_units; i++)
		free(file->units[i].locals);
	for (size_t i = 0; i < file->n_changes; i++)
		free(file->changes[i].masks);
	free(file->sections);
	free(file->symbols);
	free(file->targets);
	free(file->units);
	free(file->changes);
	free(file->bindings);
	free(file->defines);
	free(file->reinits);
	free(file->callbacks);
	free(file->migrations);
	free(file->requires);
	free(file->replaces);
	free(file->messages);
	free(file->strings);
	free(file->bytes);
	free(file->path);
	free(file);
}
