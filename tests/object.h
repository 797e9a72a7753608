/* object - an object file as compilers write it, in the shape of a patch file: for tests of what links patch files. */
#ifndef HP_TESTS_OBJECT_H
#define HP_TESTS_OBJECT_H

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf/patchfile.h"

static inline void object_relocs(struct hp_patch_section *section, const Elf64_Rela *rela, size_t n)
{
	section->relocs = calloc(n, sizeof(*section->relocs));
	section->n_relocs = n;
	for (size_t i = 0; i < n; i++)
		section->relocs[i] = (struct hp_patch_reloc){
			.offset = rela[i].r_offset,
			.type = (uint32_t)ELF64_R_TYPE(rela[i].r_info),
			.symbol = (uint32_t)ELF64_R_SYM(rela[i].r_info),
			.addend = rela[i].r_addend,
		};
}

static inline void object_symbols(struct hp_patchfile *file, const Elf64_Sym *symbols, size_t n, const char *names)
{
	file->symbols = calloc(n, sizeof(*file->symbols));
	file->n_symbols = n;
	for (size_t i = 0; i < n; i++)
		file->symbols[i] = (struct hp_patch_symbol){
			.name = names + symbols[i].st_name,
			.section = symbols[i].st_shndx < file->n_sections ? symbols[i].st_shndx : 0,
			.value = symbols[i].st_value,
			.size = symbols[i].st_size,
			.type = ELF64_ST_TYPE(symbols[i].st_info),
			.bind = ELF64_ST_BIND(symbols[i].st_info),
		};
}

/* NULL where there is no such file. Trusts it. */
static inline struct hp_patchfile *object_read(const char *path)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	struct hp_patchfile *file = calloc(1, sizeof(*file));
	fstat(fd, &status);
	file->bytes = malloc((size_t)status.st_size);
	if (read(fd, file->bytes, (size_t)status.st_size) != status.st_size)
		abort();
	close(fd);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)file->bytes;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(file->bytes + header->e_shoff);
	const char *names = (const char *)file->bytes + sections[header->e_shstrndx].sh_offset;
	file->path = strdup(path);
	file->name = "object";
	file->n_sections = header->e_shnum;
	file->sections = calloc(header->e_shnum, sizeof(*file->sections));
	for (size_t i = 0; i < header->e_shnum; i++) {
		struct hp_patch_section *section = &file->sections[i];
		section->name = names + sections[i].sh_name;
		section->type = sections[i].sh_type;
		section->flags = sections[i].sh_flags;
		section->size = sections[i].sh_size;
		section->align = sections[i].sh_addralign ? sections[i].sh_addralign : 1;
		section->bytes = section->type == SHT_NOBITS ? NULL : file->bytes + sections[i].sh_offset;
	}
	for (size_t i = 0; i < header->e_shnum; i++) {
		const void *bytes = file->bytes + sections[i].sh_offset;
		if (sections[i].sh_type == SHT_RELA)
			object_relocs(&file->sections[sections[i].sh_info], bytes,
			              sections[i].sh_size / sizeof(Elf64_Rela));
		else if (sections[i].sh_type == SHT_SYMTAB)
			object_symbols(file, bytes, sections[i].sh_size / sizeof(Elf64_Sym),
			               (const char *)file->bytes + sections[sections[i].sh_link].sh_offset);
	}
	return file;
}

static inline uint32_t object_symbol(const struct hp_patchfile *file, const char *name)
{
	for (uint32_t i = 1; i < file->n_symbols; i++)
		if (strcmp(file->symbols[i].name, name) == 0)
			return i;
	return 0;
}

static inline void object_free(struct hp_patchfile *file)
{
	for (size_t i = 0; i < file->n_sections; i++)
		free(file->sections[i].relocs);
	free(file->sections);
	free(file->symbols);
	free(file->bytes);
	free(file->path);
	free(file);
}

#endif
