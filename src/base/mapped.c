#include "base/mapped.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#pragma weak dlopen /* not in a static executable, which unloads nothing */
#pragma weak dlclose

static _Atomic(struct hp_mapped_list *) published;
static _Atomic bool is_dynamic;
static struct hp_linked *linked_code;
static unsigned long long links;

/* -- One image, from its program headers ------------------------------------------------------------------------- */

static void add_segment(struct hp_mapped *image, const ElfW(Phdr) * header)
{
	uintptr_t low = image->bias + header->p_vaddr, high = low + header->p_memsz;
	if (image->n_segments == HP_SEGMENTS_MAX || header->p_memsz == 0)
		return; /* what is not recorded is not known to be code: unsafe, not wrong */
	image->segments[image->n_segments++] = (struct hp_segment){low, high, header->p_flags};
	if (low < image->low)
		image->low = low;
	if (high > image->high)
		image->high = high;
}

static const struct hp_segment *segment_of(const struct hp_mapped *image, uintptr_t address)
{
	for (size_t i = 0; i < image->n_segments; i++)
		if (address >= image->segments[i].low && address < image->segments[i].high)
			return &image->segments[i];
	return NULL;
}

static void find_build_id(struct hp_mapped *image, const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
		ElfW(Nhdr) note;
		memcpy(&note, at, sizeof(note));
		size_t name = (note.n_namesz + 3u) & ~3u, content = (note.n_descsz + 3u) & ~3u;
		at += sizeof(note);
		if ((size_t)(end - at) < name || (size_t)(end - at) - name < note.n_descsz)
			return;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(at, "GNU", 4) == 0) {
			image->build_id = at + name;
			image->build_id_size = note.n_descsz;
			return;
		}
		if ((size_t)(end - at) < name + content)
			return;
		at += name + content;
	}
}

/* The unwind tables may be read as far as the segment that holds them is mapped. */
static void set_tables(struct hp_mapped *image, const uint8_t *at, const uint8_t *header_end)
{
	const struct hp_segment *segment = segment_of(image, (uintptr_t)at);
	if (!segment || !(segment->flags & PF_R))
		return;
	image->cfi.low = (const uint8_t *)segment->low;
	image->cfi.high = (const uint8_t *)segment->high;
	image->cfi.header = header_end ? at : NULL;
	image->cfi.header_end = header_end;
}

/* -- A static executable has no header that leads to .eh_frame: its file's section table does -------------------- */

static bool read_exactly(int fd, void *buffer, size_t size, off_t offset)
{
	return pread(fd, buffer, size, offset) == (ssize_t)size;
}

static bool find_section(int fd, const char *name, ElfW(Shdr) * ret_section)
{
	ElfW(Ehdr) header;
	ElfW(Shdr) names, section;
	char text[16];
	if (!read_exactly(fd, &header, sizeof(header), 0) || header.e_shentsize != sizeof(section) ||
	    !read_exactly(fd, &names, sizeof(names), (off_t)(header.e_shoff + header.e_shstrndx * sizeof(names))))
		return false;
	for (unsigned i = 1; i < header.e_shnum; i++) {
		memset(text, 0, sizeof(text));
		if (!read_exactly(fd, &section, sizeof(section), (off_t)(header.e_shoff + i * sizeof(section))))
			return false;
		if (pread(fd, text, sizeof(text) - 1, (off_t)(names.sh_offset + section.sh_name)) > 0 &&
		    strcmp(text, name) == 0) {
			*ret_section = section;
			return true;
		}
	}
	return false;
}

static void index_tables_of_program(struct hp_mapped *image)
{
	ElfW(Shdr) section;
	int fd = open(image->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (find_section(fd, ".eh_frame", &section)) {
		const uint8_t *begin = (const uint8_t *)(image->bias + section.sh_addr);
		set_tables(image, begin, NULL);
		if (image->cfi.high && section.sh_size <= (size_t)(image->cfi.high - begin))
			hp_cfi_index(&image->cfi, begin, begin + section.sh_size);
	}
	close(fd);
}

static void read_headers(struct hp_mapped *image, const struct dl_phdr_info *info)
{
	const ElfW(Phdr) *frames = NULL;
	for (unsigned i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD)
			add_segment(image, &info->dlpi_phdr[i]);
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		const uint8_t *at = (const uint8_t *)(image->bias + header->p_vaddr);
		if (header->p_type == PT_INTERP && image->is_program)
			atomic_store(&is_dynamic, true);
		if (header->p_type == PT_TLS) {
			image->tls_size = header->p_memsz;
			image->thread_size = header->p_memsz + header->p_align;
		}
		if (header->p_type == PT_GNU_EH_FRAME)
			frames = header;
		else if (header->p_type == PT_NOTE && !image->build_id && segment_of(image, (uintptr_t)at))
			find_build_id(image, at, header->p_memsz);
	}
	if (frames) {
		const uint8_t *at = (const uint8_t *)(image->bias + frames->p_vaddr);
		set_tables(image, at, at + frames->p_memsz);
	} else if (image->is_program) {
		index_tables_of_program(image);
	}
}

/* -- The list ---------------------------------------------------------------------------------------------------- */

static const struct hp_span *hidden;
static size_t n_hidden;
static bool must_refresh;

void hp_mapped_hide(const struct hp_span *ranges, size_t n)
{
	hidden = ranges;
	n_hidden = n;
	must_refresh = true;
}

struct hp_span hp_mapped_memory(void)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	uintptr_t low = list ? (uintptr_t)list->images : 0;
	return (struct hp_span){low, list ? low + list->n * sizeof(*list->images) : 0};
}

static bool is_hidden(const struct dl_phdr_info *info)
{
	for (size_t i = 0; i < n_hidden; i++)
		if ((uintptr_t)info->dlpi_phdr >= hidden[i].low && (uintptr_t)info->dlpi_phdr < hidden[i].high)
			return true;
	return false;
}

/* -- The program's file ------------------------------------------------------------------------------------------ */

static bool has_headers(int fd, const struct dl_phdr_info *info)
{
	ElfW(Ehdr) header;
	ElfW(Phdr) table[32];
	size_t size = info->dlpi_phnum * sizeof(*table);
	if (size > sizeof(table)) /* more than any linker makes */
		return true;
	return read_exactly(fd, &header, sizeof(header), 0) && header.e_phnum == info->dlpi_phnum &&
	       read_exactly(fd, table, size, (off_t)header.e_phoff) && memcmp(table, info->dlpi_phdr, size) == 0;
}

/* The name of the file that is mapped at `address`; "" where there is none. */
static const char *mapped_name(uintptr_t address, char *buffer, int room)
{
	FILE *maps = fopen("/proc/thread-self/maps", "re");
	bool found = false;
	while (maps && !found && fgets(buffer, room, maps)) {
		char *end;
		uintptr_t low = strtoul(buffer, &end, 16), high = strtoul(end + 1, NULL, 16);
		found = address >= low && address < high;
	}
	if (maps)
		fclose(maps);
	char *name = found ? strchr(buffer, '/') : NULL;
	if (!name)
		return "";
	name[strcspn(name, "\n")] = 0;
	return name;
}

/* What was executed is not the program where the dynamic linker was told to load it, or an emulator, or valgrind: then
 * its own file by name, whose build-id is looked at before it is believed. */
static char *program_path(const struct dl_phdr_info *info)
{
	static const char executed[] = "/proc/thread-self/exe";
	char buffer[4096 + 128]; /* cppcheck-suppress variableScope; the name lies in it */
	const char *name = "";
	int fd = open(executed, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && !has_headers(fd, info))
		name = mapped_name((uintptr_t)info->dlpi_phdr, buffer, sizeof(buffer));
	if (fd >= 0)
		close(fd);
	return strdup(*name ? name : executed);
}

static int add_image(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct hp_mapped_list *list = arg;
	if (is_hidden(info))
		return 0;
	struct hp_mapped *grown =
		hp_memory_grow(list->images, list->n * sizeof(*grown), (list->n + 1) * sizeof(*grown));
	if (!grown)
		return -1;
	list->images = grown;
	bool program = list->n == 0; /* dl_iterate_phdr(3): the first is the main program */
	struct hp_mapped *image = &list->images[list->n];
	*image = (struct hp_mapped){
		.bias = info->dlpi_addr,
		.low = UINTPTR_MAX,
		.tls_module = info->dlpi_tls_modid,
		.is_program = program,
	};
	char *path = program ? program_path(info) : strdup(info->dlpi_name);
	if (!path)
		return -1;
	const char *slash = strrchr(path, '/');
	image->path = path;
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the list has the path */
	image->name = program ? "the program" : slash ? slash + 1 : path;
	list->n++; /* NOLINT(-Wanalyzer-malloc-leak): the list has the path */
	list->adds = info->dlpi_adds;
	list->subs = info->dlpi_subs;
	read_headers(image, info);
	list->thread_size += image->thread_size;
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the list has the path */
}

/* -- Linked code ------------------------------------------------------------------------------------------------- */

static int add_linked(const struct hp_linked *linked, struct hp_mapped_list *list)
{
	struct hp_mapped *grown =
		hp_memory_grow(list->images, list->n * sizeof(*grown), (list->n + 1) * sizeof(*grown));
	if (!grown)
		return -1;
	list->images = grown;
	struct hp_mapped *image = &list->images[list->n++];
	*image = (struct hp_mapped){
		.path = strdup(""),
		.name = linked->label, /* NOLINT(-Wanalyzer-malloc-leak): the list has the path */
		.low = linked->low,
		.high = linked->high,
		.n_segments = linked->n_segments,
		.pinned = true,
		.linked = linked,
	};
	memcpy(image->segments, linked->segments, sizeof(image->segments));
	image->cfi.low = linked->eh_frame;
	image->cfi.high = linked->eh_frame_end;
	if (!image->path)
		return -1;
	return linked->eh_frame && !hp_cfi_index(&image->cfi, linked->eh_frame, linked->eh_frame_end) ? -1 : 0;
}

static int add_all_linked(struct hp_mapped_list *list)
{
	int error = 0;
	list->links = links;
	for (const struct hp_linked *linked = linked_code; linked && !error; linked = linked->next)
		error = add_linked(linked, list);
	return error;
}

void hp_mapped_add(struct hp_linked *linked)
{
	linked->next = linked_code;
	linked_code = linked;
	links++;
}

void hp_mapped_remove(struct hp_linked *linked)
{
	for (struct hp_linked **at = &linked_code; *at; at = &(*at)->next)
		if (*at == linked) {
			*at = linked->next;
			links++;
			return;
		}
}

const struct hp_linked_name *hp_linked_name_at(const struct hp_linked *linked, uintptr_t address)
{
	size_t low = 0, high = linked->n_names;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (linked->names[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address < linked->names[low - 1].high ? &linked->names[low - 1] : NULL;
}

/* -- Snapshots --------------------------------------------------------------------------------------------------- */

static int read_counts(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct hp_mapped_list *counts = arg;
	counts->adds = info->dlpi_adds;
	counts->subs = info->dlpi_subs;
	return 1;
}

static int compare(const void *a, const void *b)
{
	uintptr_t left = ((const struct hp_mapped *)a)->low, right = ((const struct hp_mapped *)b)->low;
	return left < right ? -1 : left > right;
}

int hp_mapped_refresh(struct hp_mapped_list **ret_old, struct hp_err *err)
{
	struct hp_mapped_list *old = atomic_load(&published), now = {0};
	dl_iterate_phdr(read_counts, &now);
	if (old && !must_refresh && old->adds == now.adds && old->subs == now.subs && old->links == links) {
		*ret_old = NULL;
		return 0;
	}
	struct hp_mapped_list *list = calloc(1, sizeof(*list));
	if (!list || dl_iterate_phdr(add_image, list) != 0 || add_all_linked(list) != 0) {
		hp_mapped_free(list);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the list of loaded images");
	}
	hp_memory_sort(list->images, list->n, sizeof(*list->images), compare);
	atomic_store(&published, list);
	must_refresh = false;
	*ret_old = old;
	return 0;
}

void hp_mapped_free(void *list)
{
	struct hp_mapped_list *l = list;
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++) {
		hp_memory_forget(l->images[i].cfi.index, l->images[i].cfi.n_index * sizeof(*l->images[i].cfi.index));
		free(l->images[i].path);
	}
	hp_memory_forget(l->images, l->n * sizeof(*l->images));
	free(l);
}

const struct hp_mapped *hp_mapped_find(uintptr_t address)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	size_t low = 0, high = list ? list->n : 0;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (list->images[middle].low <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address < list->images[low - 1].high ? &list->images[low - 1] : NULL;
}

size_t hp_mapped_thread_size(void)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	return list ? list->thread_size : 0;
}

uint64_t hp_mapped_loads(void)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	return list ? list->adds : 0;
}

uint64_t hp_mapped_generation(void)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	return list ? list->adds + list->subs : 0;
}

bool hp_mapped_is_static(void)
{
	return !atomic_load(&is_dynamic);
}

bool hp_mapped_is_code(const struct hp_mapped *image, uintptr_t address)
{
	const struct hp_segment *segment = segment_of(image, address);
	return segment && segment->flags & PF_X;
}

bool hp_mapped_is_text(uintptr_t address, size_t n)
{
	const struct hp_mapped *image = hp_mapped_find(address);
	const struct hp_segment *segment = image ? segment_of(image, address) : NULL;
	return segment && (segment->flags & (PF_R | PF_X)) == (PF_R | PF_X) && segment->high - address >= n;
}

bool hp_mapped_function(uintptr_t address, struct hp_fde *ret_fde)
{
	const struct hp_mapped *image = hp_mapped_find(address);
	return image && hp_cfi_find(&image->cfi, address, ret_fde);
}

int hp_mapped_each(int (*each)(const struct hp_mapped *image, void *arg), void *arg)
{
	const struct hp_mapped_list *list = atomic_load(&published);
	int result = 0;
	for (size_t i = 0; list && i < list->n && result == 0; i++)
		result = each(&list->images[i], arg);
	return result;
}

void hp_mapped_pin(uintptr_t address)
{
	struct hp_mapped *image =
		(struct hp_mapped *)(uintptr_t)hp_mapped_find(address); /* ours; readers ignore `pinned` */
	if (!image || image->is_program || image->pinned || hp_mapped_is_static())
		return;
	void *handle = dlopen(image->path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
	if (handle)
		dlclose(handle);
	image->pinned = true;
}
