#include "elf/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The header of the image this code is in (defined by the linker): what this machine's ELF files look like. */
extern const Elf64_Ehdr __ehdr_start __attribute__((visibility("hidden")));

struct hp_identity hp_identity_of(const struct stat *status)
{
	return (struct hp_identity){
		.device = status->st_dev,
		.inode = status->st_ino,
		.modified = status->st_mtim,
		.size = status->st_size,
	};
}

bool hp_identity_same(const struct hp_identity *a, const struct hp_identity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* -- Opening --------------------------------------------------------------------------------------------------- */

static int refuse(const struct hp_image *image, struct hp_err *err, const char *why)
{
	return hp_err_set(err, HOTPATCH_ENOTELF, "'%s' %s", image->name, why);
}

/* O_NONBLOCK: opening a fifo would wait for a writer. */
static int open_file(struct hp_image *image, struct hp_err *err)
{
	struct stat status;

	image->fd = open(image->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (image->fd < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot open '%s'", image->path);
	if (fstat(image->fd, &status) < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot read '%s'", image->path);
	if (!S_ISREG(status.st_mode))
		return hp_err_set(err, HOTPATCH_ENOFILE, "cannot read '%s': it is not a regular file", image->path);
	image->identity = hp_identity_of(&status);
	return 0;
}

static int check_ident(const struct hp_image *image, struct hp_err *err)
{
	unsigned char start[EI_NIDENT] = {0};
	ssize_t n = pread(image->fd, start, sizeof(start), 0);

	if (n < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot read '%s'", image->path);
	if (n == 0)
		return refuse(image, err, "is empty");
	if (memcmp(start, "!<arch>\n", 8) == 0 || memcmp(start, "!<thin>\n", 8) == 0)
		return refuse(image, err, "is a static library: link its objects with -shared");
	if (memcmp(start, ELFMAG, SELFMAG) != 0)
		return refuse(image, err, "is not an ELF file");
	if ((size_t)n < sizeof(Elf64_Ehdr) && image->identity.size < (off_t)sizeof(Elf64_Ehdr))
		return refuse(image, err, "is cut short: it ends inside its ELF header");
	if (start[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS] || start[EI_DATA] != __ehdr_start.e_ident[EI_DATA])
		return refuse(image, err, "is for another kind of machine (word size or byte order)");
	return 0;
}

static int read_bytes(struct hp_image *image, struct hp_err *err)
{
	size_t size = (size_t)image->identity.size, got = 0;
	ssize_t n = 1;

	image->bytes = malloc(size + 1);
	if (!image->bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", image->name);
	while (got < size && (n = pread(image->fd, image->bytes + got, size - got, (off_t)got)) > 0)
		got += (size_t)n;
	if (n < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot read '%s'", image->path);
	if (got < size)
		return refuse(image, err, "is cut short: it became smaller while it was being read");
	image->elf = elf_memory((char *)image->bytes, size);
	return 0;
}

static int read_header(struct hp_image *image, bool is_whole, struct hp_err *err)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return hp_err_set(err, HOTPATCH_ENOTELF, "libelf is too old");
	int r = is_whole ? read_bytes(image, err) : 0;
	if (r < 0)
		return r;
	if (!is_whole)
		image->elf = elf_begin(image->fd, ELF_C_READ, NULL);
	if (!image->elf || elf_kind(image->elf) != ELF_K_ELF || !gelf_getehdr(image->elf, &image->header))
		return hp_err_set(err, HOTPATCH_ENOTELF, "'%s' is a damaged ELF file: %s", image->name, elf_errmsg(-1));
	if (image->header.e_machine != __ehdr_start.e_machine)
		return hp_err_set(err, HOTPATCH_ENOTELF, "'%s' is for another machine (ELF machine %u, not %u)",
		                  image->name, image->header.e_machine, __ehdr_start.e_machine);
	return 0;
}

/* A table that lies beyond the end of the file is what a copy in progress looks like. */
static int check_tables(const struct hp_image *image, struct hp_err *err)
{
	const GElf_Ehdr *h = &image->header;
	uint64_t size = (uint64_t)image->identity.size;
	uint64_t programs = (uint64_t)h->e_phnum * h->e_phentsize, sections = (uint64_t)h->e_shnum * h->e_shentsize;

	if (h->e_phnum && (h->e_phoff > size || programs > size - h->e_phoff))
		return refuse(image, err, "is cut short or damaged: its program headers lie beyond its end");
	if (h->e_shnum && (h->e_shoff > size || sections > size - h->e_shoff))
		return refuse(image, err, "is cut short or damaged: its section headers lie beyond its end");
	return 0;
}

static int read_sections(struct hp_image *image, struct hp_err *err)
{
	size_t count, names;

	if (elf_getshdrnum(image->elf, &count) < 0 || elf_getshdrstrndx(image->elf, &names) < 0)
		return hp_err_set(err, HOTPATCH_ENOTELF, "'%s' is a damaged ELF file: %s", image->name, elf_errmsg(-1));
	if (!count)
		return 0;
	image->sections = calloc(count, sizeof(*image->sections));
	if (!image->sections)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", image->name);
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(image->elf, scn)) && image->n_sections < count;) {
		struct hp_section *section = &image->sections[image->n_sections];
		section->scn = scn;
		if (!gelf_getshdr(scn, &section->header))
			return hp_err_set(err, HOTPATCH_ENOTELF, "'%s' has a damaged section header: %s", image->name,
			                  elf_errmsg(-1));
		const char *name = elf_strptr(image->elf, names, section->header.sh_name);
		section->name = name ? name : "";
		image->n_sections++;
	}
	return 0;
}

/* -- The build-id ---------------------------------------------------------------------------------------------- */

static bool take_build_id(struct hp_image *image, Elf_Data *data)
{
	size_t next = 0, name_at, desc_at;
	GElf_Nhdr note;

	while (data && (next = gelf_getnote(data, next, &note, &name_at, &desc_at)) > 0) {
		if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || note.n_descsz > HP_BUILD_ID_MAX)
			continue;
		if (memcmp((char *)data->d_buf + name_at, "GNU", 4) != 0)
			continue;
		memcpy(image->build_id, (uint8_t *)data->d_buf + desc_at, note.n_descsz);
		image->build_id_size = note.n_descsz;
		return true;
	}
	return false;
}

/* From the sections first: in a separate debug file the program headers still speak of the other file. */
static void read_build_id(struct hp_image *image)
{
	size_t count = 0;

	for (size_t i = 0; i < image->n_sections; i++)
		if (image->sections[i].header.sh_type == SHT_NOTE &&
		    take_build_id(image, elf_getdata(image->sections[i].scn, NULL)))
			return;
	if (image->n_sections || elf_getphdrnum(image->elf, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr phdr;
		if (!gelf_getphdr(image->elf, (int)i, &phdr) || phdr.p_type != PT_NOTE)
			continue;
		Elf_Type type = phdr.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
		if (take_build_id(image, elf_getdata_rawchunk(image->elf, (int64_t)phdr.p_offset, phdr.p_filesz, type)))
			return;
	}
}

static int open_image(const char *path, const char *name, bool is_whole, struct hp_image **ret_image,
                      struct hp_err *err)
{
	int r = HOTPATCH_ENOMEM;
	struct hp_image *image = calloc(1, sizeof(*image));

	if (!image)
		return hp_err_set(err, r, "no memory to read '%s'", name);
	image->fd = -1;
	image->path = strdup(path);
	image->name = strdup(name);
	if (!image->path || !image->name) {
		hp_err_set(err, r, "no memory to read '%s'", name);
		goto out;
	}
	if ((r = open_file(image, err)) < 0 || (r = check_ident(image, err)) < 0 ||
	    (r = read_header(image, is_whole, err)) < 0)
		goto out;
	if ((r = check_tables(image, err)) < 0 || (r = read_sections(image, err)) < 0)
		goto out;
	read_build_id(image);
	*ret_image = image;
	image = NULL;
out:
	hp_image_close(image);
	return r;
}

int hp_image_open(const char *path, const char *name, struct hp_image **ret_image, struct hp_err *err)
{
	return open_image(path, name, false, ret_image, err);
}

int hp_image_open_whole(const char *path, const char *name, struct hp_image **ret_image, struct hp_err *err)
{
	return open_image(path, name, true, ret_image, err);
}

void hp_image_close(struct hp_image *image)
{
	if (!image)
		return;
	if (image->elf)
		elf_end(image->elf);
	if (image->fd >= 0)
		close(image->fd);
	hp_debug_strings_free(&image->debug_strings);
	free(image->bytes);
	free(image->sections);
	free(image->path);
	free(image->name);
	free(image);
}

/* -- Questions ------------------------------------------------------------------------------------------------- */

static void hex(char *buffer, size_t room, const uint8_t *bytes, size_t size)
{
	snprintf(buffer, room, "none");
	for (size_t i = 0; i < size && 2 * i + 3 <= room; i++)
		snprintf(buffer + 2 * i, 3, "%02x", bytes[i]);
}

int hp_build_id_expect(const uint8_t *id, size_t size, const struct hp_module *module, struct hp_err *err)
{
	char want[2 * HP_BUILD_ID_MAX + 1], have[2 * HP_BUILD_ID_MAX + 1];

	if (!module->build_id || !module->build_id_size)
		return 0;
	if (module->build_id_size == size && memcmp(module->build_id, id, size) == 0)
		return 0;
	hex(want, sizeof(want), module->build_id, module->build_id_size);
	hex(have, sizeof(have), id, size);
	return hp_err_set(err, HOTPATCH_ENOFILE,
	                  "the file '%s' is not the '%s' that runs: its build-id is %s, the running one's is %s; "
	                  "put the file back, or restart the program with the new one",
	                  module->path, module->name, have, want);
}

int hp_image_expect(const struct hp_image *image, const struct hp_module *module, struct hp_err *err)
{
	return hp_build_id_expect(image->build_id, image->build_id_size, module, err);
}

const struct hp_section *hp_image_section(const struct hp_image *image, const char *name)
{
	for (size_t i = 0; i < image->n_sections; i++)
		if (image->sections[i].header.sh_type != SHT_NOBITS && strcmp(image->sections[i].name, name) == 0)
			return &image->sections[i];
	return NULL;
}

const struct hp_section *hp_image_section_of_type(const struct hp_image *image, uint32_t type)
{
	for (size_t i = 0; i < image->n_sections; i++)
		if (image->sections[i].header.sh_type == type)
			return &image->sections[i];
	return NULL;
}

static Elf_Data *data_of(Elf_Scn *scn, uint64_t flags)
{
	if ((flags & SHF_COMPRESSED) && elf_compress(scn, 0, 0) < 0)
		return NULL;
	Elf_Data *data = elf_getdata(scn, NULL);
	return data && data->d_buf && data->d_size ? data : NULL;
}

Elf_Data *hp_section_data(const struct hp_section *section)
{
	return data_of(section->scn, section->header.sh_flags);
}

static Elf_Scn *find_named(Elf *elf, const char *wanted, GElf_Shdr *header)
{
	size_t names;

	for (Elf_Scn *scn = NULL; elf_getshdrstrndx(elf, &names) == 0 && (scn = elf_nextscn(elf, scn));) {
		const char *name = gelf_getshdr(scn, header) ? elf_strptr(elf, names, header->sh_name) : NULL;
		if (name && header->sh_type != SHT_NOBITS && strcmp(name, wanted) == 0)
			return scn;
	}
	return NULL;
}

int hp_debug_strings_end(Elf *elf, struct hp_debug_strings *strings, struct hp_err *err)
{
	static const char *const tables[] = {".debug_str", ".debug_line_str"};
	GElf_Shdr header;
	bool has_offsets = find_named(elf, ".debug_str_offsets", &header);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		Elf_Scn *scn = strings->v[i] ? NULL : find_named(elf, tables[i], &header);
		Elf_Data *data = scn ? data_of(scn, header.sh_flags) : NULL;
		if (!data || (!has_offsets && !((const char *)data->d_buf)[data->d_size - 1]))
			continue;
		char *copy = strings->v[i] = malloc(data->d_size + 1);
		if (!copy)
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the strings of debug information");
		memcpy(copy, data->d_buf, data->d_size);
		copy[data->d_size] = '\0';
		data->d_buf = copy;
	}
	return 0;
}

void hp_debug_strings_free(struct hp_debug_strings *strings)
{
	free(strings->v[0]);
	free(strings->v[1]);
	*strings = (struct hp_debug_strings){0};
}

/* A position-independent executable is ET_DYN too; the dynamic linker refuses to load it with a flag as the reason. */
static bool is_executable(const struct hp_image *image, const GElf_Phdr *dynamic)
{
	Elf_Data *data = elf_getdata_rawchunk(image->elf, (int64_t)dynamic->p_offset, dynamic->p_filesz, ELF_T_DYN);
	GElf_Dyn dyn;

	for (int i = 0; data && gelf_getdyn(data, i, &dyn) && dyn.d_tag != DT_NULL; i++)
		if (dyn.d_tag == DT_FLAGS_1 && (dyn.d_un.d_val & DF_1_PIE))
			return true;
	return false;
}

int hp_image_check_library(const struct hp_image *image, struct hp_err *err)
{
	size_t count = 0, n_loads = 0;
	GElf_Phdr phdr, dynamic = {0};
	uint64_t size = (uint64_t)image->identity.size;

	if (image->header.e_type == ET_REL)
		return refuse(image, err, "is an object file, not a shared library: link it with -shared");
	if (image->header.e_type != ET_DYN)
		return refuse(image, err, "is not a shared library: link it with -shared");
	if (elf_getphdrnum(image->elf, &count) < 0)
		return refuse(image, err, "is a damaged ELF file: its program headers cannot be read");
	for (size_t i = 0; i < count; i++) {
		if (!gelf_getphdr(image->elf, (int)i, &phdr))
			return refuse(image, err, "is a damaged ELF file: its program headers cannot be read");
		n_loads += phdr.p_type == PT_LOAD;
		if (phdr.p_type == PT_DYNAMIC)
			dynamic = phdr;
		if (phdr.p_type == PT_LOAD && (phdr.p_offset > size || phdr.p_filesz > size - phdr.p_offset))
			return refuse(image, err, "is cut short or damaged: a part to be loaded lies beyond its end");
	}
	if (!n_loads || !dynamic.p_type)
		return refuse(image, err, "is not a shared library: it has no part that can be loaded dynamically");
	if (is_executable(image, &dynamic))
		return refuse(image, err, "is an executable, not a shared library: link it with -shared");
	return 0;
}

const char *hp_image_needs(const struct hp_image *image, const char *begin)
{
	const struct hp_section *dynamic = hp_image_section_of_type(image, SHT_DYNAMIC);
	Elf_Data *data = dynamic ? hp_section_data(dynamic) : NULL;
	GElf_Dyn entry;

	for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++) {
		const char *name = entry.d_tag == DT_NEEDED
		                           ? elf_strptr(image->elf, dynamic->header.sh_link, entry.d_un.d_val)
		                           : NULL;
		if (name && strncmp(name, begin, strlen(begin)) == 0)
			return name;
	}
	return NULL;
}
