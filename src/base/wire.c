#include "base/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

bool hp_wire_header_read(const uint8_t bytes[HP_WIRE_HEADER], struct hp_wire_header *ret_header)
{
	struct hp_cursor c = {bytes, bytes + HP_WIRE_HEADER, false};
	ret_header->length = (uint32_t)hp_take(&c, 4);
	ret_header->kind = (uint16_t)hp_take(&c, 2);
	uint64_t zero = hp_take(&c, 2);
	ret_header->serial = (uint32_t)hp_take(&c, 4);
	return zero == 0 && ret_header->length <= HP_WIRE_BODY_MAX;
}

/* -- Writing ------------------------------------------------------------------------------------------------------ */

uint8_t *hp_put_space(struct hp_wire *wire, size_t n)
{
	size_t limit = HP_WIRE_HEADER + (size_t)HP_WIRE_BODY_MAX;
	if (wire->bad || n > limit - wire->n) {
		wire->bad = true;
		return NULL;
	}
	if (wire->n + n > wire->capacity) {
		size_t capacity = 2 * (wire->n + n) < 256 ? 256 : 2 * (wire->n + n);
		uint8_t *grown = hp_memory_grow(wire->v, wire->capacity, capacity);
		if (!grown) {
			wire->bad = true;
			return NULL;
		}
		wire->v = grown;
		wire->capacity = capacity;
	}
	wire->n += n;
	return wire->v + wire->n - n;
}

static void store(uint8_t *at, uint64_t value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

void hp_put(struct hp_wire *wire, uint64_t value, size_t size)
{
	uint8_t *at = hp_put_space(wire, size);
	if (at)
		store(at, value, size);
}

void hp_put_str(struct hp_wire *wire, const char *text)
{
	size_t n = strnlen(text, HP_WIRE_STR_MAX);
	hp_put(wire, n, 2);
	uint8_t *at = hp_put_space(wire, n);
	if (at)
		memcpy(at, text, n);
}

void hp_put_bytes(struct hp_wire *wire, const void *bytes, size_t n)
{
	hp_put(wire, n, 4);
	uint8_t *at = hp_put_space(wire, n);
	if (at && n)
		memcpy(at, bytes, n);
}

size_t hp_put_later(struct hp_wire *wire)
{
	size_t at = wire->n;
	hp_put(wire, 0, 4);
	return at;
}

void hp_put_at(struct hp_wire *wire, size_t at, uint32_t value)
{
	if (!wire->bad)
		store(wire->v + at, value, 4);
}

void hp_wire_begin(struct hp_wire *wire, uint16_t kind, uint32_t serial)
{
	wire->n = 0;
	wire->bad = false;
	hp_put(wire, 0, 4);
	hp_put(wire, kind, 2);
	hp_put(wire, 0, 2);
	hp_put(wire, serial, 4);
}

bool hp_wire_end(struct hp_wire *wire)
{
	hp_put_at(wire, 0, (uint32_t)(wire->n - HP_WIRE_HEADER));
	return !wire->bad;
}

void hp_wire_free(struct hp_wire *wire)
{
	hp_memory_forget(wire->v, wire->capacity);
	*wire = (struct hp_wire){0};
}

/* -- Reading ------------------------------------------------------------------------------------------------------ */

static const uint8_t *take_span(struct hp_cursor *c, size_t n)
{
	const uint8_t *at = c->at;
	if (c->bad || (size_t)(c->end - c->at) < n) {
		c->bad = true;
		return NULL;
	}
	c->at += n;
	return at;
}

void hp_take_str(struct hp_cursor *c, char *buffer, size_t size)
{
	size_t n = hp_take(c, 2);
	const uint8_t *at = take_span(c, n);
	buffer[0] = 0;
	if (!at)
		return;
	if (n >= size || memchr(at, 0, n)) {
		c->bad = true;
		return;
	}
	memcpy(buffer, at, n);
	buffer[n] = 0;
}

const uint8_t *hp_take_bytes(struct hp_cursor *c, uint32_t *ret_n)
{
	uint32_t n = (uint32_t)hp_take(c, 4);
	const uint8_t *at = take_span(c, n);
	*ret_n = at ? n : 0;
	return at;
}

uint32_t hp_take_count(struct hp_cursor *c, size_t size, uint32_t max, size_t item_size)
{
	uint32_t n = (uint32_t)hp_take(c, size);
	if (n > max || n > (size_t)(c->end - c->at) / item_size)
		c->bad = true;
	return c->bad ? 0 : n;
}

bool hp_taken_all(const struct hp_cursor *c)
{
	return !c->bad && c->at == c->end;
}
