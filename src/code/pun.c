#include "code/pun.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "code/text.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Landings, each in one or two pages of ours; only ever added. */
struct pun {
	struct pun *next;
	uintptr_t low, high;           /* the landing */
	uintptr_t page_low, page_high; /* the pages it lies in */
};

static _Atomic(struct pun *) puns;

bool hp_pun_contains(uintptr_t ip)
{
	for (const struct pun *pun = atomic_load(&puns); pun; pun = pun->next)
		if (ip >= pun->low && ip < pun->high)
			return true;
	return false;
}

/* The first thread's stack grows down into free memory, as far as its limit lets it (kernel, mm/mmap.c, mmap_base):
 * what would be in its way must not be put there. */
static bool in_way_of_stack(uintptr_t low, uintptr_t high)
{
	enum { AT_LEAST = 128 << 20, AT_MOST = 1 << 30 };
	struct rlimit limit;
	uintptr_t top = getauxval(AT_EXECFN), room = AT_MOST;
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_max < AT_MOST)
		room = limit.rlim_max < AT_LEAST ? AT_LEAST : limit.rlim_max;
	return high > top - room && low <= top;
}

static bool page_is_ours(uintptr_t page)
{
	for (const struct pun *pun = atomic_load(&puns); pun; pun = pun->next)
		if (page >= pun->page_low && page < pun->page_high)
			return true;
	return false;
}

static bool overlaps(uintptr_t low, uintptr_t high)
{
	for (const struct pun *pun = atomic_load(&puns); pun; pun = pun->next)
		if (low < pun->high && pun->low < high)
			return true;
	return false;
}

static bool map_page(uintptr_t page, size_t size)
{
	void *got = mmap((void *)page, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
	                 -1, 0);
	if (got == MAP_FAILED)
		return false;
	if ((uintptr_t)got == page)
		return true;
	munmap(got, size); /* a kernel before 4.17 takes the address for a wish */
	return false;
}

/* Maps what is not ours already of the pages; on failure nothing more than before. */
static bool map_pages(uintptr_t low, uintptr_t high, size_t size)
{
	uintptr_t page = low;
	for (; page < high; page += size)
		if (!page_is_ours(page) && !map_page(page, size))
			break;
	if (page == high)
		return true;
	while (page > low) {
		page -= size;
		if (!page_is_ours(page))
			munmap((void *)page, size);
	}
	return false;
}

bool hp_pun_take(uintptr_t address)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t high = address + HP_PUN_CODE, page_low = address & ~(size - 1),
		  page_high = (high + size - 1) & ~(size - 1);
	struct pun *pun =
		address > UINTPTR_MAX - HP_PUN_CODE || in_way_of_stack(page_low, page_high) || overlaps(address, high)
			? NULL
			: calloc(1, sizeof(*pun));
	if (!pun)
		return false;
	if (!map_pages(page_low, page_high, size)) {
		free(pun);
		return false;
	}
	*pun = (struct pun){atomic_load(&puns), address, high, page_low, page_high};
	atomic_store(&puns, pun);
	return true;
}

int hp_pun_fill(uintptr_t address, uintptr_t slot, struct hp_err *err)
{
	uint8_t code[HP_PUN_CODE];
	struct hp_text text;
	hp_arch_pun_fill(code, slot);
	hp_text_open(&text);
	int error = hp_text_write(&text, address, code, sizeof(code), err);
	hp_text_close(&text);
	return error;
}
