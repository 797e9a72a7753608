#include "elf/patchwriter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A growing row of bytes. */
struct row {
	uint8_t *at;
	size_t size, room;
};

struct section {
	Elf64_Shdr header;
	struct row bytes, relocs;
};

struct hp_patchwriter {
	struct section *sections; /* [0] is the empty one */
	size_t n_sections, room;
	struct row names, symbols, strings, notes;
	size_t n_symbols, first_global;
	size_t note; /* where the open note begins in notes; SIZE_MAX: none is open */
	bool failed;
};

static void *grow(struct hp_patchwriter *w, struct row *row, size_t size)
{
	if (size > row->room - row->size) {
		size_t room = 2 * row->room > row->size + size ? 2 * row->room : row->size + size + 64;
		uint8_t *at = realloc(row->at, room);
		if (!at) {
			w->failed = true;
			return NULL;
		}
		row->at = at;
		row->room = room;
	}
	void *place = row->at + row->size;
	row->size += size;
	return place;
}

static void append(struct hp_patchwriter *w, struct row *row, const void *bytes, size_t size)
{
	void *place = grow(w, row, size); /* NOLINT(-Wanalyzer-malloc-leak): the row has it */
	if (place && size)
		memcpy(place, bytes, size);
}

static void pad(struct hp_patchwriter *w, struct row *row, size_t align)
{
	static const uint8_t zeroes[16] = {0};
	append(w, row, zeroes, (align - row->size % align) % align);
}

/* The offset of a new string. */
static uint32_t add_string(struct hp_patchwriter *w, struct row *strings, const char *string)
{
	if (!*string && strings->size)
		return 0;
	size_t at = strings->size;
	append(w, strings, string, strlen(string) + 1);
	return (uint32_t)at;
}

/* -- Parts ----------------------------------------------------------------------------------------------------- */

struct hp_patchwriter *hp_patchwriter_new(void)
{
	struct hp_patchwriter *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->note = SIZE_MAX;
	add_string(w, &w->names, "");
	add_string(w, &w->strings, "");
	append(w, &w->symbols, &(Elf64_Sym){0}, sizeof(Elf64_Sym));
	w->n_symbols = 1;
	w->first_global = 0;
	hp_patchwriter_section(w, "", SHT_NULL, 0, 0, NULL, 0);
	return w;
}

void hp_patchwriter_free(struct hp_patchwriter *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n_sections; i++) {
		free(w->sections[i].bytes.at);
		free(w->sections[i].relocs.at);
	}
	free(w->sections);
	free(w->names.at);
	free(w->symbols.at);
	free(w->strings.at);
	free(w->notes.at);
	free(w);
}

uint32_t hp_patchwriter_section(struct hp_patchwriter *w, const char *name, uint32_t type, uint64_t flags,
                                uint64_t align, const uint8_t *bytes, uint64_t size)
{
	if (w->n_sections == w->room) {
		size_t room = w->room ? 2 * w->room : 16;
		struct section *sections = realloc(w->sections, room * sizeof(*sections));
		if (!sections) {
			w->failed = true;
			return 0;
		}
		w->sections = sections;
		w->room = room;
	}
	struct section *section = &w->sections[w->n_sections];
	*section = (struct section){.header = {.sh_name = add_string(w, &w->names, name),
	                                       .sh_type = type,
	                                       .sh_flags = flags,
	                                       .sh_size = size,
	                                       .sh_addralign = align}};
	if (bytes)
		append(w, &section->bytes, bytes, size);
	return (uint32_t)w->n_sections++;
}

static uint32_t add_symbol(struct hp_patchwriter *w, const char *name, Elf64_Sym sym)
{
	sym.st_name = add_string(w, &w->strings, name);
	append(w, &w->symbols, &sym, sizeof(sym));
	return (uint32_t)w->n_symbols++;
}

uint32_t hp_patchwriter_define(struct hp_patchwriter *w, const char *name, uint32_t section, uint64_t value,
                               uint64_t size, uint8_t type)
{
	return add_symbol(w, name,
	                  (Elf64_Sym){
				  .st_info = ELF64_ST_INFO(STB_LOCAL, type),
				  .st_shndx = (uint16_t)section,
				  .st_value = value,
				  .st_size = size,
			  });
}

uint32_t hp_patchwriter_undefined(struct hp_patchwriter *w, const char *name, uint8_t type, bool is_weak)
{
	if (!w->first_global)
		w->first_global = w->n_symbols;
	return add_symbol(w, name, (Elf64_Sym){.st_info = ELF64_ST_INFO(is_weak ? STB_WEAK : STB_GLOBAL, type)});
}

void hp_patchwriter_reloc(struct hp_patchwriter *w, uint32_t section, const struct hp_patch_reloc *reloc)
{
	Elf64_Rela rela = {
		.r_offset = reloc->offset,
		.r_info = ELF64_R_INFO((uint64_t)reloc->symbol, reloc->type),
		.r_addend = reloc->addend,
	};
	if (section < w->n_sections)
		append(w, &w->sections[section].relocs, &rela, sizeof(rela));
}

/* -- Notes ----------------------------------------------------------------------------------------------------- */

enum { NOTE_HEAD = 24 }; /* three numbers, and the name padded */

static void end_note(struct hp_patchwriter *w)
{
	if (w->note == SIZE_MAX || w->failed)
		return;
	uint32_t size = (uint32_t)(w->notes.size - w->note - NOTE_HEAD);
	memcpy(w->notes.at + w->note + 4, &size, sizeof(size));
	pad(w, &w->notes, 4);
	w->note = SIZE_MAX;
}

void hp_patchwriter_note(struct hp_patchwriter *w, enum hp_note_type type)
{
	end_note(w);
	w->note = w->notes.size;
	hp_patchwriter_number(w, sizeof(HP_NOTE_NAME), 4);
	hp_patchwriter_number(w, 0, 4);
	hp_patchwriter_number(w, (uint32_t)type, 4);
	hp_patchwriter_bytes(w, (const uint8_t *)HP_NOTE_NAME "\0\0\0", 12);
}

void hp_patchwriter_number(struct hp_patchwriter *w, uint64_t value, size_t size)
{
	append(w, &w->notes, &value, size);
}

void hp_patchwriter_bytes(struct hp_patchwriter *w, const uint8_t *bytes, size_t size)
{
	append(w, &w->notes, bytes, size);
}

void hp_patchwriter_string(struct hp_patchwriter *w, const char *string)
{
	size_t length = strlen(string);
	hp_patchwriter_number(w, length, 4);
	append(w, &w->notes, string, length);
}

/* -- The file -------------------------------------------------------------------------------------------------- */

static void add_relocations(struct hp_patchwriter *w, uint32_t table)
{
	char name[512];
	size_t count = w->n_sections;

	for (uint32_t i = 1; i < count; i++) {
		struct row *relocs = &w->sections[i].relocs;
		if (!relocs->size)
			continue;
		snprintf(name, sizeof(name), ".rela%s", (const char *)w->names.at + w->sections[i].header.sh_name);
		uint32_t index = hp_patchwriter_section(w, name, SHT_RELA, SHF_INFO_LINK, 8, relocs->at, relocs->size);
		if (!index)
			return;
		Elf64_Shdr *h = &w->sections[index].header;
		h->sh_info = i;
		h->sh_link = table;
		h->sh_entsize = sizeof(Elf64_Rela);
	}
}

/* The last note, with room for what is known when all else is written. */
static void add_digest_note(struct hp_patchwriter *w)
{
	static const uint8_t room[HP_HASH_SIZE] = {0};
	hp_patchwriter_note(w, HP_NOTE_DIGEST);
	hp_patchwriter_bytes(w, room, sizeof(room));
	end_note(w);
}

/* Notes, symbols and strings become sections. Returns the index of the section names. */
static uint32_t add_tables(struct hp_patchwriter *w)
{
	add_digest_note(w);
	hp_patchwriter_section(w, HP_PATCH_NOTES, SHT_NOTE, 0, 4, w->notes.at, w->notes.size);
	uint32_t table = hp_patchwriter_section(w, ".symtab", SHT_SYMTAB, 0, 8, w->symbols.at, w->symbols.size);
	uint32_t strings = hp_patchwriter_section(w, ".strtab", SHT_STRTAB, 0, 1, w->strings.at, w->strings.size);
	if (w->failed)
		return 0;
	Elf64_Shdr *h = &w->sections[table].header;
	h->sh_link = strings;
	h->sh_entsize = sizeof(Elf64_Sym);
	h->sh_info = (uint32_t)(w->first_global ? w->first_global : w->n_symbols);
	add_relocations(w, table);
	uint32_t names = hp_patchwriter_section(w, ".shstrtab", SHT_STRTAB, 0, 1, NULL, 0);
	if (w->failed)
		return 0;
	append(w, &w->sections[names].bytes, w->names.at, w->names.size);
	w->sections[names].header.sh_size = w->names.size;
	return names;
}

static void put_sections(struct hp_patchwriter *w, struct row *file, Elf64_Ehdr *header)
{
	append(w, file, header, sizeof(*header));
	for (size_t i = 1; i < w->n_sections; i++) {
		struct section *section = &w->sections[i];
		uint64_t align = section->header.sh_addralign;
		pad(w, file, align > 16 || !align ? 16 : align);
		section->header.sh_offset = file->size;
		append(w, file, section->bytes.at, section->bytes.size);
	}
	pad(w, file, 8);
	header->e_shoff = file->size;
	for (size_t i = 0; i < w->n_sections; i++)
		append(w, file, &w->sections[i].header, sizeof(w->sections[i].header));
	if (!w->failed)
		memcpy(file->at, header, sizeof(*header));
}

int hp_patchwriter_finish(struct hp_patchwriter *w, uint8_t **ret_bytes, size_t *ret_size, struct hp_err *err)
{
	struct row file = {0};
	uint32_t names = add_tables(w);

	if (w->n_sections >= SHN_LORESERVE)
		return hp_err_set(err, HOTPATCH_ENOTSUP,
		                  "the patch needs %zu sections, a file can have %d: divide the change", w->n_sections,
		                  SHN_LORESERVE - 1);
	Elf64_Ehdr header = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_REL,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(header),
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = (uint16_t)w->n_sections,
		.e_shstrndx = (uint16_t)names,
	};
	put_sections(w, &file, &header);
	if (w->failed) {
		free(file.at);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the patch file");
	}
	*ret_bytes = file.at;
	*ret_size = file.size;
	return 0;
}

/* The end of the only section of notes there is in what this writer has made. */
static size_t digest_place(const uint8_t *bytes)
{
	Elf64_Ehdr header;
	Elf64_Shdr section = {0};

	memcpy(&header, bytes, sizeof(header));
	for (size_t i = 0; i < header.e_shnum && section.sh_type != SHT_NOTE; i++)
		memcpy(&section, bytes + header.e_shoff + i * sizeof(section), sizeof(section));
	return section.sh_offset + section.sh_size - HP_HASH_SIZE;
}

static int write_fully(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t n = write(fd, bytes, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		bytes += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_patch(int fd, const uint8_t *bytes, size_t size)
{
	struct hp_mask digest = {(uint32_t)digest_place(bytes), HP_HASH_SIZE};
	size_t end = digest.offset + HP_HASH_SIZE;
	uint8_t hash[HP_HASH_SIZE];

	hp_code_hash(bytes, size, &digest, 1, hash);
	if (write_fully(fd, bytes, digest.offset) < 0 || write_fully(fd, hash, HP_HASH_SIZE) < 0)
		return -1;
	return write_fully(fd, bytes + end, size - end);
}

int hp_patchwriter_save(const char *path, const uint8_t *bytes, size_t size, struct hp_err *err)
{
	char beside[4096];
	int number = 0;

	if ((size_t)snprintf(beside, sizeof(beside), "%s.%d.tmp", path, (int)getpid()) >= sizeof(beside))
		return hp_err_system(err, HOTPATCH_ENOFILE, ENAMETOOLONG, "cannot write '%s'", path);
	int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot write '%s'", path);
	if (write_patch(fd, bytes, size) < 0)
		number = errno;
	if (close(fd) < 0 && !number)
		number = errno;
	if (!number && rename(beside, path) < 0)
		number = errno;
	if (!number)
		return 0;
	unlink(beside);
	return hp_err_system(err, HOTPATCH_ENOFILE, number, "cannot write '%s'", path);
}
