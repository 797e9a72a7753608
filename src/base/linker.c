#include "base/linker.h"

#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/mapped.h"

/* Of what looks at memory as it is, freed or not, which sanitizers have their own mind about; all of it is mapped. */
#define AS_IT_IS __attribute__((no_sanitize("address"), no_sanitize("thread")))

AS_IT_IS static uintptr_t word_at(uintptr_t address)
{
	return *(const uintptr_t *)address;
}

/* struct link_map is the beginning of a larger one, which the dynamic linker has allocated (glibc, elf/dl-object.c). */
static bool in_link_map(const struct hp_loaded *loaded, uintptr_t address)
{
	for (size_t i = 0; i < loaded->n_images; i++) {
		uintptr_t map = (uintptr_t)loaded->images[i].map;
		if (address >= map && address < map + hp_loaded_map_size(loaded->images[i].map))
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
struct version {
	const char *name;
	uint32_t hash;
	int hidden;       /* cppcheck-suppress unusedStructMember; libc's */
	const char *file; /* cppcheck-suppress unusedStructMember; libc's */
};

AS_IT_IS static bool is_version(const struct link_map *map, uintptr_t at, uintptr_t end)
{
	const struct version *entry = (const struct version *)at;
	return end - at >= sizeof(*entry) && in_strings(map, (uintptr_t)entry->name) &&
	       entry->hash == elf_hash(entry->name);
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
		uintptr_t low, high, map, tables; /* cppcheck-suppress unusedStructMember; glibc's */
	} objects[];
};

AS_IT_IS static bool in_object_table(const struct hp_loaded *loaded, uintptr_t table, const struct hp_hit *hit)
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
enum { EF_FREE = 0, EF_CXA = 4, EXIT_ENTRIES = 32, LISTS_MAX = 1024 };

struct exit_list {
	uintptr_t next;
	size_t used;
	struct {
		uintptr_t flavour, function, argument, handle; /* cppcheck-suppress unusedStructMember; glibc's */
	} entries[EXIT_ENTRIES];
};

AS_IT_IS static bool is_exit_list(const struct exit_list *list)
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

static bool in_data_of(const struct hp_mapped *image, uintptr_t at, size_t size)
{
	for (size_t i = 0; image && i < image->n_segments; i++) {
		const struct hp_segment *segment = &image->segments[i];
		if ((segment->flags & PF_W) && at >= segment->low && at < segment->high && segment->high - at >= size)
			return at % sizeof(uintptr_t) == 0;
	}
	return false;
}

/* Zeros look like a list as well: a list is one that ends in libc's own, the first there was. */
AS_IT_IS static bool ends_in_libc(uintptr_t table, const struct hp_hit *hit)
{
	const struct hp_mapped *libc = hp_mapped_find((uintptr_t)exit);
	for (int i = 0; i < LISTS_MAX; i++) {
		const struct exit_list *list = (const struct exit_list *)table;
		bool is_libcs = in_data_of(libc, table, sizeof(*list));
		if ((!is_libcs && !lies_in(hit, table, sizeof(*list))) || !is_exit_list(list))
			return false;
		if (list->next == 0)
			return is_libcs;
		table = list->next;
	}
	return false;
}

AS_IT_IS static bool in_exit_list(const struct hp_loaded *loaded, uintptr_t table, const struct hp_hit *hit)
{
	if (!lies_in(hit, table, sizeof(struct exit_list)) || !ends_in_libc(table, hit))
		return false;
	for (; lies_in(hit, table, sizeof(struct exit_list)); table = ((const struct exit_list *)table)->next) {
		const struct exit_list *list = (const struct exit_list *)table;
		size_t entry = (hit->address - (uintptr_t)list->entries) / sizeof(list->entries[0]);
		if (hit->address >= (uintptr_t)list->entries && entry < EXIT_ENTRIES)
			return list->entries[entry].flavour == EF_FREE ||
			       (list->entries[entry].flavour == EF_CXA &&
			        in_images(loaded, list->entries[entry].handle));
	}
	return false;
}

bool hp_linker_owns(const struct hp_loaded *loaded, const struct hp_hit *hit)
{
	if (hit->address % sizeof(uintptr_t) != 0 || !hit->readable)
		return false;
	if (in_link_map(loaded, hit->address) || (!hit->mangled && in_versions(loaded, hit)))
		return true;
	return leads_from(hp_mapped_find((uintptr_t)exit), in_exit_list, loaded, hit) ||
	       (!hit->mangled && leads_from(hp_mapped_find(getauxval(AT_BASE)), in_object_table, loaded, hit));
}
