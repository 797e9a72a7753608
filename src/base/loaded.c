#include "base/loaded.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mapped.h"

#pragma weak dlopen
#pragma weak dlclose
#pragma weak dlerror
#pragma weak dlinfo
#pragma weak malloc_usable_size

static struct hp_loaded *all;

struct hp_loaded *hp_loaded_first(void)
{
	return all;
}

struct hp_loaded *hp_loaded_at(uintptr_t address)
{
	for (struct hp_loaded *l = all; l; l = l->next)
		for (size_t i = 0; i < l->n_images; i++)
			if (address >= l->images[i].range.low && address < l->images[i].range.high)
				return l;
	return NULL;
}

bool hp_loaded_is_bias(uintptr_t bias)
{
	for (struct hp_loaded *l = all; l; l = l->next)
		if (l->images[0].bias == bias)
			return true;
	return false;
}

struct hp_loaded *hp_loaded_hold(uintptr_t address)
{
	struct hp_loaded *loaded = hp_loaded_at(address);
	if (loaded)
		atomic_fetch_add(&loaded->holds, 1);
	return loaded;
}

void hp_loaded_release(struct hp_loaded *loaded)
{
	if (loaded)
		atomic_fetch_sub(&loaded->holds, 1);
}

void hp_loaded_list(struct hp_loaded *loaded)
{
	loaded->next = all;
	all = loaded;
}

void hp_loaded_unlist(struct hp_loaded *loaded)
{
	for (struct hp_loaded **at = &all; *at; at = &(*at)->next)
		if (*at == loaded) {
			*at = loaded->next;
			return;
		}
}

void hp_loaded_free(struct hp_loaded *loaded)
{
	if (!loaded)
		return;
	free(loaded->path);
	hp_memory_forget(loaded, sizeof(*loaded));
}

/* -- Files ------------------------------------------------------------------------------------------------------- */

static bool copy_file(int from, int to)
{
	char buffer[16384];
	ssize_t got;
	while ((got = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, (size_t)got) != got)
			return false;
	return got == 0;
}

/* "/proc/self/fd/5", spelt differently each time: the dynamic linker goes by the name before it looks at the file. */
static void spell_descriptor(int fd, unsigned spelling, char *name, size_t size)
{
	size_t used = (size_t)snprintf(name, size, "/proc/self");
	for (; spelling && used + 32 < size; spelling >>= 1)
		used += (size_t)snprintf(name + used, size - used, spelling & 1 ? "/." : "/");
	snprintf(name + used, size - used, "/fd/%d", fd);
}

/* A file of the name or the identity of one that is loaded is, to the dynamic linker, the one it has: a copy without a
 * name is another. */
static void *load_copy(const char *path)
{
	static unsigned copies;
	char name[160];
	void *handle = NULL;
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("hotpatch", MFD_CLOEXEC);
	if (from >= 0 && to >= 0 && copy_file(from, to)) {
		spell_descriptor(to, ++copies, name, sizeof(name));
		handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return handle;
}

static bool same_file(const struct hp_loaded *loaded, const struct stat *status)
{
	return loaded->device == status->st_dev && loaded->inode == status->st_ino;
}

static bool same_content(const struct hp_loaded *loaded, const struct stat *status)
{
	return same_file(loaded, status) && loaded->size == status->st_size &&
	       loaded->modified.tv_sec == status->st_mtim.tv_sec && loaded->modified.tv_nsec == status->st_mtim.tv_nsec;
}

static void *load(const char *path, const struct stat *status)
{
	for (const struct hp_loaded *l = all; l; l = l->next)
		if (same_content(l, status))
			break;
		else if (same_file(l, status) || strcmp(l->path, path) == 0)
			return load_copy(path);
	return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* -- Images ------------------------------------------------------------------------------------------------------ */

struct images {
	struct image {
		uintptr_t bias;
		struct hp_span range;
		bool has_thread_locals;
	} * v;
	size_t n;
	bool failed;
};

static int add_image(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	struct images *images = arg;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	struct image image = {.bias = info->dlpi_addr, .range = {UINTPTR_MAX, 0}};
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t low = (image.bias + header->p_vaddr) & ~(page - 1);
		uintptr_t high = (image.bias + header->p_vaddr + header->p_memsz + page - 1) & ~(page - 1);
		image.has_thread_locals |= header->p_type == PT_TLS;
		if (header->p_type != PT_LOAD)
			continue;
		image.range.low = low < image.range.low ? low : image.range.low;
		image.range.high = high > image.range.high ? high : image.range.high;
	}
	struct image *grown = hp_memory_grow(images->v, images->n * sizeof(*grown), (images->n + 1) * sizeof(*grown));
	images->failed |= !grown;
	if (!grown)
		return 1;
	images->v = grown;
	images->v[images->n++] = image;
	return 0;
}

static void images_free(struct images *images)
{
	hp_memory_forget(images->v, images->n * sizeof(*images->v));
}

static const struct image *images_find(const struct images *images, uintptr_t bias)
{
	for (size_t i = 0; i < images->n; i++)
		if (images->v[i].bias == bias)
			return &images->v[i];
	return NULL;
}

bool hp_loaded_is_mapped(const struct hp_loaded *loaded)
{
	struct images now = {0};
	dl_iterate_phdr(add_image, &now);
	bool mapped = now.failed || images_find(&now, loaded->images[0].bias);
	images_free(&now);
	return mapped;
}

/* The dynamic linker's chain, walked under its lock, which dl_iterate_phdr holds. */
static int find_maps(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)info, (void)size;
	struct hp_loaded *loaded = arg;
	const struct link_map *map = loaded->images[0].map;
	for (; map; map = map->l_next)
		for (size_t i = 1; i < loaded->n_images; i++)
			if (loaded->images[i].bias == map->l_addr)
				loaded->images[i].map = map;
	return 1;
}

static void put_image(struct hp_loaded *loaded, const struct image *image, const struct link_map *map)
{
	size_t i = loaded->n_images++;
	loaded->images[i].bias = image->bias;
	loaded->images[i].range = image->range;
	loaded->images[i].map = map;
	loaded->has_thread_locals |= image->has_thread_locals;
}

/* What was not there before came with the library; another thread may have loaded something meanwhile, which then is
 * taken for more than it is: safe, but the library stays until that has gone. */
static bool note_images(struct hp_loaded *loaded, const struct link_map *map, const struct images *before)
{
	struct images now = {0};
	dl_iterate_phdr(add_image, &now);
	const struct image *own = images_find(&now, map->l_addr);
	bool noted = !now.failed && own;
	if (noted)
		put_image(loaded, own, map);
	for (size_t i = 0; i < now.n && noted; i++) {
		if (&now.v[i] == own || images_find(before, now.v[i].bias))
			continue;
		noted = loaded->n_images < HP_IMAGES_MAX;
		if (noted)
			put_image(loaded, &now.v[i], NULL);
	}
	images_free(&now);
	if (noted)
		dl_iterate_phdr(find_maps, loaded);
	return noted;
}

/* -- Opening and closing ----------------------------------------------------------------------------------------- */

static struct hp_loaded *find_loaded(const struct link_map *map)
{
	for (struct hp_loaded *l = all; l; l = l->next)
		if (l->images[0].bias == map->l_addr)
			return l;
	return NULL;
}

static struct hp_loaded *entry_new(const char *path, const struct link_map *map, const struct images *before)
{
	struct hp_loaded *loaded = calloc(1, sizeof(*loaded));
	if (loaded && (loaded->path = strdup(path)) && note_images(loaded, map, before))
		return loaded;
	hp_loaded_free(loaded);
	return NULL;
}

static int remember(const char *path, const char *name, void *handle, const struct images *before,
                    const struct stat *status, struct hp_loaded **ret_loaded, struct hp_err *err)
{
	struct link_map *map = NULL;
	struct hp_loaded *loaded = NULL;
	if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && !(loaded = find_loaded(map)) &&
	    (loaded = entry_new(path, map, before)))
		hp_loaded_list(loaded);
	if (!loaded)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to remember library '%s'", name);
	loaded->device = status->st_dev;
	loaded->inode = status->st_ino;
	loaded->modified = status->st_mtim;
	loaded->size = status->st_size;
	loaded->handle = handle;
	loaded->opens++;
	*ret_loaded = loaded;
	return 0;
}

int hp_loaded_open(const char *path, const char *name, struct hp_loaded **ret_loaded, struct hp_err *err)
{
	struct stat status;
	struct images before = {0};
	if (stat(path, &status) != 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "library '%s' cannot be opened", name);
	dl_iterate_phdr(add_image, &before);
	if (before.failed) {
		images_free(&before);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to load library '%s'", name);
	}
	int error;
	void *handle = load(path, &status);
	if (handle) {
		error = remember(path, name, handle, &before, &status, ret_loaded, err);
		if (error)
			dlclose(handle);
	} else {
		const char *why = dlerror();
		error = hp_err_set(err, HOTPATCH_ELOAD, "library '%s' cannot be loaded: %s", name,
		                   why ? why : "the dynamic linker does not say why");
	}
	images_free(&before);
	return error;
}

static size_t map_size(const struct link_map *map)
{
	return map && malloc_usable_size ? malloc_usable_size((void *)(uintptr_t)map) : 0;
}

static size_t overlap(struct hp_span a, struct hp_span b)
{
	uintptr_t low = a.low > b.low ? a.low : b.low, high = a.high < b.high ? a.high : b.high;
	return low < high ? high - low : 0;
}

/* The dynamic linker has just freed its descriptions of the image, and the next library may come to lie at the same
 * addresses: so that they are not taken for words that point into it, the free memory where they lay is cleared. malloc
 * gives it away again, whole or in pieces. */
static void clear_freed(struct hp_span range)
{
	enum { TRIES = 48, SMALLEST = 24 };
	struct block {
		struct block *next;
		size_t size;
	} *blocks = NULL;
	size_t covered = 0, whole = range.high - range.low;
	for (size_t size = whole; size >= SMALLEST && covered < whole; size -= size / 8 + 8)
		for (int n = 0; n < TRIES && covered < whole; n++) {
			struct block *block = malloc(size);
			if (!block)
				break;
			block->next = blocks;
			block->size = size;
			blocks = block;
			covered += overlap(range, (struct hp_span){(uintptr_t)block, (uintptr_t)block + size});
		}
	while (blocks) {
		struct block *block = blocks;
		blocks = block->next;
		hp_memory_forget(block, block->size);
	}
}

/* The same for version tables, which are small: their places are not known. */
static void clear_small(void)
{
	enum { COPIES = 32, LARGEST = 256 };
	void *blocks[COPIES];
	for (size_t size = 24; size <= LARGEST; size += 16) {
		for (int i = 0; i < COPIES; i++)
			blocks[i] = malloc(size);
		for (int i = 0; i < COPIES; i++)
			hp_memory_forget(blocks[i], blocks[i] ? size : 0);
	}
}

void hp_loaded_close(struct hp_loaded *loaded)
{
	struct hp_span maps[HP_IMAGES_MAX];
	for (size_t i = 0; i < loaded->n_images; i++) {
		uintptr_t map = (uintptr_t)loaded->images[i].map;
		maps[i] = (struct hp_span){map, map + map_size(loaded->images[i].map)};
	}
	for (; loaded->opens > 0; loaded->opens--)
		dlclose(loaded->handle);
	loaded->handle = NULL;
	for (size_t i = 0; i < loaded->n_images; i++)
		clear_freed(maps[i]);
	clear_small();
}

/* -- The dynamic linker's own words ------------------------------------------------------------------------------ */

static uintptr_t word_at(uintptr_t address)
{
	return *(const uintptr_t *)address;
}

/* struct link_map is the beginning of a larger one, which the dynamic linker has allocated (glibc, elf/dl-object.c). */
static bool in_link_map(const struct hp_loaded *loaded, uintptr_t address)
{
	for (size_t i = 0; i < loaded->n_images; i++) {
		uintptr_t map = (uintptr_t)loaded->images[i].map;
		if (address >= map && address < map + map_size(loaded->images[i].map))
			return true;
	}
	return false;
}

static uint32_t elf_hash(const char *name)
{
	uint32_t hash = 0;
	for (; *name; name++) {
		hash = (hash << 4) + (uint8_t)*name;
		hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
	}
	return hash;
}

static bool in_strings(const struct link_map *map, uintptr_t value)
{
	uintptr_t strings = 0, size = 0;
	for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
		if (entry->d_tag == DT_STRTAB)
			strings = entry->d_un.d_ptr;
		if (entry->d_tag == DT_STRSZ)
			size = entry->d_un.d_val;
	}
	if (strings < map->l_addr) /* musl leaves it as it is in the file */
		strings += map->l_addr;
	return value >= strings && value < strings + size;
}

/* An entry of the image's version table, {name, hash, hidden, file}: its name leads into its
 * strings, and has that hash; left behind in free memory the rest may be overwritten (glibc, include/link.h: struct
 * r_found_version). */
static bool is_version(const struct link_map *map, uintptr_t at, uintptr_t end)
{
	struct {
		const char *name;
		uint32_t hash;
		int hidden;
		const char *file;
	} entry;
	if (end - at < sizeof(entry))
		return false;
	memcpy(&entry, (const void *)at, sizeof(entry));
	return in_strings(map, (uintptr_t)entry.name) && entry.hash == elf_hash(entry.name);
}

static bool in_versions(const struct hp_loaded *loaded, const struct hp_hit *hit)
{
	for (size_t i = 0; i < loaded->n_images; i++) {
		const struct link_map *map = loaded->images[i].map;
		if (map && in_strings(map, hit->value) &&
		    (is_version(map, hit->address, hit->mapping.high) ||
		     (hit->address - hit->mapping.low >= 16 && is_version(map, hit->address - 16, hit->mapping.high))))
			return true;
	}
	return false;
}

/* Tables that are found from a word in an image's own data; they lie in the mapping that the hit lies in. */
typedef bool (*table_fn)(const struct hp_loaded *loaded, uintptr_t table, const struct hp_hit *hit);

static bool leads_from(const struct hp_mapped *image, table_fn holds, const struct hp_loaded *loaded,
                       const struct hp_hit *hit)
{
	for (size_t i = 0; image && i < image->n_segments; i++) {
		const struct hp_segment *segment = &image->segments[i];
		if (!(segment->flags & PF_W))
			continue;
		for (uintptr_t at = (segment->low + 7) & ~(uintptr_t)7; at + 8 <= segment->high; at += 8) {
			uintptr_t word = word_at(at);
			if (word >= hit->mapping.low && word < hit->address && holds(loaded, word, hit))
				return true;
		}
	}
	return false;
}

static bool lies_in(const struct hp_hit *hit, uintptr_t at, size_t size)
{
	return at % sizeof(uintptr_t) == 0 && at >= hit->mapping.low && at < hit->mapping.high &&
	       hit->mapping.high - at >= size;
}

/* The tables of _dl_find_object, which also hold what was unloaded until they are made anew: chains of segments that
 * begin in the dynamic linker's own data (glibc 2.35, elf/dl-find_object.c). */
struct object_table {
	uintptr_t previous, to_free;
	size_t used, allocated;
	struct {
		uintptr_t low, high, map, tables;
	} objects[];
};

static bool in_object_table(const struct hp_loaded *loaded, uintptr_t table, const struct hp_hit *hit)
{
	enum { SEGMENTS_MAX = 64, OBJECTS_MAX = 1 << 20, ALIGNED = 256 };
	(void)loaded;
	for (int i = 0; i < SEGMENTS_MAX && lies_in(hit, table, sizeof(struct object_table)); i++) {
		const struct object_table *t = (const struct object_table *)table;
		if (t->used > t->allocated || t->allocated > OBJECTS_MAX || t->to_free > table ||
		    table - t->to_free > ALIGNED)
			return false;
		if (hit->address >= (uintptr_t)t->objects && hit->address < (uintptr_t)(t->objects + t->allocated))
			return true;
		table = t->previous;
	}
	return false;
}

/* The list that exit works off, which begins in libc's data: dlclose calls the entries that have the image's handle,
 * and marks them free (glibc, stdlib/exit.h). A handle is the variable __dso_handle (gcc, crtstuff.c). */
enum { EF_FREE = 0, EF_CXA = 4, EXIT_ENTRIES = 32 };

struct exit_list {
	uintptr_t next;
	size_t used;
	struct {
		uintptr_t flavour, function, argument, handle;
	} entries[EXIT_ENTRIES];
};

static bool is_exit_list(const struct exit_list *list)
{
	for (size_t i = 0; i < EXIT_ENTRIES; i++)
		if (list->entries[i].flavour > EF_CXA)
			return false;
	return list->used <= EXIT_ENTRIES;
}

static bool in_images(const struct hp_loaded *loaded, uintptr_t address)
{
	for (size_t i = 0; i < loaded->n_images; i++)
		if (address >= loaded->images[i].range.low && address < loaded->images[i].range.high)
			return true;
	return false;
}

static bool in_exit_list(const struct hp_loaded *loaded, uintptr_t table, const struct hp_hit *hit)
{
	enum { LISTS_MAX = 1024 };
	for (int i = 0; i < LISTS_MAX && lies_in(hit, table, sizeof(struct exit_list)); i++) {
		const struct exit_list *list = (const struct exit_list *)table;
		if (!is_exit_list(list))
			return false;
		size_t entry = (hit->address - (uintptr_t)list->entries) / sizeof(list->entries[0]);
		if (hit->address >= (uintptr_t)list->entries && entry < EXIT_ENTRIES)
			return list->entries[entry].flavour == EF_FREE ||
			       (list->entries[entry].flavour == EF_CXA &&
			        in_images(loaded, list->entries[entry].handle));
		table = list->next;
	}
	return false;
}

bool hp_loaded_is_linkers(const struct hp_loaded *loaded, const struct hp_hit *hit)
{
	if (hit->address % sizeof(uintptr_t) != 0 || !hit->readable)
		return false;
	if (in_link_map(loaded, hit->address) || (!hit->mangled && in_versions(loaded, hit)))
		return true;
	return leads_from(hp_mapped_find((uintptr_t)exit), in_exit_list, loaded, hit) ||
	       (!hit->mangled && leads_from(hp_mapped_find(getauxval(AT_BASE)), in_object_table, loaded, hit));
}
