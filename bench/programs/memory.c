/* memory.c - reads /proc/self/smaps.
 *
 * It walks the page tables and is exact. /proc/self/statm and status are not: they read a counter that each processor
 * brings up to date when it is some dozens of pages behind. What a program wrote to is "Anonymous"; "Private_Dirty"
 * counts the pages of a file that has just been written, too.
 */
#include "memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fail(const char *why)
{
	fprintf(stderr, "/proc/self/smaps: %s\n", why);
	exit(1);
}

/* The whole file, in memory that is resident before anything is read. */
static char *read_smaps(void)
{
	static char text[128 * 1024];
	size_t used = 0;
	ssize_t got;

	memset(text, 0, sizeof(text));
	int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("cannot be opened");
	while ((got = read(fd, text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)got;
	close(fd);
	if (got < 0 || used == sizeof(text) - 1)
		fail("cannot be read whole");
	text[used] = '\0';
	return text;
}

/* "55d0c0e00000-55d0c0e01000 r-xp 00001000 08:01 1234    /path"; false for the other lines. */
static bool read_head(const char *line, struct mapping *ret)
{
	char access[5];
	int name = 0;
	struct mapping mapping = {0};

	if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &mapping.low, &mapping.high, access, &name) != 3 || name == 0)
		return false;
	mapping.executable = access[2] == 'x';
	mapping.named = line[name] != '\0';
	*ret = mapping;
	return true;
}

static void read_line(const char *line, struct memory *memory)
{
	struct mapping head, *last = memory->n > 0 ? &memory->mappings[memory->n - 1] : NULL;
	size_t kib;

	if (read_head(line, &head)) {
		if (memory->n == MAPPINGS_MAX)
			fail("too many mappings");
		memory->mappings[memory->n++] = head;
	} else if (last != NULL && sscanf(line, "Rss: %zu", &kib) == 1) {
		last->rss = kib;
	} else if (last != NULL && sscanf(line, "Anonymous: %zu", &kib) == 1) {
		last->own = kib;
	}
}

void memory_read(struct memory *ret)
{
	char *rest, *line;
	ret->n = 0;
	for (line = strtok_r(read_smaps(), "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		read_line(line, ret);
}

size_t memory_rss(const struct memory *memory)
{
	size_t sum = 0;
	for (size_t i = 0; i < memory->n; i++)
		sum += memory->mappings[i].rss;
	return sum;
}

size_t memory_own(const struct memory *memory)
{
	size_t sum = 0;
	for (size_t i = 0; i < memory->n; i++)
		sum += memory->mappings[i].own;
	return sum;
}
