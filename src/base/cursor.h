/* cursor - bounds-checked reading of unwind tables and of frames from a socket: every byte that is read passes here.
 *
 * A cursor that would pass its end goes bad for good and answers 0, so that a reader may check once, at the end.
 */
#ifndef HP_BASE_CURSOR_H
#define HP_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hp_cursor {
	const uint8_t *at, *end;
	bool bad;
};

static inline uint64_t hp_take(struct hp_cursor *c, size_t size)
{
	uint64_t value = 0;
	if (c->bad || (size_t)(c->end - c->at) < size) {
		c->bad = true;
		return 0;
	}
	memcpy(&value, c->at, size);
	c->at += size;
	return value;
}

static inline uint64_t hp_take_uleb(struct hp_cursor *c)
{
	uint64_t value = 0;
	for (unsigned shift = 0;; shift += 7) {
		uint64_t byte = hp_take(c, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
}

static inline int64_t hp_take_sleb(struct hp_cursor *c)
{
	uint64_t value = 0, byte;
	unsigned shift = 0;
	do {
		byte = hp_take(c, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (shift < 64 && (byte & 0x40))
		value |= ~UINT64_C(0) << shift;
	return (int64_t)value;
}

/* Pointer encodings, LSB Core "DWARF Exception Header Encoding". */
enum { HP_PE_OMIT = 0xff, HP_PE_PCREL = 0x10, HP_PE_DATAREL = 0x30, HP_PE_INDIRECT = 0x80 };

static inline uintptr_t hp_take_format(struct hp_cursor *c, uint8_t encoding)
{
	switch (encoding & 0x0f) {
	case 0x00:
	case 0x04:
	case 0x0c:
		return hp_take(c, 8);
	case 0x01:
		return hp_take_uleb(c);
	case 0x02:
		return hp_take(c, 2);
	case 0x03:
		return hp_take(c, 4);
	case 0x09:
		return (uintptr_t)hp_take_sleb(c);
	case 0x0a:
		return (uintptr_t)(int16_t)hp_take(c, 2);
	case 0x0b:
		return (uintptr_t)(int32_t)hp_take(c, 4);
	default:
		c->bad = true;
		return 0;
	}
}

static inline uintptr_t hp_take_pointer(struct hp_cursor *c, uint8_t encoding, uintptr_t data_base)
{
	uintptr_t here = (uintptr_t)c->at;
	uintptr_t value = hp_take_format(c, encoding);
	switch (encoding & 0x70) {
	case 0:
		break;
	case HP_PE_PCREL:
		value += here;
		break;
	case HP_PE_DATAREL:
		value += data_base;
		break;
	default:
		c->bad = true;
	}
	if (encoding & HP_PE_INDIRECT)
		c->bad = true; /* only personality routines are, and those are passed over by the caller */
	return value;
}

#endif
