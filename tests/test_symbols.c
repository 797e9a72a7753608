/* test_symbols - that functions are found by name, path, mark and address, cold parts by their function, files that are
 * no libraries are refused with the reason, and damaged files never do worse than that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/debugfile.h"
#include "elf/symbols.h"
#include "inspect/plugin.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_FOUND 256

static const char *const compilers[] = {"gcc", "clang"};

static const char *fixture(const char *cc, const char *name)
{
	static char paths[8][4096];
	static unsigned next;
	const char *folder = getenv("HP_FIXTURES");
	char *path = paths[next++ % COUNT(paths)];

	assert_non_null(folder);
	snprintf(path, sizeof(paths[0]), "%s/%s/%s", folder, cc, name);
	return path;
}

/* Runs the body for each compiler whose fixtures are there; at least one has to be. */
static void for_each_compiler(void (*body)(const char *cc))
{
	unsigned n = 0;

	for (size_t i = 0; i < COUNT(compilers); i++) {
		if (access(fixture(compilers[i], "libsymbols.so"), R_OK) != 0)
			continue;
		body(compilers[i]);
		n++;
	}
	assert_true(n > 0);
}

/* -- Asking ---------------------------------------------------------------------------------------------------- */

struct found {
	struct hp_symbol symbols[MAX_FOUND];
	size_t count;
};

static int keep(const struct hp_symbol *symbol, void *arg)
{
	struct found *found = arg;
	if (found->count < MAX_FOUND)
		found->symbols[found->count++] = *symbol;
	return 0;
}

static struct found *find(const char *path, struct hp_query query)
{
	static struct found found;
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};

	found.count = 0;
	if (hp_inspector.functions(&module, &query, keep, &found, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	for (size_t i = 1; i < found.count; i++)
		assert_true(found.symbols[i - 1].value < found.symbols[i].value);
	return &found;
}

/* The only function of that name. */
static struct hp_symbol find_one(const char *path, const char *name)
{
	struct found *found = find(path, (struct hp_query){.name = name});
	if (found->count != 1)
		fail_msg("%s: %zu functions '%s'", path, found->count, name);
	return found->symbols[0];
}

static struct hp_symbol at(const char *path, uint64_t value)
{
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};
	struct hp_symbol symbol;

	if (hp_inspector.function_at(&module, value, &symbol, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	return symbol;
}

static size_t parts_of(const char *path, uint64_t value, struct hp_extent *parts, size_t max)
{
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};
	size_t count = 0;

	if (hp_inspector.parts(&module, value, parts, max, &count, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	return count;
}

/* -- Names ----------------------------------------------------------------------------------------------------- */

static void check_names(const char *cc, const char *library)
{
	const char *path = fixture(cc, library);
	struct found *found = find(path, (struct hp_query){.name = "helper"});

	assert_int_equal(found->count, 2);
	assert_true(found->symbols[0].is_static && found->symbols[1].is_static);
	assert_string_equal(found->symbols[0].unit, "symbols.c");
	assert_string_equal(found->symbols[1].unit, "symbols_more.c");

	found = find(path, (struct hp_query){.name = "twice"});
	assert_int_equal(found->count, 2);
	const struct hp_symbol *global = &found->symbols[found->symbols[0].is_static];
	const struct hp_symbol *local = &found->symbols[!found->symbols[0].is_static];
	assert_false(global->is_static);
	assert_string_equal(global->unit, "");
	assert_true(local->is_static);
	assert_string_equal(local->unit, "symbols_more.c");

	assert_int_equal(find(path, (struct hp_query){.name = "helpe"})->count, 0);
	assert_int_equal(find(path, (struct hp_query){.name = "fprintf"})->count, 0);
	found = find(path, (struct hp_query){0});
	for (size_t i = 0; i < found->count; i++)
		assert_null(strstr(found->symbols[i].name, ".cold"));
	assert_true(found->count > 8);
}

static void names(const char *cc)
{
	check_names(cc, "libsymbols.so");
	check_names(cc, "libsymbols-sections.so");
	check_names(cc, "libstripped.so");
	check_names(cc, "sub/libstripped.so");
}

static void test_names(void **state)
{
	(void)state;
	for_each_compiler(names);
}

static void marks(const char *cc)
{
	const char *path = fixture(cc, "libsymbols.so");
	struct hp_symbol symbol = find_one(path, "plain");

	assert_int_equal(symbol.mark, HP_MARK_PATCHABLE);
	assert_string_equal(symbol.path, "");
	symbol = find_one(path, "dotted");
	assert_int_equal(symbol.mark, HP_MARK_PATCHABLE);
	assert_string_equal(symbol.path, "a.b.c");
	symbol = find_one(path, "fix_plain");
	assert_int_equal(symbol.mark, HP_MARK_PATCH);
	assert_string_equal(symbol.path, "");
	symbol = find_one(path, "split");
	assert_int_equal(symbol.mark, HP_MARK_NONE);

	/* A path that two patchable functions use, and a patch. */
	struct found *found = find(path, (struct hp_query){.path = "net::send"});
	assert_int_equal(found->count, 3);
	assert_int_equal(find(path, (struct hp_query){.path = "net::send", .name = "send_it"})->count, 1);
	found = find(path, (struct hp_query){.path = "net::send", .marked = true});
	assert_int_equal(found->count, 1);
	assert_string_equal(found->symbols[0].name, "fix_send");
	assert_int_equal(find(path, (struct hp_query){.path = "net::sen"})->count, 0);
	assert_int_equal(find(path, (struct hp_query){.marked = true})->count, 2);
	/* Stripped of all but .dynsym, marks are still where the sections say. */
	assert_int_equal(find(fixture(cc, "libbare.so"), (struct hp_query){.marked = true})->count, 2);
}

static void test_marks_and_paths(void **state)
{
	(void)state;
	for_each_compiler(marks);
}

static void addresses(const char *cc)
{
	const char *path = fixture(cc, "libsymbols.so");
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_symbol symbol = find_one(path, "split");
	struct hp_err err = {0};

	assert_true(symbol.size > 4);
	assert_string_equal(at(path, symbol.value).name, "split");
	assert_string_equal(at(path, symbol.value + symbol.size - 1).name, "split");
	/* Past the end lies padding, or another function. */
	if (hp_inspector.function_at(&module, symbol.value + symbol.size, &symbol, &err) == 0)
		assert_string_not_equal(symbol.name, "split");
	assert_int_equal(hp_inspector.function_at(&module, 1, &symbol, &err), HOTPATCH_ENOSYM);
	assert_int_equal(hp_inspector.function_at(&module, UINT64_MAX, &symbol, &err), HOTPATCH_ENOSYM);
	assert_string_equal(err.text, "no function of 'it' is known at address 0xffffffffffffffff");

	/* Of three aliases the short global one; each is found by its name; one entry for a walk over all. */
	symbol = find_one(path, "original");
	assert_string_equal(at(path, symbol.value + 1).name, "original");
	assert_int_equal(find_one(path, "long_name_of_original").value, symbol.value);
	assert_int_equal(find_one(path, "local_of").value, symbol.value);

	path = fixture(cc, "libversions.so");
	struct found *found = find(path, (struct hp_query){.name = "versioned"});
	assert_int_equal(found->count, 2);
	assert_string_equal(found->symbols[1].name, "versioned");

	/* Extents that lie in each other, and one that is not known. */
	path = fixture(cc, "libassembly.so");
	symbol = find_one(path, "outer");
	assert_string_equal(at(path, symbol.value + 1).name, "outer");
	assert_string_equal(at(path, symbol.value + 2).name, "inner");
	assert_string_equal(at(path, symbol.value + 3).name, "inner");
	assert_string_equal(at(path, symbol.value + 4).name, "outer");
	module.path = path;
	symbol = find_one(path, "sizeless");
	assert_int_equal(symbol.size, 0);
	assert_string_equal(at(path, symbol.value).name, "sizeless");
	assert_int_equal(hp_inspector.function_at(&module, symbol.value + 1, &symbol, &err), HOTPATCH_ENOSYM);
}

static void test_addresses(void **state)
{
	(void)state;
	for_each_compiler(addresses);
}

/* -- Parts ----------------------------------------------------------------------------------------------------- */

static uint64_t only_part(const char *path, const struct hp_symbol *symbol, const char *name)
{
	struct hp_extent parts[4];

	assert_int_equal(parts_of(path, symbol->value, parts, COUNT(parts)), 1);
	assert_string_equal(at(path, parts[0].begin).name, name);
	assert_string_equal(at(path, parts[0].end - 1).name, name);
	return parts[0].end - parts[0].begin;
}

/* What symbols.c has cold is longer than what symbols_more.c has. */
static void check_parts(const char *path)
{
	struct found found = *find(path, (struct hp_query){.name = "helper"});
	struct hp_symbol split = find_one(path, "split"), plain = find_one(path, "plain");
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_extent none;
	struct hp_err err = {0};
	size_t count = 77;

	only_part(path, &split, "split.cold");
	assert_true(only_part(path, &found.symbols[0], "helper.cold") >
	            only_part(path, &found.symbols[1], "helper.cold"));
	found = *find(path, (struct hp_query){.name = "twice"});
	const struct hp_symbol *global = &found.symbols[found.symbols[0].is_static];
	const struct hp_symbol *local = &found.symbols[!found.symbols[0].is_static];
	assert_true(only_part(path, global, "twice.cold") > only_part(path, local, "twice.cold"));

	assert_int_equal(parts_of(path, plain.value, &none, 1), 0);
	assert_int_equal(hp_inspector.parts(&module, split.value, &none, 0, &count, &err), HOTPATCH_ENOTSUP);
	assert_int_equal(count, 77);
	assert_int_equal(hp_inspector.parts(&module, split.value + 1, &none, 1, &count, &err), HOTPATCH_ENOSYM);
}

static void test_cold_parts(void **state)
{
	(void)state;
	if (access(fixture("gcc", "libsymbols.so"), R_OK) != 0)
		skip(); /* clang 14 splits nothing off */
	check_parts(fixture("gcc", "libsymbols.so"));
	check_parts(fixture("gcc", "libsymbols-sections.so"));
	check_parts(fixture("gcc", "libstripped.so"));
}

static void no_parts(const char *cc)
{
	const char *path = fixture(cc, "libbare.so");
	struct hp_module module = {.path = path, .name = "libbare.so"};
	struct hp_extent part;
	struct hp_err err = {0};
	size_t count;

	assert_int_equal(hp_inspector.parts(&module, find_one(path, "split").value, &part, 1, &count, &err),
	                 HOTPATCH_ENOSYM);
	assert_string_equal(err.text, "'libbare.so' has no symbol table, so the parts of its functions are unknown: do "
	                              "not strip it, or install its debug symbols");
}

static void test_no_symbol_table(void **state)
{
	(void)state;
	for_each_compiler(no_parts);
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

static void expect_library(const char *path, int code, const char *why)
{
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};
	int r = hp_inspector.check_library(&module, &err);

	if (r != code || !strstr(err.text, why))
		fail_msg("%s: %d \"%s\", expected %d \"%s\"", path, r, err.text, code, why);
}

static void libraries(const char *cc)
{
	expect_library(fixture(cc, "libsymbols.so"), 0, "");
	expect_library(fixture(cc, "libbare.so"), 0, "");
	expect_library(fixture(cc, "program"), HOTPATCH_ENOTELF, "'it' is an executable, not a shared library");
	expect_library(fixture(cc, "object.o"), HOTPATCH_ENOTELF, "'it' is an object file, not a shared library");
	expect_library(fixture(cc, "archive.a"), HOTPATCH_ENOTELF, "'it' is a static library");
	expect_library(fixture(cc, "versions.map"), HOTPATCH_ENOTELF, "'it' is not an ELF file");
	expect_library(fixture(cc, "absent.so"), HOTPATCH_ENOFILE, "No such file or directory");
	expect_library(fixture(cc, "."), HOTPATCH_ENOFILE, "it is not a regular file");
	expect_library("/dev/null", HOTPATCH_ENOFILE, "it is not a regular file");
}

static void test_check_library(void **state)
{
	(void)state;
	for_each_compiler(libraries);
}

static void build_ids(const char *cc)
{
	const char *path = fixture(cc, "libsymbols.so");
	struct hp_image *image;
	struct hp_err err = {0};
	uint8_t id[HP_BUILD_ID_MAX];
	struct hp_symbol symbol;

	assert_int_equal(hp_image_open(path, "it", &image, &err), 0);
	size_t size = image->build_id_size;
	assert_int_equal(size, 20);
	memcpy(id, image->build_id, size);
	hp_image_close(image);

	struct hp_module module = {path, "it", id, size};
	assert_int_equal(hp_inspector.check_library(&module, &err), 0);
	assert_int_equal(hp_inspector.function_at(&module, 1, &symbol, &err), HOTPATCH_ENOSYM);
	id[0] ^= 1;
	assert_int_equal(hp_inspector.check_library(&module, &err), HOTPATCH_ENOFILE);
	assert_int_equal(hp_inspector.function_at(&module, 1, &symbol, &err), HOTPATCH_ENOFILE);
	assert_non_null(strstr(err.text, "its build-id is"));
	hp_inspector.forget();
	assert_int_equal(hp_inspector.function_at(&module, 1, &symbol, &err), HOTPATCH_ENOFILE);
}

static void test_build_id(void **state)
{
	(void)state;
	for_each_compiler(build_ids);
}

/* The debug file by build-id, below a root that is not /usr/lib/debug. */
static void debug_files(const char *cc)
{
	struct hp_image *image;
	struct hp_symbols *symbols;
	struct hp_err err = {0};

	assert_int_equal(hp_image_open(fixture(cc, "libbyid.so"), "it", &image, &err), 0);
	assert_int_equal(hp_symbols_read(image, fixture(cc, "root"), &symbols, &err), 0);
	assert_true(symbols->has_locals);
	hp_symbols_free(symbols);
	assert_int_equal(hp_symbols_read(image, fixture(cc, "sub"), &symbols, &err), 0);
	assert_false(symbols->has_locals);
	hp_symbols_free(symbols);
	hp_image_close(image);
}

static void test_debug_file_by_build_id(void **state)
{
	(void)state;
	for_each_compiler(debug_files);
}

/* -- Files that change, files that are damaged ------------------------------------------------------------------- */

struct bytes {
	uint8_t *at;
	size_t size;
};

static struct bytes read_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct bytes bytes = {0};

	assert_non_null(file);
	fseek(file, 0, SEEK_END);
	bytes.size = (size_t)ftell(file);
	rewind(file);
	bytes.at = malloc(bytes.size);
	assert_non_null(bytes.at);
	assert_int_equal(fread(bytes.at, 1, bytes.size, file), bytes.size);
	fclose(file);
	return bytes;
}

static void write_file(const char *path, const uint8_t *at, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, at, size), size);
	close(fd);
}

static const char *temporary(void)
{
	static char path[64];
	snprintf(path, sizeof(path), "/tmp/hp_test_symbols.%d", (int)getpid());
	return path;
}

/* Asks everything of a file that may be damaged; what it answers does not matter, that it answers does. */
static void ask_everything(const char *path, const char *good, uint64_t value, uint64_t good_value)
{
	struct hp_module module = {.path = path, .name = "it"}, good_module = {.path = good, .name = "good"};
	struct hp_query all = {0};
	struct hp_symbol symbol;
	struct hp_extent parts[4];
	struct hp_err err;
	struct found *found = calloc(1, sizeof(*found));
	size_t count;
	int r[6];

	assert_non_null(found);
	err.text[0] = '\0';
	r[0] = hp_inspector.check_library(&module, &err);
	assert_true(r[0] == 0 || err.text[0]);
	r[1] = hp_inspector.function_at(&module, value, &symbol, &err);
	r[2] = hp_inspector.functions(&module, &all, keep, found, &err);
	r[3] = hp_inspector.parts(&module, value, parts, COUNT(parts), &count, &err);
	r[4] = hp_inspector.same_type(&module, value, &good_module, good_value, &err);
	r[5] = hp_inspector.same_type(&good_module, good_value, &module, value, &err);
	for (size_t i = 0; i < COUNT(r); i++)
		assert_true(r[i] <= 0);
	free(found);
}

static void test_cut_short(void **state)
{
	(void)state;
	const char *good = fixture("gcc", "libtypes-O2-5.so"), *path = temporary();
	if (access(good, R_OK) != 0)
		skip();
	struct bytes bytes = read_file(good);
	uint64_t value = find_one(good, "same_tree").value;

	for (size_t size = 0; size < bytes.size; size += size < 1024 ? 7 : 97) {
		write_file(path, bytes.at, size);
		ask_everything(path, good, value, value);
		hp_inspector.forget();
	}
	/* The library ends where its section headers do; without these it cannot be whole. */
	write_file(path, bytes.at, bytes.size - 1);
	expect_library(path, HOTPATCH_ENOTELF, "is cut short or damaged");
	write_file(path, bytes.at, 0);
	expect_library(path, HOTPATCH_ENOTELF, "is empty");
	unlink(path);
	free(bytes.at);
}

static size_t last_loaded_byte(const uint8_t *at)
{
	Elf64_Ehdr header;
	Elf64_Phdr phdr;
	size_t last = 0;

	memcpy(&header, at, sizeof(header));
	for (size_t i = 0; i < header.e_phnum; i++) {
		memcpy(&phdr, at + header.e_phoff + i * sizeof(phdr), sizeof(phdr));
		if (phdr.p_type == PT_LOAD)
			last = phdr.p_offset + phdr.p_filesz - 1;
	}
	return last;
}

/* What the dynamic linker needs is there, the sections are not (sstrip): program headers have to do. */
static void test_without_sections(void **state)
{
	(void)state;
	const char *good = fixture("gcc", "libsymbols.so"), *path = temporary();
	if (access(good, R_OK) != 0)
		skip();
	struct bytes bytes = read_file(good);
	struct hp_image *image;
	struct hp_err err = {0};
	Elf64_Ehdr header;

	memcpy(&header, bytes.at, sizeof(header));
	header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
	memcpy(bytes.at, &header, sizeof(header));
	write_file(path, bytes.at, bytes.size);
	expect_library(path, 0, "");
	assert_int_equal(hp_image_open(path, "it", &image, &err), 0);
	assert_int_equal(image->build_id_size, 20);
	hp_image_close(image);
	assert_int_equal(find(path, (struct hp_query){0})->count, 0);
	write_file(path, bytes.at, last_loaded_byte(bytes.at));
	expect_library(path, HOTPATCH_ENOTELF, "a part to be loaded lies beyond its end");
	unlink(path);
	free(bytes.at);
}

/* HP_FLIPS=N flips more bytes than is quick. */
static void test_flipped_bytes(void **state)
{
	(void)state;
	static const char *const libraries[] = {"libtypes-O2-5.so", "libtypes-units.so", "libtypes-O0-4.so"};
	const char *path = temporary(), *flips = getenv("HP_FLIPS");
	unsigned n = flips ? (unsigned)atoi(flips) : 300, seed = 1;

	if (access(fixture("gcc", libraries[0]), R_OK) != 0)
		skip();
	for (size_t i = 0; i < COUNT(libraries); i++) {
		const char *good = fixture("gcc", libraries[i]);
		struct bytes bytes = read_file(good);
		uint64_t value = find_one(good, "same_tree").value;
		for (unsigned k = 0; k < n; k++) {
			size_t where = (size_t)rand_r(&seed) * 7919u % bytes.size;
			uint8_t was = bytes.at[where];
			bytes.at[where] ^= (uint8_t)(1u + (unsigned)rand_r(&seed) % 255u);
			write_file(path, bytes.at, bytes.size);
			ask_everything(path, good, value, value);
			hp_inspector.forget();
			bytes.at[where] = was;
		}
		free(bytes.at);
	}
	unlink(path);
}

/* A library that was rebuilt under its name is read again. */
static void test_changed_on_disk(void **state)
{
	(void)state;
	if (access(fixture("gcc", "libsymbols.so"), R_OK) != 0)
		skip();
	struct bytes one = read_file(fixture("gcc", "libsymbols.so")),
		     two = read_file(fixture("gcc", "libversions.so"));
	const char *path = temporary();

	write_file(path, one.at, one.size);
	assert_int_equal(find(path, (struct hp_query){.name = "split"})->count, 1);
	write_file(path, two.at, two.size);
	assert_int_equal(find(path, (struct hp_query){.name = "split"})->count, 0);
	assert_int_equal(find(path, (struct hp_query){.name = "versioned"})->count, 2);
	unlink(path);
	free(one.at);
	free(two.at);
}

/* A callback that asks, and forgets, while the walk it is called from goes on. */
static int forget_inside(const struct hp_symbol *symbol, void *arg)
{
	struct hp_module *module = arg;
	struct hp_symbol again;

	hp_inspector.forget();
	assert_int_equal(hp_inspector.function_at(module, symbol->value, &again, NULL), 0);
	return symbol->mark == HP_MARK_PATCH ? 42 : 0;
}

static void callbacks(const char *cc)
{
	struct hp_module module = {.path = fixture(cc, "libsymbols.so"), .name = "it"};
	struct hp_query all = {0};
	assert_int_equal(hp_inspector.functions(&module, &all, forget_inside, &module, NULL), 42);
}

static void test_callbacks(void **state)
{
	(void)state;
	for_each_compiler(callbacks);
}

static int forget(void **state)
{
	(void)state;
	hp_inspector.forget();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),           cmocka_unit_test(test_marks_and_paths),
		cmocka_unit_test(test_addresses),       cmocka_unit_test(test_cold_parts),
		cmocka_unit_test(test_no_symbol_table), cmocka_unit_test(test_check_library),
		cmocka_unit_test(test_build_id),        cmocka_unit_test(test_debug_file_by_build_id),
		cmocka_unit_test(test_cut_short),       cmocka_unit_test(test_without_sections),
		cmocka_unit_test(test_flipped_bytes),   cmocka_unit_test(test_changed_on_disk),
		cmocka_unit_test(test_callbacks),
	};
	return cmocka_run_group_tests(tests, NULL, forget);
}
