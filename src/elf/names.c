#include "elf/names.h"

#include <stdlib.h>
#include <string.h>

#include "elf/debugfile.h"

/* -- What is wanted -------------------------------------------------------------------------------------------- */

enum { FILTER_BITS = 1 << 16 };

/* Of the many names that nobody wants nearly all are told by their hash: no bit is set for it. */
struct wanted {
	const char *const *v; /* sorted */
	size_t n;
	uint64_t filter[FILTER_BITS / 64];
};

#define NO_LETTERS 0x811c9dc5U

static uint32_t add_letter(uint32_t hash, char letter)
{
	return (hash ^ (unsigned char)letter) * 0x01000193U;
}

static uint32_t bit_of(uint32_t hash)
{
	return (hash ^ hash >> 16) % FILTER_BITS;
}

static void fill_filter(struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->n; i++) {
		uint32_t hash = NO_LETTERS;
		for (const char *letter = wanted->v[i]; *letter; letter++)
			hash = add_letter(hash, *letter);
		wanted->filter[bit_of(hash) / 64] |= UINT64_C(1) << bit_of(hash) % 64;
	}
}

static bool may_be_listed(const struct wanted *wanted, uint32_t hash)
{
	return wanted->filter[bit_of(hash) / 64] >> bit_of(hash) % 64 & 1;
}

/* name[0..length) against a string that ends in NUL. */
static int compare_part(const char *name, size_t length, const char *with)
{
	int r = strncmp(name, with, length);
	return r ? r : with[length] ? -1 : 0;
}

static bool is_listed(const struct wanted *wanted, const char *name, size_t length)
{
	size_t low = 0, high = wanted->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int r = compare_part(name, length, wanted->v[middle]);
		if (r == 0)
			return true;
		if (r < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return false;
}

/* Itself, or what a piece is a piece of: for "serve.isra.0.cold" that is "serve.isra.0", and "serve". */
static bool is_wanted(const struct wanted *wanted, const char *name, size_t length)
{
	uint32_t hash = NO_LETTERS;

	for (size_t i = 0; i < length; i++) {
		if (name[i] == '.' && i && may_be_listed(wanted, hash) && is_listed(wanted, name, i))
			return true;
		hash = add_letter(hash, name[i]);
	}
	return may_be_listed(wanted, hash) && is_listed(wanted, name, length);
}

bool hp_names_is_piece(const char *name, const char *of)
{
	static const char *const words[] = {".cold", ".part.", ".__part."};
	size_t length = strlen(of);

	if (strncmp(name, of, length) != 0)
		return false;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncmp(name + length, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

/* -- Reading --------------------------------------------------------------------------------------------------- */

struct reader {
	struct hp_names *names;
	const struct hp_image *image;
	Elf_Data *symbols, *strings;
	Elf_Data *numbers; /* .gnu.version: of each symbol of .dynsym; NULL: versions stand in the names, or nowhere */
	const struct wanted *wanted;
	size_t used; /* of names->strings */
};

/* read_table has seen that the last string ends. */
static const char *string_at(const struct reader *reader, size_t offset)
{
	return offset < reader->strings->d_size ? (const char *)reader->strings->d_buf + offset : "";
}

static const char *keep_string(struct reader *reader, const char *string, size_t length)
{
	char *at = reader->names->strings + reader->used;
	memcpy(at, string, length);
	at[length] = '\0';
	reader->used += length + 1;
	return at;
}

/* "environ@GLIBC_2.2.5", "memcpy@@GLIBC_2.14"; a name may begin with '@'. */
static size_t name_length(const char *name)
{
	const char *at = *name ? strchr(name + 1, '@') : NULL;
	return at ? (size_t)(at - name) : strlen(name);
}

/* -- Versions of .dynsym (LSB Core, "Symbol Versioning") -------------------------------------------------------- */

/* Among those that the image needs of others; NULL. */
static const char *find_needed(const struct reader *reader, Elf_Data *data, unsigned number)
{
	GElf_Verneed need;
	GElf_Vernaux aux;

	for (size_t at = 0; at < data->d_size && gelf_getverneed(data, (int)at, &need); at += need.vn_next) {
		size_t aux_at = at + need.vn_aux;
		for (unsigned i = 0; i < need.vn_cnt && aux_at < data->d_size; i++, aux_at += aux.vna_next) {
			if (!gelf_getvernaux(data, (int)aux_at, &aux))
				return NULL;
			if ((aux.vna_other & 0x7fffU) == number)
				return string_at(reader, aux.vna_name);
		}
		if (!need.vn_next)
			return NULL;
	}
	return NULL;
}

/* Among those that it defines; the first name of one is its own. */
static const char *find_defined(const struct reader *reader, Elf_Data *data, unsigned number)
{
	GElf_Verdef definition;
	GElf_Verdaux aux;

	for (size_t at = 0; at < data->d_size && gelf_getverdef(data, (int)at, &definition); at += definition.vd_next) {
		if ((definition.vd_ndx & 0x7fffU) == number)
			return gelf_getverdaux(data, (int)(at + definition.vd_aux), &aux)
			               ? string_at(reader, aux.vda_name)
			               : NULL;
		if (!definition.vd_next)
			return NULL;
	}
	return NULL;
}

static const char *version_at(const struct reader *reader, size_t index)
{
	const struct hp_section *needed = hp_image_section_of_type(reader->image, SHT_GNU_verneed);
	const struct hp_section *defined = hp_image_section_of_type(reader->image, SHT_GNU_verdef);
	Elf_Data *need = needed ? hp_section_data(needed) : NULL, *define = defined ? hp_section_data(defined) : NULL;
	GElf_Versym number = 0;
	const char *version = NULL;

	if (!reader->numbers || !gelf_getversym(reader->numbers, (int)index, &number) || (number & 0x7fffU) < 2)
		return ""; /* local, or global without a version */
	if (need)
		version = find_needed(reader, need, number & 0x7fffU);
	if (!version && define)
		version = find_defined(reader, define, number & 0x7fffU);
	return version ? version : "";
}

/* -- The table --------------------------------------------------------------------------------------------------- */

static void add_name(struct reader *reader, const GElf_Sym *sym, size_t index, const char *name, size_t length,
                     const char *unit)
{
	bool is_local = GELF_ST_BIND(sym->st_info) == STB_LOCAL;
	const char *version = name[length] ? name + length + strspn(name + length, "@") : version_at(reader, index);

	reader->names->v[reader->names->n++] = (struct hp_name){
		.name = keep_string(reader, name, length),
		.version = keep_string(reader, version, strlen(version)),
		.unit = is_local ? unit : "",
		.group = is_local ? reader->names->n_groups : 0,
		.value = sym->st_value,
		.size = sym->st_size,
		.is_defined = sym->st_shndx != SHN_UNDEF,
		.is_local = is_local,
		.type = GELF_ST_TYPE(sym->st_info),
	};
}

static bool is_interesting(const struct reader *reader, const GElf_Sym *sym, const char *name, size_t length)
{
	unsigned type = GELF_ST_TYPE(sym->st_info);
	return type != STT_SECTION && length && is_wanted(reader->wanted, name, length);
}

/* How many, and how long: so that nothing that is pointed to moves. */
static int make_room(struct reader *reader, size_t count, struct hp_err *err)
{
	size_t kept = 0, room = 1;
	GElf_Sym sym;

	for (size_t i = 0; i < count && gelf_getsym(reader->symbols, (int)i, &sym); i++) {
		const char *name = string_at(reader, sym.st_name);
		if (GELF_ST_TYPE(sym.st_info) == STT_FILE)
			room += strlen(name) + 1;
		else if (is_interesting(reader, &sym, name, name_length(name))) {
			room += strlen(name) + 2 + strlen(version_at(reader, i));
			kept++;
		}
	}
	reader->names->strings = malloc(room);
	reader->names->v = calloc(kept + 1, sizeof(*reader->names->v));
	if (!reader->names->strings || !reader->names->v)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the symbols of '%s'", reader->image->name);
	return 0;
}

static void add_names(struct reader *reader, size_t count)
{
	const char *unit = "";
	GElf_Sym sym;

	for (size_t i = 0; i < count && gelf_getsym(reader->symbols, (int)i, &sym); i++) {
		const char *name = string_at(reader, sym.st_name);
		size_t length = name_length(name);
		if (GELF_ST_TYPE(sym.st_info) == STT_FILE) {
			unit = keep_string(reader, name, strlen(name));
			reader->names->n_groups++;
		} else if (is_interesting(reader, &sym, name, length)) {
			add_name(reader, &sym, i, name, length, unit);
		}
	}
}

static int compare_names(const void *a, const void *b)
{
	const struct hp_name *x = a, *y = b;
	int r = strcmp(x->name, y->name);
	return r ? r : x->name < y->name ? -1 : x->name > y->name; /* strings were kept in the table's order */
}

static int read_table(struct reader *reader, const struct hp_section *table, struct hp_err *err)
{
	uint32_t link = table->header.sh_link;

	reader->symbols = hp_section_data(table);
	reader->strings =
		link && link <= reader->image->n_sections ? hp_section_data(&reader->image->sections[link - 1]) : NULL;
	if (!reader->symbols || !reader->strings || table->header.sh_entsize != sizeof(Elf64_Sym) ||
	    ((const char *)reader->strings->d_buf)[reader->strings->d_size - 1])
		return hp_err_set(err, HOTPATCH_ENOTELF,
		                  "'%s' is damaged or cut short: its symbol table cannot be read", reader->image->name);
	const struct hp_section *numbers =
		table->header.sh_type == SHT_DYNSYM ? hp_image_section_of_type(reader->image, SHT_GNU_versym) : NULL;
	reader->numbers = numbers ? hp_section_data(numbers) : NULL;
	size_t count = reader->symbols->d_size / sizeof(Elf64_Sym);
	int r = make_room(reader, count, err);
	if (r < 0)
		return r;
	add_names(reader, count);
	qsort(reader->names->v, reader->names->n, sizeof(*reader->names->v), compare_names);
	return 0;
}

static bool binds_itself(const struct hp_image *image)
{
	const struct hp_section *section = hp_image_section_of_type(image, SHT_DYNAMIC);
	Elf_Data *data = section ? hp_section_data(section) : NULL;
	GElf_Dyn dyn;

	for (int i = 0; data && gelf_getdyn(data, i, &dyn) && dyn.d_tag != DT_NULL; i++)
		if (dyn.d_tag == DT_SYMBOLIC || (dyn.d_tag == DT_FLAGS && (dyn.d_un.d_val & DF_SYMBOLIC)))
			return true;
	return false;
}

int hp_names_read(const struct hp_image *image, const char *debug_root, const char *const *wanted, size_t n_wanted,
                  struct hp_names **ret_names, struct hp_err *err)
{
	struct hp_names *names = calloc(1, sizeof(*names));
	struct wanted all = {.v = wanted, .n = n_wanted};
	struct reader reader = {.names = names, .image = image, .wanted = &all};
	const struct hp_section *table = hp_image_section_of_type(image, SHT_SYMTAB);
	struct hp_image *debug = NULL;
	int r = HOTPATCH_ENOMEM;

	fill_filter(&all);
	if (!names)
		return hp_err_set(err, r, "no memory for the symbols of '%s'", image->name);
	if (!table) {
		if ((r = hp_debugfile_open(image, debug_root, &debug, err)) < 0)
			goto out;
		table = debug ? hp_image_section_of_type(debug, SHT_SYMTAB) : NULL;
		reader.image = table ? debug : image;
		table = table ? table : hp_image_section_of_type(image, SHT_DYNSYM);
	}
	names->has_locals = table && table->header.sh_type == SHT_SYMTAB;
	names->binds_itself = binds_itself(image);
	if (table && (r = read_table(&reader, table, err)) < 0)
		goto out;
	*ret_names = names;
	names = NULL;
	r = 0;
out:
	hp_image_close(debug);
	hp_names_free(names);
	return r;
}

struct hp_names *hp_names_share(struct hp_names *names)
{
	names->n_more++;
	return names;
}

void hp_names_free(struct hp_names *names)
{
	if (!names || (names->n_more && names->n_more--))
		return;
	free(names->v);
	free(names->strings);
	free(names);
}

const struct hp_name *hp_names_find(const struct hp_names *names, const char *name, size_t *ret_count)
{
	size_t low = 0, high = names->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(names->v[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	size_t end = low;
	while (end < names->n && strcmp(names->v[end].name, name) == 0)
		end++;
	*ret_count = end - low;
	return names->v + low;
}

/* The first that is no less than `of` with a dot behind. */
static size_t first_behind_dot(const struct hp_names *names, const char *of)
{
	size_t low = 0, high = names->n, length = strlen(of);

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *name = names->v[middle].name;
		int r = strncmp(name, of, length);
		if (r < 0 || (r == 0 && (unsigned char)name[length] < '.'))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct hp_name *hp_names_pieces(const struct hp_names *names, const char *of, size_t *ret_count)
{
	size_t begin = first_behind_dot(names, of), end = begin, length = strlen(of);

	while (end < names->n && strncmp(names->v[end].name, of, length) == 0 && names->v[end].name[length] == '.')
		end++;
	*ret_count = end - begin;
	return names->v + begin;
}

bool hp_names_is_part(const struct hp_names *names, const struct hp_name *function, const struct hp_name *piece)
{
	size_t n;

	if (!piece->is_defined || piece->type != STT_FUNC || !piece->size ||
	    !hp_names_is_piece(piece->name, function->name))
		return false;
	if (function->is_local && function->group)
		return piece->group == function->group;
	const struct hp_name *other = hp_names_find(names, function->name, &n);
	for (size_t i = 0; i < n; i++)
		if (&other[i] != function && other[i].is_local && other[i].group == piece->group)
			return false;
	return true;
}
