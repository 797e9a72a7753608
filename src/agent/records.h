/* records - the patches that came from outside.
 *
 *     being applied --live--> in force --reverted--> reverted --nothing refers to its memory: leftovers.h--> gone
 *          |                   |     ^                    ^
 *          |                   v     | switch             | forget
 *          +-- refused:       set aside -------------------
 *              no record
 *
 * The record is in the list before the patch is live, so that a child that is forked in that moment knows of it.
 */
#ifndef HP_AGENT_RECORDS_H
#define HP_AGENT_RECORDS_H

#include <time.h>

#include "agent/agent.h"
#include "base/wire.h"
#include "live/linked.h"

/* What gives live objects another layout, there and back; back NULL: there is no way. */
struct hp_migration {
	void (*forward)(void), (*back)(void);
};

/* What was found the last time that the memory of a reverted patch was looked at. */
struct hp_left {
	char reason[256], place[96]; /* "" not looked at yet */
	uintptr_t address, target;   /* the word that points into it, and where to; 0: none */
};

struct hp_record {
	struct hp_record *next;
	uint64_t id;
	char *name;
	struct hotpatch *patch; /* NULL: reverted, or set aside */
	struct hotpatch *aside; /* set aside: what it consists of, to be put back; else NULL */
	struct timespec since;  /* CLOCK_REALTIME */
	uint32_t n_changes;
	bool is_ground; /* it cannot be taken away beneath later ones, which count on its types and layouts */
	uint64_t regions[HP_WIRE_REGIONS_MAX]; /* their ids */
	size_t n_regions;
	uint64_t used[HP_WIRE_REGIONS_MAX]; /* of earlier patches, to which its code refers */
	size_t n_used;
	struct hp_left left; /* once it is reverted: why it is still there */
	struct hp_migration migrations[HP_WIRE_CALLBACKS_MAX];
	size_t n_migrations;
	uint8_t *notes; /* the command's, kept for it */
	uint32_t notes_size;
};

struct hp_record *hp_record_find(const struct hp_agent *agent, uint64_t id);
struct hp_record *hp_record_named(const struct hp_agent *agent, const char *name); /* the one in force of that name */

/* Takes it off the list and frees it. Its regions are others' business. */
void hp_record_remove(struct hp_agent *agent, struct hp_record *record);

/* In a child of fork, whose parent may have been applying or reverting: records say what holds. */
void hp_records_mend(struct hp_agent *agent);

#endif
