#include "types/statics.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "types/array.h"
#include "types/objdwarf.h"

enum { DEPTH_MAX = 64 };

/* A variable as it is declared, inside a function or outside. */
struct declared {
	Dwarf_Off offset; /* of its entry */
	const char *name, *function;
	Dwarf_Die die;
	bool has_place;
	size_t ordinal; /* among those of one name in one function that have a place */
};

/* An entry that has a place. */
struct placed {
	Dwarf_Off declaration;
	struct hp_static at; /* without scope */
};

struct reading {
	struct hp_debuginfo *info;
	struct declared *declared; /* in order of entries, which is that of the source within a function */
	size_t n_declared;
	struct placed *placed;
	size_t n_placed;
	struct hp_err *err;
};

static int no_memory(const struct reading *r)
{
	return hp_err_set(r->err, HOTPATCH_ENOMEM, "no memory for the variables of '%s'", r->info->name);
}

/* -- Places ---------------------------------------------------------------------------------------------------- */

/* What an operation of a location expression gives: an address, or a number that becomes one. */
static bool take_address(Dwarf_Attribute *attr, Dwarf_Op *op, uint64_t *ret_address)
{
	Dwarf_Attribute address;
	Dwarf_Addr value;

	switch (op->atom) {
	case DW_OP_addr:
	case DW_OP_const4u:
	case DW_OP_const8u:
		*ret_address = op->number;
		return true;
	case DW_OP_addrx:
	case DW_OP_constx:
	case DW_OP_GNU_addr_index:
	case DW_OP_GNU_const_index:
		if (dwarf_getlocation_attr(attr, op, &address) != 0 || dwarf_formaddr(&address, &value) != 0)
			return false;
		*ret_address = value;
		return true;
	default:
		return false;
	}
}

static bool is_tls(unsigned atom)
{
	return atom == DW_OP_GNU_push_tls_address || atom == DW_OP_form_tls_address;
}

/* Whether die has a place of its own for as long as the program runs. */
static bool read_place(const Dwarf_Die *die, struct hp_static *ret)
{
	Dwarf_Die copy = *die;
	Dwarf_Attribute attr;
	Dwarf_Op *ops;
	size_t n;

	if (!dwarf_attr(&copy, DW_AT_location, &attr) || dwarf_getlocation(&attr, &ops, &n) != 0 || !n ||
	    !take_address(&attr, &ops[0], &ret->address))
		return false;
	ret->is_thread_local = n > 1 && is_tls(ops[1].atom);
	if (ret->is_thread_local)
		ret->address = hp_objdwarf_widen(ret->address);
	else if (ops[0].atom != DW_OP_addr && ops[0].atom != DW_OP_addrx && ops[0].atom != DW_OP_GNU_addr_index)
		return false;
	ret->is_partial = n > (ret->is_thread_local ? 2 : 1);
	return true;
}

/* The entry that declares it: of a copy of an inlined function the original one, of a definition its declaration. */
static Dwarf_Off declaration_of(const Dwarf_Die *die)
{
	Dwarf_Die origin = hp_die_origin(die);
	return dwarf_dieoffset(&origin);
}

/* -- Walking --------------------------------------------------------------------------------------------------- */

static int add_variable(struct reading *r, const Dwarf_Die *die, const char *function)
{
	struct hp_static place = {.die = *die};
	Dwarf_Die copy = *die;
	Dwarf_Off own = dwarf_dieoffset(&copy), declaration = declaration_of(die);

	if (own == declaration && hp_die_name(die)) {
		struct declared *declared = hp_array_grow(r->declared, r->n_declared, sizeof(*declared));
		if (!declared)
			return no_memory(r);
		r->declared = declared;
		declared[r->n_declared++] =
			(struct declared){.offset = own, .name = hp_die_name(die), .function = function, .die = *die};
	}
	if (!read_place(die, &place))
		return 0;
	struct placed *placed = hp_array_grow(r->placed, r->n_placed, sizeof(*placed));
	if (!placed)
		return no_memory(r);
	r->placed = placed;
	placed[r->n_placed++] = (struct placed){declaration, place};
	return 0;
}

/* clang leaves the name out where nothing is left of the function but its variables. */
static const char *function_name(const Dwarf_Die *die)
{
	const char *name = hp_die_name(die);
	return name ? name : "";
}

static int walk(struct reading *r, const Dwarf_Die *parent, const char *function, int depth)
{
	Dwarf_Die child;
	int code = 0, more = depth < DEPTH_MAX ? hp_die_first(parent, &child) : 0;

	for (; more > 0 && code == 0; more = hp_die_next(&child)) {
		int tag = dwarf_tag(&child);
		if (tag == DW_TAG_variable)
			code = add_variable(r, &child, function);
		else if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine)
			code = walk(r, &child, function_name(&child), depth + 1);
		else if (tag == DW_TAG_lexical_block || tag == DW_TAG_namespace)
			code = walk(r, &child, function, depth + 1);
	}
	if (more < 0)
		return hp_err_set(r->err, HOTPATCH_ENOTYPE, "the type information of '%s' is damaged or cut short",
		                  r->info->name);
	return code;
}

/* -- Scopes ---------------------------------------------------------------------------------------------------- */

static int compare_declared(const void *a, const void *b)
{
	const struct declared *x = a, *y = b;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static struct declared *find_declared(const struct reading *r, Dwarf_Off offset)
{
	struct declared key = {.offset = offset};
	return r->n_declared ? bsearch(&key, r->declared, r->n_declared, sizeof(key), compare_declared) : NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void number_declared(struct reading *r)
{
	for (size_t i = 0; i < r->n_declared; i++) {
		struct declared *d = &r->declared[i];
		for (size_t k = i; d->has_place && d->function && k-- > 0;) {
			const struct declared *before = &r->declared[k];
			if (!before->has_place || !same_text(before->name, d->name) ||
			    !same_text(before->function, d->function))
				continue;
			d->ordinal = before->ordinal + 1;
			break;
		}
	}
}

static char *scope_of(const struct declared *d)
{
	char *scope;
	int n;

	if (!d->function)
		return strdup(d->name);
	if (d->ordinal && *d->function)
		n = asprintf(&scope, "%s/%s#%zu", d->function, d->name, d->ordinal);
	else
		n = asprintf(&scope, "%s/%s", d->function, d->name);
	return n < 0 ? NULL : scope;
}

static int compare_statics(const void *a, const void *b)
{
	const struct hp_static *x = a, *y = b;
	if (x->is_thread_local != y->is_thread_local)
		return x->is_thread_local - y->is_thread_local;
	return x->address < y->address ? -1 : x->address > y->address;
}

static int make_statics(struct reading *r, struct hp_statics *statics)
{
	if (r->n_declared)
		qsort(r->declared, r->n_declared, sizeof(*r->declared), compare_declared);
	for (size_t i = 0; i < r->n_placed; i++) {
		struct declared *d = find_declared(r, r->placed[i].declaration);
		if (d)
			d->has_place = true;
	}
	number_declared(r);
	statics->items = calloc(r->n_placed + 1, sizeof(*statics->items));
	if (!statics->items)
		return no_memory(r);
	for (size_t i = 0; i < r->n_placed; i++) {
		const struct declared *d = find_declared(r, r->placed[i].declaration);
		struct hp_static *item = &statics->items[statics->count];
		if (!d)
			continue;
		*item = r->placed[i].at;
		item->die = d->die;
		if (!(item->scope = scope_of(d)))
			return no_memory(r);
		statics->count++;
	}
	qsort(statics->items, statics->count, sizeof(*statics->items), compare_statics);
	return 0;
}

int hp_statics_read(struct hp_debuginfo *info, struct hp_statics *ret_statics, struct hp_err *err)
{
	struct reading r = {.info = info, .err = err};
	struct hp_statics statics = {0};
	Dwarf_CU *cu = NULL;
	Dwarf_Die die;
	int code = 0, more = 0;

	while (code == 0 && (more = dwarf_get_units(info->dwarf, cu, &cu, NULL, NULL, &die, NULL)) == 0)
		code = walk(&r, &die, NULL, 0);
	if (code == 0 && more < 0)
		code = hp_err_set(err, HOTPATCH_ENOTYPE, "the debug information of '%s' is damaged: %s", info->name,
		                  dwarf_errmsg(-1));
	if (code == 0)
		code = make_statics(&r, &statics);
	free(r.declared);
	free(r.placed);
	if (code < 0)
		hp_statics_free(&statics);
	else
		*ret_statics = statics;
	return code;
}

void hp_statics_free(struct hp_statics *statics)
{
	for (size_t i = 0; i < statics->count; i++)
		free(statics->items[i].scope);
	free(statics->items);
	*statics = (struct hp_statics){0};
}

const struct hp_static *hp_statics_at(const struct hp_statics *statics, uint64_t address, bool is_thread_local)
{
	struct hp_static key = {.address = address, .is_thread_local = is_thread_local};
	return statics->count ? bsearch(&key, statics->items, statics->count, sizeof(key), compare_statics) : NULL;
}

/* -- Scopes from symbols --------------------------------------------------------------------------------------- */

/* "count.2" and "serve.count.2" without what compilers add. */
static const char *plain_name(const char *name, char *buffer, size_t room)
{
	size_t length = strlen(name);

	while (length && isdigit((unsigned char)name[length - 1]))
		length--;
	if (!length || name[length - 1] != '.' || !name[length])
		length = strlen(name) + 1;
	snprintf(buffer, room, "%.*s", (int)(length - 1), name);
	return buffer;
}

char *hp_static_complete(const char *scope, const char *symbol)
{
	char plain[512], *whole;
	const char *end, *variable = scope + 1;

	plain_name(symbol, plain, sizeof(plain));
	end = plain + strlen(plain);
	if ((size_t)(end - plain) <= strlen(variable) + 1 || strcmp(end - strlen(variable), variable) != 0)
		return strdup(scope);
	return asprintf(&whole, "%.*s/%s", (int)(end - plain - (long)strlen(variable) - 1), plain, variable) < 0
	               ? NULL
	               : whole;
}
