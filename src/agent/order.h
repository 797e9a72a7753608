/* order - what a client asks to be applied, as it came and as far as it can be checked before anything is made. */
#ifndef HP_AGENT_ORDER_H
#define HP_AGENT_ORDER_H

#include "agent/requests.h"
#include "live/patch.h"

struct hp_order_change {
	uintptr_t entry, code;
	struct hp_parts parts, old;
	char *name;
};

struct hp_order_write {
	uintptr_t address;
	const uint8_t *bytes;
	uint32_t n;
};

struct hp_order {
	char name[HP_WIRE_STR_MAX + 1];
	struct hotpatch_options options;
	bool dry, aside; /* aside: what is replaced may be put back */
	bool is_ground;  /* later patches count on it */
	uint64_t generation;
	uint64_t regions[HP_WIRE_REGIONS_MAX];
	struct hotpatch *replaced[HP_WIRE_REGIONS_MAX];
	uint64_t replaced_ids[HP_WIRE_REGIONS_MAX];
	struct {
		unsigned event;
		uintptr_t address;
	} callbacks[HP_WIRE_CALLBACKS_MAX]; /* HP_WIRE_MIGRATE_BACK only behind HP_WIRE_MIGRATE; 0: no way back */
	struct hp_order_change *changes;
	struct hp_order_write *writes;
	uint32_t n_regions, n_replaced, n_callbacks, n_changes, n_writes;
	uint64_t used[HP_WIRE_REGIONS_MAX]; /* regions of earlier patches that the code refers to */
	size_t n_used;
	uint32_t n_uses;
	uintptr_t lost; /* an address that is to lie in one and does not */
	const uint8_t *notes;
	uint32_t notes_size;
};

/* The body of an apply request. Freed by hp_order_free, also after failure. */
int hp_order_take(struct hp_exchange *x, struct hp_order *order) HP_MUST_CHECK;
void hp_order_free(struct hp_order *order);

/* Mode, flags where there are some (ret_flags is not NULL), and times. */
void hp_order_take_options(struct hp_cursor *in, unsigned *ret_flags, struct hotpatch_options *options);

/* Everything but the changes; finds what is to be replaced. With the registry locked, like the next. */
int hp_order_check(const struct hp_exchange *x, struct hp_order *order, struct hp_err *err) HP_MUST_CHECK;
int hp_order_check_change(const struct hp_order *order, const struct hp_order_change *change,
                          struct hp_err *err) HP_MUST_CHECK;

#endif
