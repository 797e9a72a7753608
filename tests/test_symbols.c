/* test_symbols - that functions are found by name, path, mark and address, cold parts by their function, files that are
 * no libraries are refused with the reason.
 */
#include "query.h"

#include "elf/debugfile.h"
#include "elf/symbols.h"
#include "inspect/plugin.h"

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
		cmocka_unit_test(test_callbacks),
	};
	return cmocka_run_group_tests(tests, NULL, forget);
}
