/* region - one part of a patch in a process: the memory that the agent reserved for it, and the bytes that go there.
 *
 *     code | const | data   as link/layout.h has them
 *     symfile               what debuggers are told, read-only
 */
#ifndef HP_REMOTE_REGION_H
#define HP_REMOTE_REGION_H

#include "link/relocate.h"
#include "remote/client.h"

struct hp_region {
	struct hp_remote *remote;        /* not ours */
	const struct hp_patchfile *part; /* not ours */
	struct hp_resolved *symbols;     /* by symbol; ours */
	struct hp_layout *layout;
	struct hp_linking linking; /* base is set once it is reserved */
	struct hp_remote_region memory;
	uint8_t *bytes, *symfile;
	size_t symfile_size;
};

/* Lays out and reserves memory within reach of [low, high). pretend: takes an address near it, and asks for nothing.
 * symbols are taken, also on failure. */
int hp_region_reserve(struct hp_region *region, struct hp_remote *remote, const struct hp_patchfile *part,
                      struct hp_resolved *symbols, uint64_t low, uint64_t high, bool pretend,
                      struct hp_err *err) HP_MUST_CHECK;

/* Computes the bytes, here. */
int hp_region_relocate(struct hp_region *region, struct hp_err *err) HP_MUST_CHECK;

/* Writes them there, seals the pages and registers what unwinders, debuggers and profilers want to know. */
int hp_region_bring(struct hp_region *region, struct hp_err *err) HP_MUST_CHECK;

/* release: gives the memory back, unless it was a pretence. */
void hp_region_clear(struct hp_region *region, bool release);

#endif
