#include "types/debuginfo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/debugfile.h"
#include "types/array.h"
#include "types/objdwarf.h"
#include "types/type.h"

#define NAMESPACE_DEPTH 16

/* Code that belongs to an entry: a function. */
struct hp_code {
	uint64_t begin;
	Dwarf_Die die;
};

struct hp_unit {
	Dwarf_Die die;    /* of a split unit, the one in the .dwo */
	Dwarf_Die header; /* the one that has the ranges */
	bool has_ranges;
	bool has_codes;
	struct hp_code *codes; /* its functions, by begin; made when first needed */
	size_t n_codes;
};

/* By begin. Those that have a value stand between the first whose most is above it and the last whose begin is not. */
struct unit_range {
	uint64_t begin, end;
	uint64_t most; /* the highest end up to here */
	size_t unit;
};

struct hp_tag {
	const char *name;
	int kind; /* DW_TAG_*, a class being a structure */
	size_t order;
	Dwarf_Die die;
};

static int no_memory(const struct hp_debuginfo *info, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the type information of '%s'", info->name);
}

static int damaged(const struct hp_debuginfo *info, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOTYPE, "the type information of '%s' is damaged or cut short: %s", info->name,
	                  dwarf_errmsg(-1));
}

static int no_types(const struct hp_debuginfo *info, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOTYPE,
	                  "'%s' has no type information: compile it with -g, or install its debug symbols", info->name);
}

/* -- Units ----------------------------------------------------------------------------------------------------- */

static int add_ranges(struct hp_debuginfo *info, struct hp_unit *unit, struct hp_err *err)
{
	Dwarf_Addr base, begin, end;
	ptrdiff_t at = 0;

	while ((at = dwarf_ranges(&unit->header, at, &base, &begin, &end)) > 0) {
		struct unit_range *ranges = hp_array_grow(info->ranges, info->n_ranges, sizeof(*ranges));
		if (!ranges)
			return no_memory(info, err);
		info->ranges = ranges;
		ranges[info->n_ranges++] = (struct unit_range){begin, end, end, (size_t)(unit - info->units)};
		unit->has_ranges = true;
	}
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct unit_range *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->unit < y->unit ? -1 : x->unit > y->unit;
}

static void sort_ranges(struct hp_debuginfo *info)
{
	if (info->n_ranges)
		qsort(info->ranges, info->n_ranges, sizeof(*info->ranges), compare_ranges);
	for (size_t i = 1; i < info->n_ranges; i++)
		if (info->ranges[i - 1].most > info->ranges[i].most)
			info->ranges[i].most = info->ranges[i - 1].most;
}

static size_t first_range(const struct hp_debuginfo *info, uint64_t value)
{
	size_t low = 0, high = info->n_ranges;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (info->ranges[middle].most > value)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int read_units(struct hp_debuginfo *info, struct hp_err *err)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die, subdie;
	int r;

	while ((r = dwarf_get_units(info->dwarf, cu, &cu, NULL, NULL, &die, &subdie)) == 0) {
		struct hp_unit *units = hp_array_grow(info->units, info->n_units, sizeof(*units));
		if (!units)
			return no_memory(info, err);
		info->units = units;
		struct hp_unit *unit = &units[info->n_units++];
		*unit = (struct hp_unit){.die = subdie.addr ? subdie : die, .header = die};
		if ((r = add_ranges(info, unit, err)) < 0)
			return r;
	}
	sort_ranges(info);
	return r < 0 ? damaged(info, err) : 0;
}

/* -- Opening --------------------------------------------------------------------------------------------------- */

static bool has_dwarf(const struct hp_image *image)
{
	return hp_image_section(image, ".debug_info") || hp_image_section(image, ".zdebug_info");
}

/* Leaves in info->image the file that has the DWARF. */
static int open_image(struct hp_debuginfo *info, const char *path, const struct hp_identity *identity,
                      const char *debug_root, struct hp_err *err)
{
	struct hp_image *debug = NULL;
	int r = hp_image_open(path, info->name, &info->image, err);

	if (r < 0)
		return r;
	if (!hp_identity_same(&info->image->identity, identity))
		return hp_err_set(err, HOTPATCH_ENOFILE, "'%s' was changed while it was being read: try again", path);
	if (has_dwarf(info->image))
		return 0;
	if ((r = hp_debugfile_open(info->image, debug_root, &debug, err)) < 0)
		return r;
	hp_image_close(info->image);
	info->image = debug;
	return debug && has_dwarf(debug) ? 0 : no_types(info, err);
}

/* libdw has read every section when it has begun; what it does later needs no descriptor. */
static void let_go_of_file(struct hp_image *image)
{
	elf_cntl(image->elf, ELF_C_FDDONE);
	close(image->fd);
	image->fd = -1;
}

int hp_debuginfo_open(const char *path, const char *name, const struct hp_identity *identity, const char *debug_root,
                      struct hp_debuginfo **ret_info, struct hp_err *err)
{
	struct hp_debuginfo *info = calloc(1, sizeof(*info));
	int r = HOTPATCH_ENOMEM;

	if (!info || !(info->name = strdup(name))) {
		hp_err_set(err, r, "no memory for the type information of '%s'", name);
		goto out;
	}
	if ((r = open_image(info, path, identity, debug_root, err)) < 0)
		goto out;
	if (info->image->header.e_type == ET_REL && (r = hp_objdwarf_relocate(info->image, err)) < 0)
		goto out;
	if ((r = hp_debug_strings_end(info->image->elf, &info->image->debug_strings, err)) < 0)
		goto out;
	info->dwarf = dwarf_begin_elf(info->image->elf, DWARF_C_READ, NULL);
	if (!info->dwarf) {
		r = dwarf_errno() ? damaged(info, err) : no_types(info, err);
		goto out;
	}
	let_go_of_file(info->image);
	if ((r = read_units(info, err)) < 0)
		goto out;
	*ret_info = info;
	info = NULL;
out:
	hp_debuginfo_close(info);
	return r;
}

int hp_debuginfo_open_object(const char *path, struct hp_debuginfo **ret_info, struct hp_err *err)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "cannot read '%s'", path);
	struct hp_identity identity = hp_identity_of(&status);
	return hp_debuginfo_open(path, path, &identity, HP_DEBUG_ROOT, ret_info, err);
}

void hp_debuginfo_close(struct hp_debuginfo *info)
{
	if (!info)
		return;
	for (size_t i = 0; i < info->n_units; i++)
		free(info->units[i].codes);
	free(info->units);
	free(info->ranges);
	free(info->tags);
	if (info->dwarf)
		dwarf_end(info->dwarf);
	hp_image_close(info->image);
	free(info->name);
	free(info);
}

/* -- Walking the entries at the top of a unit ------------------------------------------------------------------- */

struct walk {
	struct hp_debuginfo *info;
	struct hp_unit *unit;
	int (*each)(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err);
	void *arg;
};

/* Namespaces are entered; what is inside functions and classes is reached from outside through references only. */
static int walk_children(const struct walk *walk, const Dwarf_Die *parent, int depth, struct hp_err *err)
{
	Dwarf_Die child;
	int r = 0, more = hp_die_first(parent, &child);

	for (; more > 0 && r == 0; more = hp_die_next(&child)) {
		int tag = dwarf_tag(&child);
		if (tag != DW_TAG_namespace && tag != DW_TAG_module)
			r = walk->each(walk, &child, err);
		else if (depth < NAMESPACE_DEPTH)
			r = walk_children(walk, &child, depth + 1, err);
	}
	return r < 0 ? r : more < 0 ? damaged(walk->info, err) : 0;
}

/* -- Functions ------------------------------------------------------------------------------------------------- */

static int add_code(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err)
{
	struct hp_unit *unit = walk->unit;
	Dwarf_Die copy = *die;
	Dwarf_Addr base, begin, end;
	ptrdiff_t at = 0;

	if (dwarf_tag(&copy) != DW_TAG_subprogram)
		return 0;
	while ((at = dwarf_ranges(&copy, at, &base, &begin, &end)) > 0) {
		/* What the linker dropped lies at 0, or 1 where 0 would end a list. */
		if (begin <= 1 || end <= begin)
			continue;
		struct hp_code *codes = hp_array_grow(unit->codes, unit->n_codes, sizeof(*codes));
		if (!codes) /* NOLINT(-Wanalyzer-malloc-leak): the unit has those there are */
			return no_memory(walk->info, err);
		unit->codes = codes;
		codes[unit->n_codes++] = (struct hp_code){begin, *die};
	}
	return 0;
}

static int compare_codes(const void *a, const void *b)
{
	const struct hp_code *x = a, *y = b;
	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return (char *)x->die.addr < (char *)y->die.addr ? -1 : x->die.addr != y->die.addr;
}

static int read_codes(struct hp_debuginfo *info, struct hp_unit *unit, struct hp_err *err)
{
	struct walk walk = {info, unit, add_code, NULL};

	if (unit->has_codes)
		return 0;
	int r = walk_children(&walk, &unit->die, 0, err);
	if (r < 0)
		return r;
	if (unit->n_codes)
		qsort(unit->codes, unit->n_codes, sizeof(*unit->codes), compare_codes);
	unit->has_codes = true;
	return 0;
}

static bool is_called(const Dwarf_Die *die, const char *name)
{
	Dwarf_Attribute attr;
	const char *own = hp_die_attr(die, DW_AT_linkage_name, &attr) ? dwarf_formstring(&attr) : hp_die_name(die);
	return own && strcmp(own, name) == 0;
}

/* Looks in one unit; one called name wins over any other. */
static void look_in_unit(const struct hp_unit *unit, uint64_t value, const char *name, Dwarf_Die *found)
{
	size_t low = 0, high = unit->n_codes;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (unit->codes[middle].begin < value)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < unit->n_codes && unit->codes[low].begin == value; low++)
		if (!found->addr || (!is_called(found, name) && is_called(&unit->codes[low].die, name)))
			*found = unit->codes[low].die;
}

/* One unit is asked for many functions in turn. */
static bool is_assembler(struct hp_debuginfo *info, const Dwarf_Die *die)
{
	Dwarf_Die unit;
	uint64_t language;

	if (info->asked != die->cu) {
		info->asked = die->cu;
		info->is_assembler = dwarf_cu_die(die->cu, &unit, NULL, NULL, NULL, NULL, NULL, NULL) &&
		                     hp_die_number(&unit, DW_AT_language, &language) &&
		                     language == DW_LANG_Mips_Assembler;
	}
	return info->is_assembler;
}

/* Looks in the units whose ranges have value, then in those that do not say where they are. */
static int look_in_units(struct hp_debuginfo *info, uint64_t value, const char *name, Dwarf_Die *found,
                         struct hp_err *err)
{
	int r = 0;

	for (size_t i = first_range(info, value); i < info->n_ranges && info->ranges[i].begin <= value && r == 0; i++) {
		const struct unit_range *range = &info->ranges[i];
		if (value >= range->end)
			continue;
		if ((r = read_codes(info, &info->units[range->unit], err)) == 0)
			look_in_unit(&info->units[range->unit], value, name, found);
	}
	for (size_t i = 0; i < info->n_units && r == 0 && !found->addr; i++) {
		if (info->units[i].has_ranges)
			continue;
		if ((r = read_codes(info, &info->units[i], err)) == 0)
			look_in_unit(&info->units[i], value, name, found);
	}
	return r;
}

struct search {
	const char *name;
	bool is_static;
	size_t count;
	Dwarf_Die found; /* the first */
};

static int match_name(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err)
{
	struct search *search = walk->arg;
	Dwarf_Die copy = *die;

	(void)err;
	if (dwarf_tag(&copy) != DW_TAG_subprogram || hp_die_flag(die, DW_AT_declaration) ||
	    hp_die_flag(die, DW_AT_external) == search->is_static || !is_called(die, search->name))
		return 0;
	if (!search->count++)
		search->found = *die;
	return 0;
}

/* gcc leaves the entry of a function that does the same as another (-fipa-icf, part of -O2) without an address. One by
 * the name will do, if it is not one of several static functions. */
static int look_by_name(struct hp_debuginfo *info, const char *name, bool is_static, Dwarf_Die *found,
                        struct hp_err *err)
{
	struct search search = {.name = name, .is_static = is_static};

	for (size_t i = 0; i < info->n_units; i++) {
		struct walk walk = {info, &info->units[i], match_name, &search};
		int r = walk_children(&walk, &info->units[i].die, 0, err);
		if (r < 0)
			return r;
	}
	if (search.count == 1 || (search.count && !is_static))
		*found = search.found;
	return 0;
}

int hp_debuginfo_function(struct hp_debuginfo *info, uint64_t value, const char *name, bool is_static,
                          Dwarf_Die *ret_die, struct hp_err *err)
{
	Dwarf_Die found = {0};
	int r = look_in_units(info, value, name, &found, err);

	if (r == 0 && !found.addr)
		r = look_by_name(info, name, is_static, &found, err);
	if (r < 0)
		return r;
	if (found.addr && is_assembler(info, &found))
		return hp_err_set(err, HOTPATCH_ENOTYPE, "'%s' in '%s' is written in assembler and has no type", name,
		                  info->name);
	if (!found.addr)
		return hp_err_set(err, HOTPATCH_ENOTYPE,
		                  "'%s' has no type information for function '%s': compile its source with -g",
		                  info->name, name);
	*ret_die = found;
	return 0;
}

/* -- Definitions of tags --------------------------------------------------------------------------------------- */

static int tag_kind(const Dwarf_Die *die)
{
	Dwarf_Die copy = *die;
	int tag = dwarf_tag(&copy);

	switch (tag) {
	case DW_TAG_class_type:
		return DW_TAG_structure_type;
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
		return tag;
	default:
		return 0;
	}
}

static int add_tag(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err)
{
	struct hp_debuginfo *info = walk->info;
	int kind = tag_kind(die);
	const char *name = kind ? hp_die_name(die) : NULL;

	if (!name || hp_die_flag(die, DW_AT_declaration))
		return 0;
	struct hp_tag *tags = hp_array_grow(info->tags, info->n_tags, sizeof(*tags));
	if (!tags)
		return no_memory(info, err);
	info->tags = tags;
	tags[info->n_tags] = (struct hp_tag){name, kind, info->n_tags, *die};
	info->n_tags++;
	return 0;
}

static int compare_tags(const void *a, const void *b)
{
	const struct hp_tag *x = a, *y = b;
	int r = strcmp(x->name, y->name);

	if (r == 0)
		r = x->kind - y->kind;
	return r ? r : x->order < y->order ? -1 : x->order > y->order;
}

static int read_tags(struct hp_debuginfo *info, struct hp_err *err)
{
	if (info->has_tags)
		return 0;
	for (size_t i = 0; i < info->n_units; i++) {
		struct walk walk = {info, &info->units[i], add_tag, NULL};
		int r = walk_children(&walk, &info->units[i].die, 0, err);
		if (r < 0)
			return r;
	}
	if (info->n_tags)
		qsort(info->tags, info->n_tags, sizeof(*info->tags), compare_tags);
	info->has_tags = true;
	return 0;
}

static uint64_t size_of(const Dwarf_Die *die)
{
	uint64_t size = 0;
	return hp_die_number(die, DW_AT_byte_size, &size) ? size : 0;
}

static size_t first_tag(const struct hp_debuginfo *info, const char *name, int kind)
{
	struct hp_tag key = {.name = name, .kind = kind};
	size_t low = 0, high = info->n_tags;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare_tags(&info->tags[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int hp_debuginfo_complete(struct hp_debuginfo *info, const Dwarf_Die *declaration, Dwarf_Die *ret_die, bool *ret_found,
                          struct hp_err *err)
{
	int kind = tag_kind(declaration);
	const char *name = hp_die_name(declaration);

	*ret_found = false;
	int r = name && kind ? read_tags(info, err) : 0;
	if (r < 0 || !name || !kind)
		return r;
	size_t first = first_tag(info, name, kind);
	for (size_t i = first; i < info->n_tags; i++) {
		const struct hp_tag *tag = &info->tags[i];
		if (tag->kind != kind || strcmp(tag->name, name) != 0)
			break;
		*ret_found = size_of(&tag->die) == size_of(&info->tags[first].die);
		if (!*ret_found)
			return 0;
		*ret_die = info->tags[first].die;
	}
	return 0;
}

/* -- Everything that is defined -------------------------------------------------------------------------------- */

struct visit {
	hp_debuginfo_each each;
	void *arg;
};

/* What a typedef gives its only name: *ret_die is left alone otherwise. */
static bool is_name_giving(const Dwarf_Die *die, Dwarf_Die *ret_die)
{
	Dwarf_Die copy = *die, target;

	if (dwarf_tag(&copy) != DW_TAG_typedef || hp_die_ref(die, DW_AT_type, &target) <= 0 || !tag_kind(&target) ||
	    hp_die_name(&target))
		return false;
	*ret_die = target;
	return true;
}

static int visit_definition(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err)
{
	const struct visit *visit = walk->arg;
	Dwarf_Die target;

	if (is_name_giving(die, &target))
		return visit->each(walk->info, &target, hp_die_name(die), visit->arg, err);
	if (tag_kind(die) && hp_die_name(die) && !hp_die_flag(die, DW_AT_declaration))
		return visit->each(walk->info, die, NULL, visit->arg, err);
	return 0;
}

int hp_debuginfo_each_defined(struct hp_debuginfo *info, hp_debuginfo_each each, void *arg, struct hp_err *err)
{
	struct visit visit = {each, arg};

	for (size_t i = 0; i < info->n_units; i++) {
		struct walk walk = {info, &info->units[i], visit_definition, &visit};
		int r = walk_children(&walk, &info->units[i].die, 0, err);
		if (r)
			return r;
	}
	return 0;
}

struct alias_search {
	const char *alias;
	Dwarf_Die found;
};

static int match_alias(const struct walk *walk, const Dwarf_Die *die, struct hp_err *err)
{
	struct alias_search *search = walk->arg;
	const char *name = hp_die_name(die);

	(void)err;
	if (name && !search->found.addr && strcmp(name, search->alias) == 0)
		is_name_giving(die, &search->found);
	return 0;
}

int hp_debuginfo_defined(struct hp_debuginfo *info, const Dwarf_Die *other, const char *alias, Dwarf_Die *ret_die,
                         bool *ret_found, struct hp_err *err)
{
	struct alias_search search = {.alias = alias};

	if (!alias)
		return hp_debuginfo_complete(info, other, ret_die, ret_found, err);
	for (size_t i = 0; i < info->n_units; i++) {
		struct walk walk = {info, &info->units[i], match_alias, &search};
		int r = walk_children(&walk, &info->units[i].die, 0, err);
		if (r < 0)
			return r;
	}
	*ret_found = search.found.addr;
	if (*ret_found)
		*ret_die = search.found;
	return 0;
}
