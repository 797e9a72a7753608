#include "elf/symbols.h"

#include <stdlib.h>
#include <string.h>

#include "elf/debugfile.h"

/* A section whose name marks the functions in it. */
struct marked {
	uint64_t begin, end;
	const char *path;
	enum hp_mark mark;
};

struct marks {
	struct marked *items; /* by begin */
	size_t count;
};

/* -- Marks ------------------------------------------------------------------------------------------------------
 *
 * The linker keeps the names of sections it has no rule for, and joins those of one name.
 */

static bool read_mark(const char *name, struct marked *ret)
{
	static const struct {
		const char *name;
		enum hp_mark mark;
	} kinds[] = {{"hotpatchable", HP_MARK_PATCHABLE}, {"hotpatch", HP_MARK_PATCH}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t length = strlen(kinds[i].name);
		if (strncmp(name, kinds[i].name, length) != 0 || (name[length] && name[length] != '.'))
			continue;
		ret->mark = kinds[i].mark;
		ret->path = name[length] ? name + length + 1 : "";
		return true;
	}
	return false;
}

static int compare_marked(const void *a, const void *b)
{
	const struct marked *x = a, *y = b;
	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* The paths point into symbols->section_names, which outlives the image. */
static int read_marks(struct hp_symbols *symbols, const struct hp_image *image, struct marks *ret, struct hp_err *err)
{
	size_t room = 1;

	for (size_t i = 0; i < image->n_sections; i++)
		room += strlen(image->sections[i].name) + 1;
	char *name = symbols->section_names = malloc(room);
	ret->items = calloc(image->n_sections + 1, sizeof(*ret->items));
	if (!name || !ret->items)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the sections of '%s'", image->name);
	for (size_t i = 0; i < image->n_sections; i++) {
		const struct hp_section *section = &image->sections[i];
		struct marked *marked = &ret->items[ret->count];
		memcpy(name, section->name, strlen(section->name) + 1);
		if (!(section->header.sh_flags & SHF_EXECINSTR) || !read_mark(name, marked))
			continue;
		marked->begin = section->header.sh_addr;
		marked->end = section->header.sh_addr + section->header.sh_size;
		name += strlen(name) + 1;
		ret->count++;
	}
	qsort(ret->items, ret->count, sizeof(*ret->items), compare_marked);
	return 0;
}

static void set_mark(struct hp_function *function, const struct marks *marks)
{
	size_t low = 0, high = marks->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (marks->items[middle].begin <= function->value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || function->value >= marks->items[low - 1].end)
		return;
	function->mark = marks->items[low - 1].mark;
	function->path = marks->items[low - 1].path;
}

/* -- Names ----------------------------------------------------------------------------------------------------- */

/* Whether the word (between two dots) is one a compiler puts behind a name. Only the first kind makes a piece; the
 * others are clones, but a clone of a piece is one too (foo.part.0.isra.0). */
static bool is_word(const char *word, size_t length, bool is_first)
{
	static const char *const words[] = {"cold", "part", "__part", "isra", "constprop", "lto_priv"};
	size_t count = is_first ? 3 : sizeof(words) / sizeof(words[0]);

	if (!is_first && length && strspn(word, "0123456789") >= length)
		return true;
	for (size_t i = 0; i < count; i++)
		if (length == strlen(words[i]) && strncmp(word, words[i], length) == 0)
			return true;
	return false;
}

/* Whether name is what is left of a function called `of` with pieces behind it: of.cold, of.part.0.cold.1. A number
 * does not come first: gcc calls nested functions f.0. */
static bool is_piece_of(const char *name, const char *of, size_t of_length)
{
	if (strncmp(name, of, of_length) != 0 || name[of_length] != '.')
		return false;
	for (const char *dot = name + of_length; *dot;) {
		size_t length = strcspn(dot + 1, ".");
		if (!is_word(dot + 1, length, dot == name + of_length))
			return false;
		dot += 1 + length;
	}
	return true;
}

static bool is_piece(const char *name)
{
	for (const char *dot = strchr(name + (*name == '.'), '.'); dot; dot = strchr(dot + 1, '.'))
		if (is_piece_of(name, name, (size_t)(dot - name)))
			return true;
	return false;
}

static void cut_version(char *name)
{
	char *at = *name ? strchr(name + 1, '@') : NULL;
	if (at)
		*at = '\0';
}

/* -- Reading --------------------------------------------------------------------------------------------------- */

/* Copies the string table, so that every offset below its size is a string. */
static char *copy_strings(const struct hp_image *image, const struct hp_section *table, size_t *ret_size)
{
	if (table->header.sh_link == 0 || table->header.sh_link > image->n_sections)
		return NULL;
	/* Section 0 is not in sections. */
	Elf_Data *data = hp_section_data(&image->sections[table->header.sh_link - 1]);
	char *copy = data ? malloc(data->d_size + 1) : NULL;
	if (!copy)
		return NULL;
	memcpy(copy, data->d_buf, data->d_size);
	copy[data->d_size] = '\0';
	*ret_size = data->d_size;
	return copy;
}

static bool is_function(const GElf_Sym *sym, size_t strings_size)
{
	return GELF_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_shndx != SHN_UNDEF && sym->st_shndx != SHN_ABS &&
	       sym->st_shndx != SHN_COMMON && sym->st_name && sym->st_name < strings_size;
}

static void add_functions(struct hp_symbols *symbols, Elf_Data *data, size_t count, size_t strings_size,
                          const struct marks *marks)
{
	const char *unit = "";
	uint32_t group = 0;
	GElf_Sym sym;

	for (size_t i = 0; i < count && gelf_getsym(data, (int)i, &sym); i++) {
		if (GELF_ST_TYPE(sym.st_info) == STT_FILE) {
			unit = sym.st_name < strings_size ? symbols->strings + sym.st_name : "";
			group++;
			continue;
		}
		if (!is_function(&sym, strings_size))
			continue;
		struct hp_function *function = &symbols->functions[symbols->n_functions++];
		char *name = symbols->strings + sym.st_name;
		bool is_static = GELF_ST_BIND(sym.st_info) == STB_LOCAL;
		cut_version(name);
		*function = (struct hp_function){
			.value = sym.st_value,
			.size = sym.st_size <= UINT64_MAX - sym.st_value ? sym.st_size : 0,
			.name = name,
			.path = "",
			.unit = is_static ? unit : "",
			.group = is_static ? group : 0,
			.is_static = is_static,
			.is_piece = is_piece(name),
		};
		set_mark(function, marks);
	}
}

/* Of one address the name to say comes first: global, then short, then by the alphabet to be stable. */
static int compare_functions(const void *a, const void *b)
{
	const struct hp_function *x = a, *y = b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	if (x->is_static != y->is_static)
		return x->is_static - y->is_static;
	size_t m = strlen(x->name), n = strlen(y->name);
	return m != n ? (m < n ? -1 : 1) : strcmp(x->name, y->name);
}

static void fill_reach(struct hp_symbols *symbols)
{
	uint64_t reach = 0;

	for (size_t i = 0; i < symbols->n_functions; i++) {
		uint64_t end = symbols->functions[i].value + symbols->functions[i].size;
		reach = end > reach ? end : reach;
		symbols->reach[i] = reach;
	}
}

static int read_table(struct hp_symbols *symbols, const struct hp_image *image, const struct hp_section *table,
                      const struct marks *marks, struct hp_err *err)
{
	size_t strings_size = 0;
	Elf_Data *data = hp_section_data(table);

	if (!data || table->header.sh_entsize != sizeof(Elf64_Sym))
		return hp_err_set(err, HOTPATCH_ENOTELF,
		                  "'%s' is damaged or cut short: its symbol table cannot be read", image->name);
	size_t count = data->d_size / sizeof(Elf64_Sym);
	symbols->strings = copy_strings(image, table, &strings_size);
	if (!symbols->strings)
		return hp_err_set(err, HOTPATCH_ENOTELF,
		                  "'%s' is damaged or cut short: its symbol names cannot be read", image->name);
	symbols->functions = calloc(count + 1, sizeof(*symbols->functions));
	symbols->reach = calloc(count + 1, sizeof(*symbols->reach));
	if (!symbols->functions || !symbols->reach)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the symbols of '%s'", image->name);
	add_functions(symbols, data, count, strings_size, marks);
	qsort(symbols->functions, symbols->n_functions, sizeof(*symbols->functions), compare_functions);
	fill_reach(symbols);
	symbols->has_locals = table->header.sh_type == SHT_SYMTAB;
	return 0;
}

int hp_symbols_read(const struct hp_image *image, const char *debug_root, struct hp_symbols **ret_symbols,
                    struct hp_err *err)
{
	struct hp_symbols *symbols = calloc(1, sizeof(*symbols));
	struct hp_image *debug = NULL;
	struct marks marks = {0};
	int r = HOTPATCH_ENOMEM;

	if (!symbols)
		return hp_err_set(err, r, "no memory for the symbols of '%s'", image->name);
	symbols->identity = image->identity;
	memcpy(symbols->build_id, image->build_id, image->build_id_size);
	symbols->build_id_size = image->build_id_size;
	const struct hp_image *from = image;
	const struct hp_section *table = hp_image_section_of_type(image, SHT_SYMTAB);
	if (!table) {
		if ((r = hp_debugfile_open(image, debug_root, &debug, err)) < 0)
			goto out;
		table = debug ? hp_image_section_of_type(debug, SHT_SYMTAB) : NULL;
		from = table ? debug : image;
		table = table ? table : hp_image_section_of_type(image, SHT_DYNSYM);
	}
	if ((r = read_marks(symbols, image, &marks, err)) < 0)
		goto out;
	if (table && (r = read_table(symbols, from, table, &marks, err)) < 0)
		goto out;
	*ret_symbols = symbols;
	symbols = NULL;
out:
	free(marks.items);
	hp_image_close(debug);
	hp_symbols_free(symbols);
	return r;
}

void hp_symbols_free(struct hp_symbols *symbols)
{
	if (!symbols)
		return;
	free(symbols->functions);
	free(symbols->reach);
	free(symbols->by_name);
	free(symbols->strings);
	free(symbols->section_names);
	free(symbols);
}

/* -- Questions ------------------------------------------------------------------------------------------------- */

/* Number of functions that begin at value or before. */
static size_t upper_bound(const struct hp_symbols *symbols, uint64_t value)
{
	size_t low = 0, high = symbols->n_functions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (symbols->functions[middle].value <= value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct hp_function *hp_symbols_entry(const struct hp_symbols *symbols, uint64_t value, size_t *ret_count)
{
	size_t end = upper_bound(symbols, value), begin = value ? upper_bound(symbols, value - 1) : 0;

	*ret_count = end - begin;
	return end > begin ? &symbols->functions[begin] : NULL;
}

/* A function without a size covers its entry. Of nested extents the innermost, which begins last, is meant. */
const struct hp_function *hp_symbols_at(const struct hp_symbols *symbols, uint64_t value)
{
	size_t n = upper_bound(symbols, value);
	const struct hp_function *best = NULL;

	for (size_t i = n; i-- > 0;) {
		const struct hp_function *function = &symbols->functions[i];
		if (best && function->value != best->value)
			break;
		if (value == function->value || value - function->value < function->size)
			best = function;
		else if (!best && symbols->reach[i] <= value)
			break;
	}
	return best;
}

/* -- By name --------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	const struct hp_function *x = *(const struct hp_function *const *)a, *y = *(const struct hp_function *const *)b;
	int r = strcmp(x->name, y->name);
	return r ? r : x < y ? -1 : x > y;
}

static int index_names(struct hp_symbols *symbols, struct hp_err *err)
{
	if (symbols->by_name)
		return 0;
	symbols->by_name = calloc(symbols->n_functions + 1, sizeof(struct hp_function *));
	if (!symbols->by_name)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the names of %zu functions",
		                  symbols->n_functions);
	for (size_t i = 0; i < symbols->n_functions; i++)
		symbols->by_name[i] = &symbols->functions[i];
	qsort(symbols->by_name, symbols->n_functions, sizeof(struct hp_function *), compare_names);
	return 0;
}

/* The first whose name is not before name; those that begin with name follow it. */
static size_t lower_bound(const struct hp_symbols *symbols, const char *name)
{
	size_t low = 0, high = symbols->n_functions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(symbols->by_name[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int hp_symbols_named(struct hp_symbols *symbols, const char *name, const struct hp_function *const **ret_functions,
                     size_t *ret_count, struct hp_err *err)
{
	int r = index_names(symbols, err);
	if (r < 0)
		return r;
	size_t begin = lower_bound(symbols, name), end = begin;
	while (end < symbols->n_functions && strcmp(symbols->by_name[end]->name, name) == 0)
		end++;
	*ret_functions = symbols->by_name + begin;
	*ret_count = end - begin;
	return 0;
}

/* -- Pieces ---------------------------------------------------------------------------------------------------- */

/* A piece of a static function is of its unit. A piece of a global one is of the unit it comes from, which the table
 * does not tell: any unit that has no static function of the same name to which the piece would belong. */
static bool is_of_unit(const struct hp_symbols *symbols, const struct hp_function *function,
                       const struct hp_function *piece)
{
	if (!piece->is_static)
		return true;
	if (function->is_static)
		return piece->group == function->group;
	for (size_t i = lower_bound(symbols, function->name); i < symbols->n_functions; i++) {
		const struct hp_function *other = symbols->by_name[i];
		if (strcmp(other->name, function->name) != 0)
			break;
		if (other->is_static && other->group == piece->group)
			return false;
	}
	return true;
}

/* What pieces are found, each address once. */
struct pieces {
	struct hp_extent *at;
	size_t max, count;
};

static void add_piece(struct pieces *pieces, const struct hp_function *piece)
{
	for (size_t i = 0; i < pieces->count && i < pieces->max; i++)
		if (pieces->at[i].begin == piece->value)
			return;
	if (pieces->count < pieces->max)
		pieces->at[pieces->count] = (struct hp_extent){piece->value, piece->value + piece->size};
	pieces->count++;
}

static void add_pieces(const struct hp_symbols *symbols, const struct hp_function *function, struct pieces *pieces)
{
	size_t length = strlen(function->name); /* NOLINT(-Wanalyzer-null-dereference): NULL has no aliases */

	for (size_t i = lower_bound(symbols, function->name); i < symbols->n_functions; i++) {
		const struct hp_function *piece = symbols->by_name[i];
		if (strncmp(piece->name, function->name, length) != 0)
			break;
		if (piece->size && piece->value != function->value &&
		    is_piece_of(piece->name, function->name, length) && is_of_unit(symbols, function, piece))
			add_piece(pieces, piece);
	}
}

int hp_symbols_pieces(struct hp_symbols *symbols, uint64_t value, struct hp_extent *ret_pieces, size_t max,
                      size_t *ret_count, struct hp_err *err)
{
	struct pieces pieces = {ret_pieces, max, 0};
	size_t n_aliases;
	const struct hp_function *aliases = hp_symbols_entry(symbols, value, &n_aliases);

	int r = index_names(symbols, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_aliases; i++)
		add_pieces(symbols, &aliases[i], &pieces);
	*ret_count = pieces.count;
	return 0;
}
