/* memory - all memory of this process that may hold an address, searched for words that point into something.
 *
 *     /proc/thread-self/maps   which mappings there are, and how they are called
 *     /proc/thread-self/pagemap which of their pages hold anything of the program's own: reserved memory, and pages of
 *                              files that nobody has written to, are not touched
 *     process_vm_readv         what is in them, 64 KiB at a time; /proc/thread-self/mem where pages may not be read now
 *
 * Words are looked for at every fourth byte (struct epoll_event is packed), in pages that may be executed at every byte
 * (generated code holds addresses wherever its instructions do). So pointers are seen that lie in memory as they are,
 * or mangled as libc does it. Those that a program has hidden itself (packed, offset, xor-ed, in pipes and files) are
 * not.
 *
 * After hp_memory_open nothing is allocated and no lock is taken: a search may run while all threads are held.
 */
#ifndef HP_BASE_MEMORY_H
#define HP_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hp_span {
	uintptr_t low, high; /* [low, high) */
};

/* A word that points into a target. */
struct hp_hit {
	uintptr_t address, value; /* of the word, and what it points to */
	size_t target;            /* index */
	bool mangled, readable;   /* libc's way; by a plain load */
	const char *place;        /* the name of its mapping, "" where it has none; until the search goes on */
	struct hp_span mapping;
};

struct hp_search {
	const struct hp_span *targets;
	size_t n_targets;
	const struct hp_span *skip; /* memory that is not to be told of */
	size_t n_skip;
	bool sealed;  /* also memory that cannot be written to any more */
	bool mangled; /* also words that libc has mangled: turned left by `turn` and xor-ed with `guard` */
	uintptr_t guard;
	unsigned turn;
	uint64_t deadline;                                 /* CLOCK_MONOTONIC, ns */
	bool (*each)(const struct hp_hit *hit, void *arg); /* false: stop */
	void *arg;
};

struct hp_memory;

int hp_memory_open(struct hp_memory **ret_memory, struct hp_err *err) HP_MUST_CHECK;
void hp_memory_close(struct hp_memory *memory);
struct hp_span hp_memory_own(const struct hp_memory *memory); /* its buffers, which are never told of */

/* True: everything was looked at, or each has stopped it. False: something could not be; then *ret_why says what. */
bool hp_memory_search(struct hp_memory *memory, const struct hp_search *search, const char **ret_why);

/* Frees memory of ours that held addresses, so that they do not stay behind in the heap. NULL is nothing. */
void hp_memory_forget(void *memory, size_t size);
/* qsort for the same, which libc's is not: it leaves copies of what it sorts in the heap. */
void hp_memory_sort(void *items, size_t n, size_t size, int (*compare)(const void *a, const void *b));
/* realloc for the same; NULL leaves the old as it is. */
void *hp_memory_grow(void *memory, size_t size, size_t new_size);

#endif
