#include "base/loaded.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

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

/* 0, or the errno of what went wrong. */
static int copy_file(int from, int to)
{
	char buffer[16384];
	ssize_t got;
	while ((got = read(from, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0; done < got;) {
			ssize_t n = write(to, buffer + done, (size_t)(got - done));
			if (n < 0)
				return errno;
			done += n;
		}
	return got < 0 ? errno : 0;
}

/* "/proc/self/fd/5", spelt differently each time: the dynamic linker goes by the name before it looks at the file. */
static void spell_descriptor(int fd, unsigned spelling, char *name, size_t size)
{
	size_t used = (size_t)snprintf(name, size, "/proc/self");
	for (; spelling && used + 32 < size; spelling >>= 1)
		used += (size_t)snprintf(name + used, size - used, spelling & 1 ? "/." : "/");
	snprintf(name + used, size - used, "/fd/%d", fd);
}

static int load_named(const char *path, const char *name, void **ret_handle, struct hp_err *err)
{
	*ret_handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (*ret_handle)
		return 0;
	const char *why = dlerror();
	return hp_err_set(err, HOTPATCH_ELOAD, "library '%s' cannot be loaded: %s", name,
	                  why ? why : "the dynamic linker does not say why");
}

static int make_copy(const char *path, const char *name, int *ret_copy, struct hp_err *err)
{
	int from = open(path, O_RDONLY | O_CLOEXEC);
	if (from < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "library '%s' cannot be opened", name);
	int to = memfd_create("hotpatch", MFD_CLOEXEC), number = to < 0 ? errno : copy_file(from, to);
	close(from);
	if (!number) {
		*ret_copy = to;
		return 0;
	}
	if (to >= 0)
		close(to);
	return hp_err_system(err, HOTPATCH_ESYSTEM, number, "library '%s' cannot be copied into memory", name);
}

/* A file of the name or the identity of one that is loaded is, to the dynamic linker, the one it has: a copy without a
 * name is another. */
static int load_copy(const char *path, const char *name, void **ret_handle, struct hp_err *err)
{
	static unsigned copies;
	char place[160];
	int copy = -1, error = make_copy(path, name, &copy, err);
	if (error)
		return error;
	spell_descriptor(copy, ++copies, place, sizeof(place));
	error = load_named(place, name, ret_handle, err);
	close(copy);
	return error;
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

static int load(const char *path, const char *name, const struct stat *status, void **ret_handle, struct hp_err *err)
{
	for (const struct hp_loaded *l = all; l; l = l->next)
		if (same_content(l, status))
			break;
		else if (same_file(l, status) || strcmp(l->path, path) == 0)
			return load_copy(path, name, ret_handle, err);
	return load_named(path, name, ret_handle, err);
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
	void *handle = NULL;
	int error = load(path, name, &status, &handle, err);
	if (!error && (error = remember(path, name, handle, &before, &status, ret_loaded, err)) != 0)
		dlclose(handle);
	images_free(&before);
	return error;
}

size_t hp_loaded_map_size(const struct link_map *map)
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
		maps[i] = (struct hp_span){map, map + hp_loaded_map_size(loaded->images[i].map)};
	}
	for (; loaded->opens > 0; loaded->opens--)
		dlclose(loaded->handle);
	loaded->handle = NULL;
	for (size_t i = 0; i < loaded->n_images; i++)
		clear_freed(maps[i]);
	clear_small();
}

/* -- Where libraries were ---------------------------------------------------------------------------------------- */

/* Addresses where a library was are not given to the next one: a word that was left behind somewhere would be taken for
 * a pointer into that, and keep it. They are reserved, without memory behind them; neighbours become one mapping. When
 * there are too many all are given back. Protected by the turn (session.h). */
enum { RESERVED_MAX = 32 };
static const size_t reserved_bytes_max = (size_t)1 << 30;
static struct {
	uintptr_t first, end; /* page numbers: addresses would be words that point there */
} reserved[RESERVED_MAX];
static size_t n_reserved, reserved_bytes;

static void give_back_reserved(uintptr_t page)
{
	while (n_reserved > 0) {
		n_reserved--;
		munmap((void *)(reserved[n_reserved].first * page),
		       (reserved[n_reserved].end - reserved[n_reserved].first) * page);
	}
	reserved_bytes = 0;
}

static void note_reserved(uintptr_t first, uintptr_t end)
{
	for (size_t i = 0; i < n_reserved; i++)
		if (reserved[i].first == end || reserved[i].end == first) {
			reserved[i].first = first < reserved[i].first ? first : reserved[i].first;
			reserved[i].end = end > reserved[i].end ? end : reserved[i].end;
			return;
		}
	reserved[n_reserved].first = first;
	reserved[n_reserved++].end = end;
}

static void reserve(struct hp_span span)
{
	size_t size = span.high - span.low;
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	if (n_reserved == RESERVED_MAX || reserved_bytes + size > reserved_bytes_max)
		give_back_reserved(page);
	void *got = mmap((void *)span.low, size, PROT_NONE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == MAP_FAILED)
		return; /* somebody has mapped something there since, or address space is short */
	if ((uintptr_t)got != span.low) {
		munmap(got, size); /* a kernel before 4.17 takes the address for a wish */
		return;
	}
	reserved_bytes += size;
	note_reserved(span.low / page, span.high / page);
}

void hp_loaded_reserve(const struct hp_loaded *loaded)
{
	for (size_t i = 0; i < loaded->n_images; i++)
		reserve(loaded->images[i].range);
}
