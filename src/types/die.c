#include "types/die.h"

/* libdw takes non-const entries and does not change them but for a cache inside. */
static bool attr_here(const Dwarf_Die *die, unsigned name, Dwarf_Attribute *ret_attr)
{
	Dwarf_Die copy = *die;
	return die->addr && dwarf_attr(&copy, name, ret_attr) != NULL;
}

static bool follow(const Dwarf_Die *die, Dwarf_Die *ret_die)
{
	Dwarf_Attribute attr;

	if (!attr_here(die, DW_AT_abstract_origin, &attr) && !attr_here(die, DW_AT_specification, &attr))
		return false;
	return dwarf_formref_die(&attr, ret_die) != NULL;
}

bool hp_die_attr(const Dwarf_Die *die, unsigned name, Dwarf_Attribute *ret_attr)
{
	Dwarf_Die here = *die, next;

	for (int hops = 0; hops < HP_DIE_HOPS; hops++) {
		if (attr_here(&here, name, ret_attr))
			return true;
		if (!follow(&here, &next))
			return false;
		here = next;
	}
	return false;
}

const char *hp_die_name(const Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	return hp_die_attr(die, DW_AT_name, &attr) ? dwarf_formstring(&attr) : NULL;
}

/* That its origin was only declared is no property of a definition (DWARF 5, 2.13.2). */
bool hp_die_flag(const Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attr;
	bool is_set, found = name == DW_AT_declaration ? attr_here(die, name, &attr) : hp_die_attr(die, name, &attr);

	return found && dwarf_formflag(&attr, &is_set) == 0 && is_set;
}

/* DW_FORM_data1 to data8 do not say whether they are signed; compilers write negative numbers as sdata. */
bool hp_die_number(const Dwarf_Die *die, unsigned name, uint64_t *ret_number)
{
	Dwarf_Attribute attr;
	Dwarf_Word word;
	Dwarf_Sword sword;

	if (!hp_die_attr(die, name, &attr))
		return false;
	switch (dwarf_whatform(&attr)) {
	case DW_FORM_sdata:
	case DW_FORM_implicit_const:
		if (dwarf_formsdata(&attr, &sword) != 0)
			return false;
		*ret_number = (uint64_t)sword;
		return true;
	case DW_FORM_data1:
	case DW_FORM_data2:
	case DW_FORM_data4:
	case DW_FORM_data8:
	case DW_FORM_udata:
		if (dwarf_formudata(&attr, &word) != 0)
			return false;
		*ret_number = word;
		return true;
	default: /* an expression, or a reference to one */
		return false;
	}
}

int hp_die_ref(const Dwarf_Die *die, unsigned name, Dwarf_Die *ret_die)
{
	Dwarf_Attribute attr;

	if (!hp_die_attr(die, name, &attr))
		return 0;
	return dwarf_formref_die(&attr, ret_die) ? 1 : -1;
}

unsigned hp_die_version(const Dwarf_Die *die)
{
	Dwarf_Half version = 0;

	if (!die->cu || dwarf_cu_info(die->cu, &version, NULL, NULL, NULL, NULL, NULL, NULL) != 0)
		return 0;
	return version;
}

Dwarf_Die hp_die_origin(const Dwarf_Die *die)
{
	Dwarf_Die here = *die, next;
	Dwarf_Attribute attr;

	for (int hops = 0; hops < HP_DIE_HOPS && attr_here(&here, DW_AT_abstract_origin, &attr); hops++) {
		if (!dwarf_formref_die(&attr, &next))
			break;
		here = next;
	}
	return here;
}

int hp_die_first(const Dwarf_Die *parent, Dwarf_Die *ret_child)
{
	Dwarf_Die copy = *parent;
	int r = dwarf_child(&copy, ret_child);
	return r == 0 ? 1 : r > 0 ? 0 : -1;
}

int hp_die_next(Dwarf_Die *die)
{
	const char *before = die->addr;
	int r = dwarf_siblingof(die, die);

	if (r != 0)
		return r > 0 ? 0 : -1;
	return (const char *)die->addr > before ? 1 : -1;
}
