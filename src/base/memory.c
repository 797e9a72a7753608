#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* -- ioctl_pagemap_scan(2), Linux 6.7; older headers do not have it ------------------------------------------------ */

struct scan_region {
	uint64_t start, end, categories; /* cppcheck-suppress unusedStructMember; the kernel's */
};

struct scan_arg {
	/* cppcheck-suppress unusedStructMember; the kernel's */
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	/* cppcheck-suppress unusedStructMember; the kernel's */
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN _IOWR('f', 16, struct scan_arg)
enum { SCAN_FILE = 1 << 2, SCAN_PRESENT = 1 << 3, SCAN_SWAPPED = 1 << 4, SCAN_ZERO = 1 << 5 };

/* Of an entry of pagemap (kernel, Documentation/admin-guide/mm/pagemap.rst). */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_FILE (UINT64_C(1) << 61)

enum { WINDOW = 65536, REGIONS = 256, ENTRIES = 512, SPARE_TEXT = 65536 };

/* One mapping of its own, so that it is known what not to look at. */
struct hp_memory {
	size_t size; /* of all of it */
	uintptr_t page;
	char why[160];
	char name[80]; /* of the mapping at hand */
	struct scan_region regions[REGIONS];
	uint64_t entries[ENTRIES];
	uint8_t window[WINDOW];
	size_t text_size;
	char text[]; /* of maps */
};

/* What one search needs. */
struct run {
	struct hp_memory *memory;
	const struct hp_search *search;
	uintptr_t low, span; /* of all targets */
	int pagemap, mem;
	bool no_scan; /* the kernel has no PAGEMAP_SCAN */
	bool stopped;
	struct hp_span mapping;
	bool readable;
	size_t step;
};

/* -- Opening ----------------------------------------------------------------------------------------------------- */

static size_t read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;
	while (used < size && (got = read(fd, text + used, size - used)) > 0)
		used += (size_t)got;
	return used;
}

static size_t measure_maps(void)
{
	char buffer[4096];
	size_t size = 0, got;
	int fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (got = read_all(fd, buffer, sizeof(buffer))) > 0)
		size += got;
	if (fd >= 0)
		close(fd);
	return size;
}

int hp_memory_open(struct hp_memory **ret_memory, struct hp_err *err)
{
	size_t text = 2 * measure_maps() + SPARE_TEXT, size = sizeof(struct hp_memory) + text;
	struct hp_memory *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to search the process's memory");
	memory->size = size;
	memory->text_size = text;
	memory->page = (uintptr_t)sysconf(_SC_PAGESIZE);
	*ret_memory = memory;
	return 0;
}

void hp_memory_close(struct hp_memory *memory)
{
	if (memory)
		munmap(memory, memory->size);
}

struct hp_span hp_memory_own(const struct hp_memory *memory)
{
	uintptr_t low = (uintptr_t)memory, page = memory->page;
	return (struct hp_span){low, low + ((memory->size + page - 1) & ~(page - 1))};
}

/* -- Words ------------------------------------------------------------------------------------------------------- */

static bool is_skipped(const struct run *run, uintptr_t address)
{
	struct hp_span own = hp_memory_own(run->memory);
	if (address >= own.low && address < own.high)
		return true;
	for (size_t i = 0; i < run->search->n_skip; i++)
		if (address >= run->search->skip[i].low && address < run->search->skip[i].high)
			return true;
	return false;
}

static void tell(struct run *run, uintptr_t address, uintptr_t value, bool mangled)
{
	const struct hp_search *search = run->search;
	for (size_t i = 0; i < search->n_targets && !run->stopped; i++) {
		if (value < search->targets[i].low || value >= search->targets[i].high || is_skipped(run, address))
			continue;
		struct hp_hit hit = {address, value, i, mangled, run->readable, run->memory->name, run->mapping};
		run->stopped = !search->each(&hit, search->arg);
	}
}

static uintptr_t word_at(const uint8_t *at)
{
	uintptr_t word;
	memcpy(&word, at, sizeof(word));
	return word;
}

static uintptr_t unmangle(const struct hp_search *search, uintptr_t word)
{
	return (word >> search->turn | word << (-search->turn & 63)) ^ search->guard;
}

/* Words that are not aligned are looked at in a second pass, so that the first one is quick. */
static void look_at_aligned(struct run *run, uintptr_t address, size_t size)
{
	const struct hp_search *search = run->search;
	const uint8_t *bytes = run->memory->window;
	uintptr_t low = run->low, span = run->span;
	bool mangled = search->mangled;
	for (size_t i = 0; i + sizeof(uintptr_t) <= size; i += sizeof(uintptr_t)) {
		uintptr_t word = word_at(bytes + i);
		if (word - low < span)
			tell(run, address + i, word, false);
		if (mangled && unmangle(search, word) - low < span)
			tell(run, address + i, unmangle(search, word), true);
	}
}

static void look_at_others(struct run *run, uintptr_t address, size_t size, size_t step)
{
	const uint8_t *bytes = run->memory->window;
	uintptr_t low = run->low, span = run->span;
	for (size_t at = step; at < sizeof(uintptr_t); at += step)
		for (size_t i = at; i + sizeof(uintptr_t) <= size; i += sizeof(uintptr_t)) {
			uintptr_t word = word_at(bytes + i);
			if (word - low < span)
				tell(run, address + i, word, false);
		}
}

/* -- Pieces ------------------------------------------------------------------------------------------------------ */

static bool give_up(struct run *run, const char *what)
{
	snprintf(run->memory->why, sizeof(run->memory->why), "%s", what);
	return false;
}

static bool in_time(const struct run *run)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec < run->search->deadline;
}

static size_t read_window(struct run *run, uintptr_t address, size_t size)
{
	struct iovec here = {run->memory->window, size}, there = {(void *)address, size};
	ssize_t got = process_vm_readv((pid_t)syscall(SYS_gettid), &here, 1, &there, 1, 0);
	if (got <= 0 && run->mem >= 0) /* read though the page's protection forbids it (FOLL_FORCE) */
		got = pread(run->mem, run->memory->window, size, (off_t)address);
	return got > 0 ? (size_t)got : 0;
}

/* A page of a shared file behind its end is not there. */
static bool look_at_piece(struct run *run, uintptr_t low, uintptr_t high, bool shared)
{
	while (low < high && !run->stopped) {
		size_t want = high - low < WINDOW ? high - low : WINDOW, got = read_window(run, low, want);
		if (!in_time(run))
			return give_up(run, "the search did not end in time");
		if (got == 0 && !shared)
			return give_up(run, "memory cannot be read");
		look_at_aligned(run, low, got);
		look_at_others(run, low, got, run->step);
		if (got == 0)
			got = run->memory->page - (low & (run->memory->page - 1));
		else if (low + got < high && got > sizeof(uintptr_t))
			got -= sizeof(uintptr_t); /* a word may lie across the border */
		low += got;
	}
	return true;
}

/* Pages of [low, high) that are the program's own, by the kernel's search. False: it has none. */
static bool scan_pages(struct run *run, uintptr_t low, uintptr_t high, bool *ret_done)
{
	struct hp_memory *m = run->memory;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.start = low,
		.end = high,
		.vec = (uintptr_t)m->regions,
		.vec_len = REGIONS,
		.category_inverted = SCAN_FILE | SCAN_ZERO,
		.category_mask = SCAN_FILE | SCAN_ZERO,
		.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = SCAN_PRESENT | SCAN_SWAPPED,
	};
	*ret_done = true;
	while (arg.start < high && *ret_done && !run->stopped) {
		int n = ioctl(run->pagemap, SCAN, &arg);
		if (n < 0)
			return false;
		for (int i = 0; i < n && *ret_done; i++)
			*ret_done = look_at_piece(run, m->regions[i].start, m->regions[i].end, false);
		if (arg.walk_end <= arg.start)
			return false;
		arg.start = arg.walk_end;
	}
	return true;
}

/* The same by their entries, one by one. */
static bool read_pages(struct run *run, uintptr_t low, uintptr_t high)
{
	struct hp_memory *m = run->memory;
	for (uintptr_t at = low; at < high && !run->stopped;) {
		size_t n = (high - at) / m->page < ENTRIES ? (high - at) / m->page : ENTRIES;
		ssize_t got =
			pread(run->pagemap, m->entries, n * sizeof(uint64_t), (off_t)(at / m->page * sizeof(uint64_t)));
		if (got < (ssize_t)sizeof(uint64_t))
			return give_up(run, "/proc/thread-self/pagemap cannot be read");
		n = (size_t)got / sizeof(uint64_t);
		for (size_t i = 0; i < n; i++, at += m->page) {
			uint64_t entry = m->entries[i];
			if ((entry & (ENTRY_PRESENT | ENTRY_SWAPPED)) && !(entry & ENTRY_FILE) &&
			    !look_at_piece(run, at, at + m->page, false))
				return false;
		}
		if (!in_time(run))
			return give_up(run, "the search did not end in time");
	}
	return true;
}

static bool look_at_private(struct run *run, uintptr_t low, uintptr_t high)
{
	bool done;
	if (run->pagemap < 0)
		return give_up(run, "/proc/thread-self/pagemap cannot be opened");
	if (!run->no_scan && scan_pages(run, low, high, &done))
		return done;
	run->no_scan = true;
	return read_pages(run, low, high);
}

/* -- Mappings ---------------------------------------------------------------------------------------------------- */

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* Memory that programs share, which lies in no file that would outlive them. */
static bool is_shared_memory(const char *name)
{
	return begins(name, "/memfd:") || begins(name, "/dev/shm/") || begins(name, "/dev/zero") ||
	       begins(name, "/SYSV");
}

static bool look_at_shared(struct run *run, const struct hp_span *range, bool writable)
{
	const char *name = run->memory->name;
	if (is_shared_memory(name))
		return look_at_piece(run, range->low, range->high, true);
	if (begins(name, "/dev/") || begins(name, "anon_inode:") || begins(name, "/[aio]"))
		return !writable || give_up(run, "memory of a device, or requests under way in it, cannot be searched");
	return !writable || look_at_piece(run, range->low, range->high, true);
}

/* "low-high rwxp offset device inode   name" (proc(5)). */
static bool look_at_line(struct run *run, char *line)
{
	char flags[5] = "", *end;
	struct hp_span range = {strtoul(line, &end, 16), 0};
	range.high = strtoul(end + 1, &end, 16);
	memcpy(flags, end + 1, 4);
	const char *name = strstr(line, "anon_inode:");
	if (!name && !(name = strchr(line, '/')) && !(name = strchr(line, '[')))
		name = "";
	snprintf(run->memory->name, sizeof(run->memory->name), "%s", name);
	run->mapping = range;
	run->readable = flags[0] == 'r';
	run->step = flags[2] == 'x' ? 1 : 4;
	bool writable = flags[1] == 'w';
	if (flags[3] == 's')
		return look_at_shared(run, &range, writable);
	if ((!writable && !run->search->sealed) || begins(name, "[v")) /* [vvar], [vdso], [vsyscall]: the kernel's */
		return true;
	return look_at_private(run, range.low, range.high);
}

static bool look_at_all(struct run *run)
{
	struct hp_memory *m = run->memory;
	int fd = open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return give_up(run, "/proc/thread-self/maps cannot be opened");
	size_t size = read_all(fd, m->text, m->text_size);
	close(fd);
	if (size == 0 || size == m->text_size)
		return give_up(run, "/proc/thread-self/maps has become too long");
	m->text[size - 1] = 0;
	for (char *line = m->text, *next; line && !run->stopped; line = next) {
		if ((next = strchr(line, '\n')))
			*next++ = 0;
		if (!look_at_line(run, line))
			return false;
	}
	return true;
}

bool hp_memory_search(struct hp_memory *memory, const struct hp_search *search, const char **ret_why)
{
	struct run run = {
		.memory = memory,
		.search = search,
		.low = UINTPTR_MAX,
		.pagemap = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC),
		.mem = open("/proc/thread-self/mem", O_RDONLY | O_CLOEXEC),
	};
	uintptr_t high = 0;
	for (size_t i = 0; i < search->n_targets; i++) {
		run.low = search->targets[i].low < run.low ? search->targets[i].low : run.low;
		high = search->targets[i].high > high ? search->targets[i].high : high;
	}
	run.span = high - run.low;
	bool done = look_at_all(&run);
	if (run.pagemap >= 0)
		close(run.pagemap);
	if (run.mem >= 0)
		close(run.mem);
	*ret_why = memory->why;
	return done;
}

/* -- What is left behind ----------------------------------------------------------------------------------------- */

void hp_memory_forget(void *memory, size_t size)
{
	if (memory)
		explicit_bzero(memory, size);
	free(memory);
}

void *hp_memory_grow(void *memory, size_t size, size_t new_size)
{
	void *grown = malloc(new_size);
	if (!grown)
		return NULL;
	if (memory)
		memcpy(grown, memory, size < new_size ? size : new_size);
	hp_memory_forget(memory, size);
	return grown;
}

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
	for (; size >= sizeof(uintptr_t); size -= sizeof(uintptr_t), a += sizeof(uintptr_t), b += sizeof(uintptr_t)) {
		uintptr_t x, y;
		memcpy(&x, a, sizeof(x));
		memcpy(&y, b, sizeof(y));
		memcpy(a, &y, sizeof(y));
		memcpy(b, &x, sizeof(x));
	}
	for (; size; size--, a++, b++) {
		uint8_t x = *a;
		*a = *b;
		*b = x;
	}
}

/* The item at `root` sinks until none below it is larger: of i, 2i + 1 and 2i + 2 are below. */
static void sink(uint8_t *items, size_t root, size_t n, size_t size, int (*compare)(const void *a, const void *b))
{
	for (size_t child = 2 * root + 1; child < n; child = 2 * root + 1) {
		if (child + 1 < n && compare(items + child * size, items + (child + 1) * size) < 0)
			child++;
		if (compare(items + root * size, items + child * size) >= 0)
			return;
		swap(items + root * size, items + child * size, size);
		root = child;
	}
}

void hp_memory_sort(void *items, size_t n, size_t size, int (*compare)(const void *a, const void *b))
{
	for (size_t i = n / 2; i-- > 0;)
		sink(items, i, n, size, compare);
	for (size_t end = n; end-- > 1;) {
		swap(items, (uint8_t *)items + end * size, size);
		sink(items, 0, end, size, compare);
	}
}
