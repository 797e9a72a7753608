/* image - an ELF file opened for reading: its header, its sections and who it is.
 *
 * Opened, read and closed again: what is wanted of it is copied out, because inside a program nobody may rely on a
 * descriptor staying what it was (daemons close all of them) and a mapping of a file that is being overwritten raises
 * SIGBUS. For the same reason libelf reads here, it does not map. Every offset and count of the file is checked by
 * libelf against the size of the file, or by hp_image_open.
 */
#ifndef HP_ELF_IMAGE_H
#define HP_ELF_IMAGE_H

#include <gelf.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/inspector.h"

#define HP_BUILD_ID_MAX 64

/* Which file, and which state of it. */
struct hp_identity {
	dev_t device;
	ino_t inode;
	struct timespec modified;
	off_t size;
};

struct hp_section {
	const char *name; /* lives as long as the image */
	GElf_Shdr header;
	Elf_Scn *scn;
};

/* Copies of the tables that debug information has its strings in, with a NUL behind them. */
struct hp_debug_strings {
	char *v[2];
};

struct hp_image {
	char *path, *name; /* to open; to say in sentences */
	struct hp_identity identity;
	int fd;
	uint8_t *bytes; /* of hp_image_open_whole; NULL */
	Elf *elf;
	GElf_Ehdr header;
	struct hp_section *sections;
	size_t n_sections;
	uint8_t build_id[HP_BUILD_ID_MAX];
	size_t build_id_size;                  /* 0: it has none */
	struct hp_debug_strings debug_strings; /* for hp_debug_strings_end, freed with the image */
};

/* HOTPATCH_ENOFILE where it cannot be read, HOTPATCH_ENOTELF where it is not ELF of this machine, or damaged. */
int hp_image_open(const char *path, const char *name, struct hp_image **ret_image, struct hp_err *err) HP_MUST_CHECK;

/* The same, read at once, for who wants all of it: an object has a section for each function, and libelf reads section
 * by section. */
int hp_image_open_whole(const char *path, const char *name, struct hp_image **ret_image,
                        struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_image_close(struct hp_image *image);

/* Whether the image is the file that is mapped: HOTPATCH_ENOFILE when the module's build-id is known and another. */
int hp_image_expect(const struct hp_image *image, const struct hp_module *module, struct hp_err *err) HP_MUST_CHECK;

/* The same for a build-id that was read earlier, from the file called name. */
int hp_build_id_expect(const uint8_t *id, size_t size, const struct hp_module *module,
                       struct hp_err *err) HP_MUST_CHECK;

/* Whether dlopen can be asked to load it: HOTPATCH_ENOTELF with the reason, among them that it is cut short, which
 * the dynamic linker finds out by SIGBUS. */
int hp_image_check_library(const struct hp_image *image, struct hp_err *err) HP_MUST_CHECK;

/* The section called name, or of that type, with bytes in this file; NULL where there is none. */
const struct hp_section *hp_image_section(const struct hp_image *image, const char *name);
const struct hp_section *hp_image_section_of_type(const struct hp_image *image, uint32_t type);

/* The first library that it needs (DT_NEEDED) whose name begins so; NULL. Lives as long as the image. */
const char *hp_image_needs(const struct hp_image *image, const char *begin);

/* Puts copies in their place where libdw may read behind them: before 0.189 it does not look whether the last string
 * ends, and takes the table's size for an offset in it where that comes from .debug_str_offsets. To be called before
 * dwarf_begin_elf; the copies are freed when elf_end was called. HOTPATCH_ENOMEM. */
int hp_debug_strings_end(Elf *elf, struct hp_debug_strings *strings, struct hp_err *err) HP_MUST_CHECK;
void hp_debug_strings_free(struct hp_debug_strings *strings);

/* The bytes of a section, uncompressed; NULL where it has none or they cannot be read. */
Elf_Data *hp_section_data(const struct hp_section *section);

struct hp_identity hp_identity_of(const struct stat *status);
bool hp_identity_same(const struct hp_identity *a, const struct hp_identity *b);

#endif
