/* maps - /proc/self/maps before and after, and the bytes behind it.
 *
 * maps_read() notes every mapping; maps_check_files() fails the test where a mapping of a file (which program text and
 * data are) has gone, moved, been cut or got other permissions. New mappings are allowed: hotpatch has its own.
 *
 * snapshot_take() copies the bytes of the executable mappings of files and of a range of the program's data;
 * snapshot_check() fails the test at the first that differs.
 */
#ifndef TESTS_LIVE_MAPS_H
#define TESTS_LIVE_MAPS_H

#include "check.h"

struct map {
	uintptr_t begin, end;
	char permissions[5];
	bool is_file;
	char name[200];
	unsigned char *copy; /* of the bytes, by snapshot_take() */
};

struct maps {
	size_t count;
	struct map map[4000]; /* sanitizers have some hundreds */
};

static void maps_line(struct maps *maps, const char *line)
{
	struct map *map = &maps->map[maps->count];
	const char *name = strchr(line, '/');
	unsigned long begin, end;

	if (maps->count == sizeof(maps->map) / sizeof(maps->map[0]))
		FAIL("more mappings than the test has room for");
	if (sscanf(line, "%lx-%lx %4s", &begin, &end, map->permissions) != 3)
		FAIL("a line of /proc/self/maps cannot be read: %s", line);
	map->begin = begin;
	map->end = end;
	map->is_file = name != NULL && strncmp(name, "/memfd:", 7) != 0 && strncmp(name, "/dev/", 5) != 0;
	snprintf(map->name, sizeof(map->name), "%.*s", (int)strcspn(name ? name : "", "\n"), name ? name : "");
	maps->count++;
}

UNUSED static struct maps *maps_read(void)
{
	struct maps *maps = calloc(1, sizeof(*maps));
	FILE *file = fopen("/proc/self/maps", "re");
	char line[1024];

	if (maps == NULL || file == NULL)
		FAIL("/proc/self/maps cannot be read");
	while (fgets(line, sizeof(line), file) != NULL)
		maps_line(maps, line);
	fclose(file);
	return maps;
}

UNUSED static void maps_free(struct maps *maps)
{
	for (size_t i = 0; i < maps->count; i++)
		free(maps->map[i].copy);
	free(maps);
}

UNUSED static const struct map *maps_at(const struct maps *maps, uintptr_t begin)
{
	for (size_t i = 0; i < maps->count; i++)
		if (maps->map[i].begin == begin)
			return &maps->map[i];
	return NULL;
}

UNUSED static const char *maps_permissions(const struct maps *maps, const void *address)
{
	for (size_t i = 0; i < maps->count; i++)
		if (maps->map[i].begin <= (uintptr_t)address && (uintptr_t)address < maps->map[i].end)
			return maps->map[i].permissions;
	return "none";
}

/* Whether [begin, end) is mapped with these permissions, in however many pieces. */
UNUSED static bool maps_cover(const struct maps *maps, const struct map *wanted)
{
	uintptr_t at = wanted->begin;

	for (size_t i = 0; i < maps->count && at < wanted->end; i++) {
		const struct map *map = &maps->map[i];

		if (map->begin <= at && at < map->end && strcmp(map->permissions, wanted->permissions) == 0)
			at = map->end;
	}
	return at >= wanted->end;
}

UNUSED static void maps_check_files(const struct maps *before, const char *when)
{
	struct maps *after = maps_read();

	for (size_t i = 0; i < before->count; i++) {
		const struct map *was = &before->map[i], *is = maps_at(after, was->begin);

		if (!was->is_file)
			continue;
		if (is == NULL || is->end != was->end)
			FAIL("%s: the mapping %lx-%lx of %s has been cut or moved", when, (long)was->begin,
			     (long)was->end, was->name);
		if (strcmp(is->permissions, was->permissions) != 0)
			FAIL("%s: %lx-%lx of %s is %s and was %s", when, (long)was->begin, (long)was->end, was->name,
			     is->permissions, was->permissions);
	}
	maps_free(after);
}

/* -- Bytes --------------------------------------------------------------------------------------------------- */

/* The program's own .data and .bss; where the C library's start code does not say where they begin, its whole writable
 * segment. A test that takes snapshots keeps what it changes itself elsewhere. */
extern char __data_start[] __attribute__((weak)), _end[] __attribute__((weak));

UNUSED static int writable_segment(struct dl_phdr_info *program, size_t size UNUSED, void *ret_begin)
{
	for (int i = 0; i < program->dlpi_phnum; i++)
		if (program->dlpi_phdr[i].p_type == PT_LOAD && (program->dlpi_phdr[i].p_flags & PF_W))
			*(uintptr_t *)ret_begin = program->dlpi_addr + program->dlpi_phdr[i].p_vaddr;
	return 1; /* the program comes first */
}

UNUSED static const unsigned char *data_begin(void)
{
	uintptr_t begin = (uintptr_t)__data_start;

	if (begin == 0)
		dl_iterate_phdr(writable_segment, &begin);
	CHECK(begin != 0);
	return (const unsigned char *)begin;
}

/* AddressSanitizer's red zones are among them, and locks that others take meanwhile. */
__attribute__((no_sanitize("address", "thread"))) UNUSED static void bytes_copy(unsigned char *to,
                                                                                const unsigned char *from, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		to[i] = from[i];
		__asm__ volatile("" ::: "memory"); /* no memcpy */
	}
}

__attribute__((no_sanitize("address", "thread"))) UNUSED static size_t
bytes_equal(const unsigned char *one, const unsigned char *other, size_t size)
{
	size_t i = 0;

	while (i < size && one[i] == other[i])
		i++;
	return i;
}

struct snapshot {
	struct maps *maps;
	unsigned char *data;
	size_t size;
};

UNUSED static struct snapshot snapshot_take(void)
{
	struct snapshot snapshot = {maps_read(), NULL, (size_t)((const unsigned char *)_end - data_begin())};

	for (size_t i = 0; i < snapshot.maps->count; i++) {
		struct map *map = &snapshot.maps->map[i];

		if (!map->is_file || map->permissions[0] != 'r' || map->permissions[2] != 'x')
			continue;
		map->copy = malloc(map->end - map->begin);
		CHECK(map->copy != NULL);
		bytes_copy(map->copy, (const unsigned char *)map->begin, map->end - map->begin);
	}
	snapshot.data = malloc(snapshot.size);
	CHECK(snapshot.data != NULL);
	bytes_copy(snapshot.data, data_begin(), snapshot.size);
	return snapshot;
}

UNUSED static void snapshot_check_bytes(struct snapshot snapshot, const char *when)
{
	size_t at;

	for (size_t i = 0; i < snapshot.maps->count; i++) {
		const struct map *map = &snapshot.maps->map[i];

		if (map->copy == NULL)
			continue;
		at = bytes_equal((const unsigned char *)map->begin, map->copy, map->end - map->begin);
		if (at < map->end - map->begin)
			FAIL("%s: the byte at %lx of %s has changed", when, (long)(map->begin + at), map->name);
	}
	at = bytes_equal(data_begin(), snapshot.data, snapshot.size);
	if (at < snapshot.size)
		FAIL("%s: the byte at %zu of the program's data has changed", when, at);
}

/* Compares, and frees the snapshot. */
UNUSED static void snapshot_check(struct snapshot snapshot, const char *when)
{
	maps_check_files(snapshot.maps, when);
	snapshot_check_bytes(snapshot, when);
	free(snapshot.data);
	maps_free(snapshot.maps);
}

#endif
