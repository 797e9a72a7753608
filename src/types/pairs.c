#include "types/pairs.h"

#include "types/array.h"

/* Entries lie at even intervals in memory: multiply to spread them (Knuth 6.4). */
static size_t slot_of(const struct hp_pairs *pairs, const struct hp_pair *pair)
{
	uint64_t key = (uintptr_t)pair->old_die.addr * UINT64_C(31) + (uintptr_t)pair->new_die.addr;
	size_t slot = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (pairs->n_table - 1);

	for (; pairs->table[slot]; slot = (slot + 1) & (pairs->n_table - 1)) {
		const struct hp_pair *other = &pairs->items[pairs->table[slot] - 1];
		if (other->old_die.addr == pair->old_die.addr && other->new_die.addr == pair->new_die.addr)
			break;
	}
	return slot;
}

/* Keeps at least half of the table free. */
static bool make_room(struct hp_pairs *pairs)
{
	if (2 * (pairs->count + 1) <= pairs->n_table)
		return true;
	size_t room = pairs->n_table ? 2 * pairs->n_table : 64;
	size_t *table = calloc(room, sizeof(*table));
	if (!table)
		return false;
	free(pairs->table);
	pairs->table = table;
	pairs->n_table = room;
	for (size_t i = 0; i < pairs->count; i++)
		table[slot_of(pairs, &pairs->items[i])] = i + 1;
	return true;
}

int hp_pairs_add(struct hp_pairs *pairs, const struct hp_pair *pair, size_t *ret_index, struct hp_err *err)
{
	struct hp_pair *items;

	if (!make_room(pairs) || !(items = hp_array_grow(pairs->items, pairs->count, sizeof(*items))))
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to compare types");
	pairs->items = items;
	size_t slot = slot_of(pairs, pair);
	if (!pairs->table[slot]) {
		items[pairs->count++] = *pair;
		pairs->table[slot] = pairs->count;
	}
	*ret_index = pairs->table[slot] - 1;
	return 0;
}

void hp_pairs_free(struct hp_pairs *pairs)
{
	free(pairs->items);
	free(pairs->table);
	*pairs = (struct hp_pairs){0};
}
