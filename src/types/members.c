#include "types/members.h"

#include <string.h>

#include "types/array.h"
#include "types/type.h"

/* DWARF 2 gives the offset as an expression: plus_uconst N. Of a virtual base class nothing constant can be said. */
static uint64_t byte_offset(const Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Op *ops;
	size_t count;
	uint64_t number;

	if (hp_die_number(die, DW_AT_data_member_location, &number))
		return number;
	if (!hp_die_attr(die, DW_AT_data_member_location, &attr) || dwarf_getlocation(&attr, &ops, &count) != 0)
		return 0;
	return count == 1 && ops[0].atom == DW_OP_plus_uconst ? ops[0].number : 0;
}

/* Size of the storage unit a bit field of DWARF 2 and 3 counts from. */
static uint64_t storage_bits(const Dwarf_Die *die)
{
	uint64_t bytes;
	struct hp_type type;

	if (hp_die_number(die, DW_AT_byte_size, &bytes))
		return bytes * 8;
	return hp_type_of(die, &type) ? hp_type_size(&type) * 8 : 0;
}

static uint64_t bit_position(const Dwarf_Die *die, uint64_t bits)
{
	uint64_t at, from_big_end;

	if (hp_die_number(die, DW_AT_data_bit_offset, &at))
		return at;
	at = byte_offset(die) * 8;
	if (bits && hp_die_number(die, DW_AT_bit_offset, &from_big_end))
		at += storage_bits(die) - from_big_end - bits;
	return at;
}

/* A bit field as wide as its type is an ordinary member where it begins at a byte; clang writes it as one. */
static void place(struct hp_member *member)
{
	struct hp_type type;

	if (!hp_die_number(&member->die, DW_AT_bit_size, &member->bits))
		member->bits = 0;
	member->at = bit_position(&member->die, member->bits);
	if (member->bits && member->at % 8 == 0 && hp_type_of(&member->die, &type) &&
	    member->bits == hp_type_size(&type) * 8)
		member->bits = 0;
}

static const char *base_class_name(const Dwarf_Die *die)
{
	struct hp_type type;
	const char *name = hp_type_of(die, &type) && type.tag ? hp_die_name(&type.die) : NULL;
	return name ? name : "";
}

/* False for what takes no room in an object. */
static bool read_member(const Dwarf_Die *die, struct hp_member *ret)
{
	Dwarf_Die copy = *die;
	int tag = dwarf_tag(&copy);
	const char *name = hp_die_name(die);

	*ret = (struct hp_member){.name = name ? name : "", .die = *die};
	switch (tag) {
	case DW_TAG_enumerator:
		return hp_die_number(die, DW_AT_const_value, &ret->at);
	case DW_TAG_inheritance:
		ret->name = base_class_name(die);
		place(ret);
		return true;
	case DW_TAG_member:
		/* Before DWARF 5 a static member is one that is only declared here. */
		if (hp_die_flag(die, DW_AT_declaration) || hp_die_flag(die, DW_AT_external))
			return false;
		place(ret);
		return true;
	default:
		return false;
	}
}

int hp_members_read(const Dwarf_Die *aggregate, const char *module, struct hp_members *ret_members, struct hp_err *err)
{
	struct hp_members members = {0};
	struct hp_member member;
	Dwarf_Die child;
	int more = hp_die_first(aggregate, &child);

	for (; more > 0; more = hp_die_next(&child)) {
		if (!read_member(&child, &member))
			continue;
		struct hp_member *items = hp_array_grow(members.items, members.count, sizeof(*items));
		if (!items) {
			hp_members_free(&members);
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the types of '%s'", module);
		}
		members.items = items;
		items[members.count++] = member;
	}
	if (more < 0) {
		hp_members_free(&members);
		return hp_err_set(err, HOTPATCH_ENOTYPE, "the type information of '%s' is damaged: %s", module,
		                  dwarf_errmsg(-1));
	}
	*ret_members = members;
	return 0;
}

void hp_members_free(struct hp_members *members)
{
	free(members->items);
	*members = (struct hp_members){0};
}

const struct hp_member *hp_members_find(const struct hp_members *members, const char *name)
{
	for (size_t i = 0; *name && i < members->count; i++)
		if (strcmp(members->items[i].name, name) == 0)
			return &members->items[i];
	return NULL;
}
