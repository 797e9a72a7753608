/* flow - code of a function that was not prepared, and the proof that a jump may be written over its beginning; what
 * the instructions under the jump are must lie within what was read.
 *
 *     scripts/fuzz flow 600
 *
 * The bytes are the text of an image, its first function the first half. The first byte chooses how much is written.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/flow.h"

enum { BASE = 0x400000, DATA = 0x600000, SIZE_MAX_HERE = 4096 };

static struct {
	const uint8_t *bytes;
	size_t n;
} text;

static bool function_at(uintptr_t address, struct hp_range *ret_function)
{
	uintptr_t half = BASE + text.n / 2, end = BASE + text.n;

	if (address < BASE || address >= end)
		return false;
	*ret_function = address < half ? (struct hp_range){BASE, half} : (struct hp_range){half, end};
	return true;
}

static void read_text(uintptr_t at, uint8_t *ret_bytes, size_t n)
{
	if (at < BASE || n > text.n || at - BASE > text.n - n)
		abort(); /* only what is said to be text may be asked for */
	memcpy(ret_bytes, text.bytes + (at - BASE), n);
}

static bool read_memory(uintptr_t at, void *ret_bytes, size_t n)
{
	if (at < DATA || at - DATA > text.n || n > text.n - (at - DATA))
		return false;
	memcpy(ret_bytes, text.bytes + (at - DATA), n);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static uint64_t generation;
	struct hp_displaced displaced;
	struct hp_err err;
	uintptr_t targets[16];
	size_t n = 0;

	if (size < 13 || size > SIZE_MAX_HERE)
		return 0;
	text.bytes = bytes + 1;
	text.n = size - 1;
	struct hp_range parts[] = {{BASE, BASE + text.n / 2}}, code[] = {{BASE, BASE + text.n}};
	struct hp_range data[] = {{DATA, DATA + text.n}};
	struct hp_flow flow = {.name = "it",
	                       .entry = BASE,
	                       .jump = BASE,
	                       .jump_size = bytes[0] % 2 ? 5 : 1,
	                       .parts = parts,
	                       .n_parts = 1,
	                       .text = code,
	                       .data = data,
	                       .n_text = 1,
	                       .n_data = 1,
	                       .generation = ++generation,
	                       .function_at = function_at,
	                       .read = read_text,
	                       .memory = read_memory};
	if (hp_flow_displace(&flow, &displaced, &err) == 0) {
		size_t sum = 0;
		for (size_t i = 0; i < displaced.n; i++)
			sum += displaced.v[i].length;
		if (displaced.n == 0 || displaced.n > HP_STEPS_MAX || displaced.size > text.n / 2 ||
		    sum > displaced.size)
			abort();
	}
	if (hp_flow_exits(&flow, targets, 16, &n, &err) == 0 && n > 16)
		abort();
	hp_flow_forget();
	return 0;
}
