/* regions - memory that a client fills with linked code and data.
 *
 *     reserved --write--> --seal--> sealed --register--> known to unwinders and debuggers --apply--> a patch's:
 *      |                             |                        |
 *        +-------- released, or its client has gone: unmapped --+
 *
 * A patch's goes some time after the patch was reverted: leftovers.h.
 *
 * Until a patch has taken it a region belongs to one connection, and nobody but that client knows of it.
 */
#ifndef HP_AGENT_REGIONS_H
#define HP_AGENT_REGIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent.h"
#include "base/mapped.h"
#include "base/memory.h"
#include "base/readers.h"

enum { HP_REGION_SEALS_MAX = HP_SEGMENTS_MAX };

struct hp_region {
	struct hp_retired retired;
	struct hp_region *next;
	uint64_t id, client; /* client 0: a patch's */
	uintptr_t address;
	size_t size;
	bool sealed, registered;
	bool unwinder;                      /* libgcc knows its tables */
	struct hp_linked linked;            /* when registered: what it is as an image; its segments once sealed */
	struct hp_span symfile;             /* for debuggers, who alone refer to it */
	struct hp_debugger_entry *debugger; /* NULL: no debugger was told */
};

struct hp_region *hp_region_find(const struct hp_agent *agent, uint64_t id);
struct hp_region *hp_region_at(const struct hp_agent *agent, uintptr_t address);

/* Takes the region out of what the runtime and libgcc know of, and puts it back: what they remember of it are addresses
 * of its code. False: there was no memory for that. While it is hidden nobody unwinds through it. */
bool hp_region_hide(struct hp_region *region);
void hp_region_show(struct hp_region *region);

/* Unmaps it, now or when nobody reads its tables any more. */
void hp_region_drop(struct hp_agent *agent, struct hp_region *region);

/* The client's regions that no patch has taken. */
void hp_regions_release_all(struct hp_agent *agent, uint64_t client);

/* In a child of fork, whose parent's clients are not its own. What those had reserved stays: a patch may have been
 * about to take it, and the dynamic linker's locks, without which it cannot be given back, may be another thread's. */
void hp_regions_forget(struct hp_agent *agent);

#endif
