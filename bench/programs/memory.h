/* memory.h - the memory of the program itself, mapping by mapping. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping {
	uintptr_t low, high;
	bool executable;
	bool named;      /* of a file, or [heap], [stack], ... */
	size_t rss, own; /* KiB; own: pages of no file, or copies of its pages */
};

enum { MAPPINGS_MAX = 512 };

struct memory {
	struct mapping mappings[MAPPINGS_MAX];
	size_t n;
};

/* Allocates nothing, so that it does not show in what it reads. */
void memory_read(struct memory *ret);

/* KiB of all mappings. */
size_t memory_rss(const struct memory *memory);
size_t memory_own(const struct memory *memory);

#endif
