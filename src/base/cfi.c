/* cfi - finding the entry that covers an address; see cfi.h for the picture. */
#include "base/cfi.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#include "base/cursor.h"

/* -- Entries ----------------------------------------------------------------------------------------------------- */

/* Opens the record at `at`: its content behind the length field. False at the terminator and at what makes no sense. */
static bool record_open(const struct hp_cfi *cfi, const uint8_t *at, struct hp_cursor *ret_content)
{
	if (at < cfi->low || at >= cfi->high)
		return false;
	struct hp_cursor c = {at, cfi->high, false};
	uint64_t length = hp_take(&c, 4);
	if (length == 0xffffffff)
		length = hp_take(&c, 8);
	if (c.bad || length == 0 || length > (size_t)(cfi->high - c.at))
		return false;
	c.end = c.at + length;
	*ret_content = c;
	return true;
}

static void augmentation_read(struct hp_cursor *c, const char *letters, struct hp_fde *fde)
{
	if (letters[0] != 'z')
		return;
	uint64_t length = hp_take_uleb(c);
	if (c->bad || length > (size_t)(c->end - c->at)) {
		c->bad = true;
		return;
	}
	const uint8_t *next = c->at + length;
	for (letters++; *letters; letters++) {
		if (*letters == 'R')
			fde->pointers = hp_take(c, 1);
		else if (*letters == 'S')
			fde->signal_frame = true;
		else if (*letters == 'L')
			hp_take(c, 1);
		else if (*letters == 'P')
			hp_take_format(c, hp_take(c, 1));
		else if (*letters != 'B')
			break; /* unknown letters end what can be read; z tells how far to skip */
	}
	c->at = next;
}

static bool cie_read(const struct hp_cfi *cfi, const uint8_t *at, struct hp_fde *fde, bool *ret_augmented)
{
	struct hp_cursor c;
	if (!record_open(cfi, at, &c) || hp_take(&c, 4) != 0)
		return false;
	uint8_t version = hp_take(&c, 1);
	const char *letters = (const char *)c.at;
	while (!c.bad && hp_take(&c, 1) != 0)
		;
	if (c.bad || (version != 1 && version != 3))
		return false;
	fde->code_align = hp_take_uleb(&c);
	fde->data_align = hp_take_sleb(&c);
	fde->return_column = version == 1 ? hp_take(&c, 1) : hp_take_uleb(&c);
	augmentation_read(&c, letters, fde);
	*ret_augmented = letters[0] == 'z';
	fde->first = c.at;
	fde->first_end = c.end;
	return !c.bad && (letters[0] == 'z' || letters[0] == 0);
}

static bool fde_read(const struct hp_cfi *cfi, const uint8_t *at, struct hp_fde *ret_fde)
{
	struct hp_cursor c;
	struct hp_fde fde = {0};
	bool augmented;
	if (!record_open(cfi, at, &c))
		return false;
	const uint8_t *here = c.at;
	uint64_t back = hp_take(&c, 4);
	if (back == 0 || back > (size_t)(here - cfi->low) || !cie_read(cfi, here - back, &fde, &augmented))
		return false;
	fde.begin = hp_take_pointer(&c, fde.pointers, 0);
	fde.end = fde.begin + hp_take_format(&c, fde.pointers & 0x0f);
	if (augmented) {
		uint64_t length = hp_take_uleb(&c);
		if (c.bad || length > (size_t)(c.end - c.at))
			return false;
		for (const uint8_t *end = c.at + length; c.at < end; c.at++)
			fde.has_lsda |= *c.at != 0; /* 0 says there is none */
	}
	fde.rules = c.at;
	fde.rules_end = c.end;
	*ret_fde = fde;
	return !c.bad;
}

/* The header's table: pairs of 4-byte offsets from the header's start, sorted by the first. No other encoding is in
 * use; one that is makes the image's frames unknown. */
static const uint8_t *header_find(const struct hp_cfi *cfi, uintptr_t pc)
{
	struct hp_cursor c = {cfi->header, cfi->header_end, false};
	uintptr_t base = (uintptr_t)cfi->header;
	uint8_t version = hp_take(&c, 1), frame = hp_take(&c, 1), count = hp_take(&c, 1), table = hp_take(&c, 1);
	if (c.bad || version != 1 || count == HP_PE_OMIT || table != (HP_PE_DATAREL | 0x0b))
		return NULL;
	hp_take_pointer(&c, frame, base);
	size_t n = hp_take_pointer(&c, count, base);
	if (c.bad || n == 0 || n > (size_t)(c.end - c.at) / 8)
		return NULL;
	const uint8_t *pairs = c.at;
	size_t low = 0, high = n;
	while (low < high) { /* the last entry that begins at or before pc */
		size_t middle = (low + high) / 2;
		int32_t begin;
		memcpy(&begin, pairs + 8 * middle, 4);
		if (base + (intptr_t)begin <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	int32_t offset;
	memcpy(&offset, pairs + 8 * (low - 1) + 4, 4);
	return cfi->header + offset;
}

static const uint8_t *index_find(const struct hp_cfi *cfi, uintptr_t pc)
{
	size_t low = 0, high = cfi->n_index;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (cfi->index[middle].begin <= pc)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? cfi->index[low - 1].fde : NULL;
}

bool hp_cfi_find(const struct hp_cfi *cfi, uintptr_t pc, struct hp_fde *ret_fde)
{
	struct hp_fde fde;
	const uint8_t *at = cfi->index ? index_find(cfi, pc) : cfi->header ? header_find(cfi, pc) : NULL;
	if (!at || !fde_read(cfi, at, &fde) || pc < fde.begin || pc >= fde.end)
		return false;
	*ret_fde = fde;
	return true;
}

static int entry_compare(const void *a, const void *b)
{
	uintptr_t left = ((const struct hp_cfi_entry *)a)->begin, right = ((const struct hp_cfi_entry *)b)->begin;
	return left < right ? -1 : left > right;
}

/* Walks the records of .eh_frame; counts the entries, and stores them when index is not NULL. */
static size_t section_walk(const struct hp_cfi *cfi, const uint8_t *at, const uint8_t *end, struct hp_cfi_entry *index)
{
	size_t n = 0;
	struct hp_cursor c;
	while (at < end && record_open(cfi, at, &c)) {
		struct hp_fde fde;
		if (fde_read(cfi, at, &fde)) {
			if (index)
				index[n] = (struct hp_cfi_entry){fde.begin, at};
			n++;
		}
		at = c.end;
	}
	return n;
}

bool hp_cfi_index(struct hp_cfi *cfi, const uint8_t *begin, const uint8_t *end)
{
	size_t n = section_walk(cfi, begin, end, NULL);
	struct hp_cfi_entry *index = n ? calloc(n, sizeof(*index)) : NULL;
	if (!index)
		return false;
	section_walk(cfi, begin, end, index);
	hp_memory_sort(index, n, sizeof(*index), entry_compare);
	cfi->index = index;
	cfi->n_index = n;
	return true;
}
