/* wire - the frames that agent and command exchange: doc/protocol.md has every byte.
 *
 *     0        4      6      8        12
 *     | length | kind |  0   | serial | body ...        little-endian, nothing aligned
 *
 * A frame is written into memory that grows, and is good or bad as a whole at the end; it is read through the cursor of
 * base/cursor.h, where one look at `bad` at the end says whether every byte was there.
 */
#ifndef HP_BASE_WIRE_H
#define HP_BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"

enum {
	HP_WIRE_VERSION = 1,
	HP_WIRE_HEADER = 12,
	HP_WIRE_BODY_MAX = 4 << 20,
	HP_WIRE_STR_MAX = 4095, /* bytes of a str, without the length before it */
	HP_WIRE_REPLY = 0x8000, /* in the kind of a reply */
};

enum hp_wire_kind {
	HP_WIRE_HELLO = 1,
	HP_WIRE_IMAGES,
	HP_WIRE_SYMBOLS,
	HP_WIRE_IFUNC,
	HP_WIRE_READ,
	HP_WIRE_RESERVE,
	HP_WIRE_WRITE,
	HP_WIRE_SEAL,
	HP_WIRE_REGISTER,
	HP_WIRE_RELEASE,
	HP_WIRE_APPLY,
	HP_WIRE_REVERT,
	HP_WIRE_PATCHES,
	HP_WIRE_CHANGES,
	HP_WIRE_STATUS,
	HP_WIRE_NOTES,
	HP_WIRE_WAIT,
	HP_WIRE_SWITCH,
	HP_WIRE_FORGET,
	HP_WIRE_HOLD,
	HP_WIRE_CRASHES,
	HP_WIRE_LET_DIE,
	HP_WIRE_CRASHED, /* no request: what clients that hold are told, as a reply with serial 0 */
	HP_WIRE_KINDS,   /* one more than the last */
};

/* Bounds of what a frame may hold, for both sides. */
enum {
	HP_WIRE_ITEMS_MAX = 65536,   /* of most lists */
	HP_WIRE_READ_MAX = 3 << 20,  /* bytes of memory in one reply */
	HP_WIRE_NOTES_MAX = 1 << 20, /* bytes kept with a patch */
	HP_WIRE_REGION_MAX = 256 << 20,
	HP_WIRE_REGIONS_MAX = 64, /* of one connection, or one patch */
	HP_WIRE_CALLBACKS_MAX = 64,
	HP_WIRE_USES_MAX = 4096,
	HP_WIRE_WAIT_MAX = 255, /* bytes of what a client says it waits for */
	HP_WIRE_WRITES_MAX = 4096,
	HP_WIRE_EXTENTS_MAX = 4,
	HP_WIRE_BLOCKERS_MAX = 32,
	HP_WIRE_FRAMES_MAX = 24,
	HP_WIRE_CRASHES_MAX = 16,
	/* Behind enum hotpatch_event: callbacks between the old code and the new, and the way back. */
	HP_WIRE_MIGRATE = 4,
	HP_WIRE_MIGRATE_BACK,
};

struct hp_wire_header {
	uint32_t length; /* of the body */
	uint16_t kind;
	uint32_t serial;
};

/* False: these bytes begin no frame. */
bool hp_wire_header_read(const uint8_t bytes[HP_WIRE_HEADER], struct hp_wire_header *ret_header);

/* -- Writing ------------------------------------------------------------------------------------------------------ */

/* Zeroed is empty. After hp_wire_end the frame is v[0..n), or `bad`: no memory, or longer than a frame may be. */
struct hp_wire {
	uint8_t *v;
	size_t n, capacity;
	bool bad;
};

void hp_wire_begin(struct hp_wire *wire, uint16_t kind, uint32_t serial); /* what was in it is gone */
void hp_put(struct hp_wire *wire, uint64_t value, size_t size);
void hp_put_str(struct hp_wire *wire, const char *text); /* cut where it is too long */
void hp_put_bytes(struct hp_wire *wire, const void *bytes, size_t n);
/* A number of 4 bytes that is known later: where it stands, for hp_put_at. */
size_t hp_put_later(struct hp_wire *wire);
void hp_put_at(struct hp_wire *wire, size_t at, uint32_t value);
/* n bytes to be filled in by the caller; NULL when bad. */
uint8_t *hp_put_space(struct hp_wire *wire, size_t n);
bool hp_wire_end(struct hp_wire *wire);
void hp_wire_free(struct hp_wire *wire); /* no address in it stays behind in the heap */

/* -- Reading ------------------------------------------------------------------------------------------------------ */

/* A str into buffer, with a NUL behind it; bad when it has one inside or does not fit. */
void hp_take_str(struct hp_cursor *c, char *buffer, size_t size);
/* The bytes, which stay where they are. */
const uint8_t *hp_take_bytes(struct hp_cursor *c, uint32_t *ret_n);
/* The length of a list whose items take at least item_size bytes each: bad, and 0, when there are more than max or than
 * there can be. */
uint32_t hp_take_count(struct hp_cursor *c, size_t size, uint32_t max, size_t item_size);
/* Whether all was there, and nothing is left. */
bool hp_taken_all(const struct hp_cursor *c);

#endif
