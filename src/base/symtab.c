#include "base/symtab.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct function {
	uint64_t value, size;
	const char *name;
	bool is_static;
};

static struct {
	struct function *v; /* sorted by value */
	size_t n;
	char *names;
	bool tried;
} table;

/* -- Reading ----------------------------------------------------------------------------------------------------- */

/* `size` bytes at `offset` of the file, with a zero behind them; NULL if it does not have them. */
static void *read_part(int fd, off_t file_size, uint64_t offset, uint64_t size)
{
	if (size == 0 || offset > (uint64_t)file_size || size > (uint64_t)file_size - offset)
		return NULL;
	char *part = malloc(size + 1);
	if (!part || pread(fd, part, size, (off_t)offset) != (ssize_t)size) {
		free(part);
		return NULL;
	}
	part[size] = 0;
	return part;
}

static const ElfW(Shdr) * find_symbols(const ElfW(Shdr) * sections, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sections[i].sh_type == SHT_SYMTAB && sections[i].sh_entsize == sizeof(ElfW(Sym)) &&
		    sections[i].sh_link < n)
			return &sections[i];
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const struct function *left = a, *right = b;
	if (left->value != right->value)
		return left->value < right->value ? -1 : 1;
	return left->is_static - right->is_static; /* the global name first */
}

static void keep_functions(const ElfW(Sym) * symbols, size_t n, size_t names_size)
{
	table.v = calloc(n ? n : 1, sizeof(*table.v));
	for (size_t i = 0; table.v && i < n; i++) {
		const ElfW(Sym) *symbol = &symbols[i];
		if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
		    symbol->st_name >= names_size)
			continue;
		table.v[table.n++] = (struct function){
			.value = symbol->st_value,
			.size = symbol->st_size,
			.name = table.names + symbol->st_name,
			.is_static = ELF64_ST_BIND(symbol->st_info) == STB_LOCAL,
		};
	}
	if (table.v)
		qsort(table.v, table.n, sizeof(*table.v), compare);
}

static void read_sections(int fd, off_t size, const ElfW(Ehdr) * header)
{
	ElfW(Shdr) *sections = NULL;
	ElfW(Sym) *symbols = NULL;
	const ElfW(Shdr) *section = NULL;
	if (header->e_shentsize == sizeof(*sections))
		sections = read_part(fd, size, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
	if (sections)
		section = find_symbols(sections, header->e_shnum);
	if (section) {
		const ElfW(Shdr) *names = &sections[section->sh_link];
		symbols = read_part(fd, size, section->sh_offset, section->sh_size);
		table.names = read_part(fd, size, names->sh_offset, names->sh_size);
		if (symbols && table.names)
			keep_functions(symbols, section->sh_size / sizeof(*symbols), names->sh_size);
	}
	free(symbols);
	free(sections);
}

static bool read_table(const struct hp_module *module)
{
	ElfW(Ehdr) header;
	struct stat status;
	if (table.tried)
		return table.n > 0;
	table.tried = true;
	int fd = open(module->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (fstat(fd, &status) == 0 && pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header))
		read_sections(fd, status.st_size, &header);
	close(fd);
	return table.n > 0;
}

/* -- Answering --------------------------------------------------------------------------------------------------- */

static const struct function *find(uint64_t value)
{
	size_t low = 0, high = table.n;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (table.v[middle].value <= value)
			low = middle + 1;
		else
			high = middle;
	}
	while (low > 1 && table.v[low - 2].value == table.v[low - 1].value)
		low--;
	if (low == 0)
		return NULL;
	const struct function *function = &table.v[low - 1];
	return value == function->value || value - function->value < function->size ? function : NULL;
}

static int function_at(const struct hp_module *module, uint64_t value, struct hp_symbol *ret_symbol, struct hp_err *err)
{
	const struct function *function = read_table(module) ? find(value) : NULL;
	if (!function)
		return hp_err_set(err, HOTPATCH_ENOSYM, "%s has no symbol for %#llx", module->name,
		                  (unsigned long long)value);
	*ret_symbol =
		(struct hp_symbol){.value = function->value, .size = function->size, .is_static = function->is_static};
	strncpy(ret_symbol->name, function->name, sizeof(ret_symbol->name) - 1);
	return 0;
}

/* gcc calls them NAME.cold and NAME.cold.N. Static functions of one name share theirs: more than is needed is safe. */
static bool is_part_of(const char *part, const char *name)
{
	size_t length = strlen(name);
	return strncmp(part, name, length) == 0 && strncmp(part + length, ".cold", 5) == 0 &&
	       (part[length + 5] == 0 || part[length + 5] == '.');
}

static int parts(const struct hp_module *module, uint64_t value, struct hp_extent *ret_parts, size_t max,
                 size_t *ret_count, struct hp_err *err)
{
	const struct function *function = read_table(module) ? find(value) : NULL;
	size_t n = 0;
	if (!function || function->value != value)
		return hp_err_set(err, HOTPATCH_ENOSYM, "%s has no symbol for %#llx: it was stripped", module->name,
		                  (unsigned long long)value);
	for (size_t i = 0; i < table.n; i++) {
		if (!is_part_of(table.v[i].name, function->name))
			continue;
		if (n == max)
			return hp_err_set(err, HOTPATCH_ENOTSUP, "'%s' has more than %zu parts", function->name, max);
		ret_parts[n++] = (struct hp_extent){table.v[i].value, table.v[i].value + table.v[i].size};
	}
	*ret_count = n;
	return 0;
}

const struct hp_inspector hp_symtab_inspector = {
	.version = HP_INSPECTOR_VERSION,
	.size = sizeof(struct hp_inspector),
	.function_at = function_at,
	.parts = parts,
};
