/* near - memory that hotpatch generates code into, within reach of the functions it serves.
 *
 * A block serves sites whose entries lie within 2 GiB of it. Per site it has one cell:
 *
 *     data, read-write     gate | slot 0, 1, 2 ... | body 0, 1, 2 ... | site 0, 1, 2 ...      one word each
 *     code, read-execute   cell 0, 1, 2 ...: landing, jump to the original body, gate stub    HP_CELL_CODE bytes each
 *
 * Code of a block is written once, before anybody is sent there, and never again: the cells differ in nothing but which
 * words they use. So no page is ever writable and executable at once, and a thread may linger in a stub for ever. Cells
 * are never given back; a site keeps its own.
 *
 * Landings of closures may lie anywhere and are given back when the closure has been left.
 */
#ifndef HP_CODE_NEAR_H
#define HP_CODE_NEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hp_site;

struct hp_cell {
	_Atomic uintptr_t *slot; /* address of the current definition: what the entry jumps through */
	uintptr_t *body;         /* address of the original body */
	struct hp_site **site;
	uintptr_t code;
};

/* A cell within reach of `entry`. One caller at a time, like all here. */
int hp_near_take(uintptr_t entry, struct hp_cell *ret_cell, struct hp_err *err) HP_MUST_CHECK;

/* Fresh pages within reach of `entry`, or 0 with errno: size is rounded up to pages. And whether memory is in its
 * reach. */
uintptr_t hp_near_map(uintptr_t entry, size_t size, int protection);
bool hp_near_reaches(uintptr_t low, size_t size, uintptr_t entry);

/* Fresh memory, read-write and zero, all of which lies within reach of [low, high), or anywhere where high is 0. */
int hp_near_reserve(uintptr_t low, uintptr_t high, size_t size, uintptr_t *ret_address,
                    struct hp_err *err) HP_MUST_CHECK;

/* Makes fresh, written, whole pages read-execute. HOTPATCH_ETEXT with the policy that stands in the way. */
int hp_near_seal(uintptr_t address, size_t size, struct hp_err *err) HP_MUST_CHECK;

/* The landing of a closure: hands `context` to the thread-local at tls_offset and jumps to body. */
int hp_landing_new(uintptr_t context, uintptr_t body, ptrdiff_t tls_offset, uintptr_t *ret_landing,
                   struct hp_err *err) HP_MUST_CHECK;
void hp_landing_free(uintptr_t landing); /* nobody is in it; 0 is nothing */

/* Held across fork, so that the child's is free. */
void hp_landings_lock(void);
void hp_landings_unlock(void);

/* Whether an instruction pointer lies in code generated here for entries: its frame is still that of an entry. */
bool hp_near_contains(uintptr_t address);

#endif
