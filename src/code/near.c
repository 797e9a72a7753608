#include "code/near.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "code/text.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum { CELLS_MIN = 64, CELLS_MAX = 16384 };

/* Less what an instruction and its cell may lie apart from the addresses compared. */
static const uintptr_t reach = HP_REACH - 65536;

struct block {
	struct block *next; /* blocks are only ever added: handlers may walk the list */
	uintptr_t low, high;
	uintptr_t *words; /* gate, then the three arrays */
	uintptr_t code;
	size_t count, used;
};

static _Atomic(struct block *) blocks;

/* -- Finding room ------------------------------------------------------------------------------------------------ */

static size_t page_round(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (size + page - 1) & ~(page - 1);
}

static bool in_reach(uintptr_t block_low, uintptr_t block_high, uintptr_t low, uintptr_t high)
{
	uintptr_t first = block_low < low ? block_low : low, last = block_high > high ? block_high : high;
	return last - first < reach;
}

static uintptr_t map_at(uintptr_t address, size_t size, int protection)
{
	void *got = mmap((void *)address, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (got == MAP_FAILED)
		return 0;
	if ((uintptr_t)got == address)
		return address;
	munmap(got, size); /* a kernel before 4.17 takes the address for a wish */
	return 0;
}

/* Tries below the code first: above a program grows its heap. Steps are small near it and large further out. */
static uintptr_t map_near(uintptr_t low, uintptr_t high, size_t size, int protection)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), grain = 65536, step = grain;
	uintptr_t floor = low & ~(page - 1), below = floor > size ? floor - size : 0, above = page_round(high);
	for (uintptr_t away = 0; away < reach; away += step) {
		uintptr_t got = 0;
		errno = 0;
		if (below > away + grain && in_reach(below - away, below - away + size, low, high))
			got = map_at(below - away, size, protection);
		if (!got && away >= 16 * grain && in_reach(above + away, above + away + size, low, high))
			got = map_at(above + away, size, protection);
		if (got)
			return got;
		if (errno == ENOMEM && away == 0)
			return 0; /* not this place: a limit on address space */
		if (away == 64 * grain)
			step = HP_REACH / 128;
	}
	errno = ENOMEM;
	return 0;
}

uintptr_t hp_near_map(uintptr_t entry, size_t size, int protection)
{
	return map_near(entry, entry, page_round(size), protection);
}

bool hp_near_reaches(uintptr_t low, size_t size, uintptr_t entry)
{
	return in_reach(low, low + size, entry, entry);
}

static int refuse_room(uintptr_t low, size_t size, struct hp_err *err)
{
	return hp_err_system(err, HOTPATCH_ENOMEM, errno, "no room for %zu bytes within %u MiB of the code at %#lx",
	                     size, (unsigned)(HP_REACH >> 20), (unsigned long)low);
}

int hp_near_reserve(uintptr_t low, uintptr_t high, size_t size, uintptr_t *ret_address, struct hp_err *err)
{
	uintptr_t at = 0;
	void *anywhere = MAP_FAILED;
	if (high)
		at = map_near(low, high, size, PROT_READ | PROT_WRITE);
	else
		anywhere = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!high && anywhere == MAP_FAILED)
		return hp_err_system(err, HOTPATCH_ENOMEM, errno, "no room for %zu bytes", size);
	if (high && !at)
		return refuse_room(low, size, err);
	*ret_address = high ? at : (uintptr_t)anywhere;
	return 0;
}

/* Where a policy forbids making anything executable afterwards (PR_SET_MDWE), pages that are so from the start take its
 * place and are filled as text is. */
static int replace_sealed(uintptr_t address, size_t size, struct hp_err *err)
{
	uint8_t *bytes = malloc(size);
	struct hp_text text;
	if (!bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu bytes of code", size);
	memcpy(bytes, (const void *)address, size);
	hp_text_open(&text);
	int error = mmap((void *)address, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
	                 0) == MAP_FAILED
	                    ? hp_err_system(err, HOTPATCH_ETEXT, errno,
	                                    "memory for generated code cannot be made executable")
	                    : hp_text_write(&text, address, bytes, size, err);
	hp_text_close(&text);
	free(bytes);
	return error;
}

int hp_near_seal(uintptr_t address, size_t size, struct hp_err *err)
{
	__builtin___clear_cache((char *)address, (char *)address + size); /* nothing where caches are kept coherent */
	if (mprotect((void *)address, size, PROT_READ | PROT_EXEC) == 0)
		return 0;
	return replace_sealed(address, size, err);
}

/* -- Blocks ------------------------------------------------------------------------------------------------------ */

static struct hp_cell_words cell_words(const struct block *block, size_t i)
{
	const uintptr_t *slots = block->words + 1;
	return (struct hp_cell_words){
		.slot = (uintptr_t)(slots + i),
		.body = (uintptr_t)(slots + block->count + i),
		.site = (uintptr_t)(slots + 2 * block->count + i),
		.gate = (uintptr_t)block->words,
	};
}

static int block_fill(struct block *block, struct hp_err *err)
{
	size_t size = page_round(block->count * HP_CELL_CODE);
	for (size_t i = 0; i < block->count; i++) {
		struct hp_cell_words words = cell_words(block, i);
		uintptr_t at = block->code + i * HP_CELL_CODE;
		hp_arch_cell_fill((uint8_t *)at, at, &words);
	}
	block->words[0] = (uintptr_t)hp_gate_enter;
	return hp_near_seal(block->code, size, err);
}

static int block_new(uintptr_t low, uintptr_t high, size_t count, struct block **ret_block, struct hp_err *err)
{
	size_t data = page_round((1 + 3 * count) * sizeof(uintptr_t)), size = data + page_round(count * HP_CELL_CODE);
	struct block *block = calloc(1, sizeof(*block));
	if (!block)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu sites", count);
	uintptr_t at = map_near(low, high, size, PROT_READ | PROT_WRITE);
	if (!at) {
		free(block);
		return refuse_room(low, size, err);
	}
	*block = (struct block){
		.low = at,
		.high = at + size,
		.words = (uintptr_t *)at,
		.code = at + data,
		.count = count,
	};
	int error = block_fill(block, err);
	if (error) {
		munmap((void *)at, size);
		free(block);
		return error;
	}
	block->next = atomic_load(&blocks);
	atomic_store(&blocks, block);
	*ret_block = block;
	return 0;
}

static struct block *block_find(uintptr_t entry)
{
	for (struct block *block = atomic_load(&blocks); block; block = block->next)
		if (block->used < block->count && in_reach(block->low, block->high, entry, entry))
			return block;
	return NULL;
}

/* Each block is as large as all before it together, so that few serve many sites. */
static size_t next_count(void)
{
	size_t count = 0;
	for (const struct block *block = atomic_load(&blocks); block; block = block->next)
		count += block->count;
	return count < CELLS_MIN ? CELLS_MIN : count < CELLS_MAX ? count : CELLS_MAX;
}

int hp_near_take(uintptr_t entry, struct hp_cell *ret_cell, struct hp_err *err)
{
	struct block *block = block_find(entry);
	int error = block ? 0 : block_new(entry, entry, next_count(), &block, err);
	if (error)
		return error;
	size_t i = block->used++;
	struct hp_cell_words words = cell_words(block, i);
	*ret_cell = (struct hp_cell){
		.slot = (_Atomic uintptr_t *)words.slot,
		.body = (uintptr_t *)words.body,
		.site = (struct hp_site **)words.site,
		.code = block->code + i * HP_CELL_CODE,
	};
	return 0;
}

bool hp_near_contains(uintptr_t address)
{
	for (const struct block *block = atomic_load(&blocks); block; block = block->next)
		if (address >= block->code && address < block->high)
			return true;
	return false;
}

/* -- Landings of closures ---------------------------------------------------------------------------------------- */

/* Pages of landings, read-execute from the start; the free ones are chained outside them. */
struct landing {
	struct landing *next;
	uintptr_t address;
	bool used; /* it has been executed: a processor may remember what was there */
};

static struct landing *landings_free, *landings_spare;            /* spare: records without a landing */
static pthread_mutex_t landings_lock = PTHREAD_MUTEX_INITIALIZER; /* protects both lists; innermost */

void hp_landings_lock(void)
{
	pthread_mutex_lock(&landings_lock);
}

void hp_landings_unlock(void)
{
	pthread_mutex_unlock(&landings_lock);
}

static int landings_add(struct hp_err *err)
{
	size_t size = page_round(1), count = size / HP_CLOSURE_CODE;
	struct landing *records = calloc(count, sizeof(*records));
	if (!records)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the landing of a closure");
	void *page = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		free(records);
		return hp_err_system(err, HOTPATCH_ENOMEM, errno, "no executable memory for the landing of a closure");
	}
	for (size_t i = 0; i < count; i++) { /* NOLINT(-Wanalyzer-malloc-leak): count is not 0 */
		records[i] = (struct landing){landings_free, (uintptr_t)page + i * HP_CLOSURE_CODE, false};
		landings_free = &records[i];
	}
	return 0;
}

/* Takes a free landing off its list; its record goes to the spare ones until it is given back. */
static int landing_take(uintptr_t *ret_address, bool *ret_used, struct hp_err *err)
{
	pthread_mutex_lock(&landings_lock);
	int error = landings_free ? 0 : landings_add(err);
	if (!error) {
		struct landing *landing = landings_free;
		landings_free = landing->next;
		landing->next = landings_spare;
		landings_spare = landing;
		*ret_address = landing->address;
		*ret_used = landing->used;
	}
	pthread_mutex_unlock(&landings_lock);
	return error;
}

void hp_landing_free(uintptr_t address)
{
	if (!address)
		return;
	pthread_mutex_lock(&landings_lock);
	struct landing *landing = landings_spare; /* as many records are spare as landings are taken */
	landings_spare = landing->next;
	landing->address = address;
	landing->used = true;
	landing->next = landings_free;
	landings_free = landing;
	pthread_mutex_unlock(&landings_lock);
}

static int landing_write(uintptr_t address, const uint8_t code[HP_CLOSURE_CODE], struct hp_err *err)
{
	struct hp_text text;
	hp_text_open(&text);
	int error = hp_text_write(&text, address, code, HP_CLOSURE_CODE, err);
	hp_text_close(&text);
	return error;
}

/* A used place has held another landing, which a processor may still remember. Where the kernel does not make it
 * forget, the place is left alone for good and the next one taken: threads are not asked by who may not have the turn.
 */
int hp_landing_new(uintptr_t context, uintptr_t body, ptrdiff_t tls_offset, uintptr_t *ret_landing, struct hp_err *err)
{
	uint8_t code[HP_CLOSURE_CODE];
	uintptr_t address;
	bool used = false;
	hp_arch_closure_fill(code, context, body, tls_offset);
	do {
		int error = landing_take(&address, &used, err);
		if (error)
			return error;
		error = landing_write(address, code, err);
		if (error) {
			hp_landing_free(address);
			return error;
		}
	} while (used && !hp_text_barrier());
	*ret_landing = address;
	return 0;
}
