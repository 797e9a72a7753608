/* test_damaged - that files that are cut short, damaged or rebuilt under their name are refused or read again, and
 * never do worse than that.
 */
#include "query.h"

#include <fcntl.h>

#include "elf/image.h"
#include "inspect/plugin.h"

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

static int forget(void **state)
{
	(void)state;
	hp_inspector.forget();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_short),
		cmocka_unit_test(test_without_sections),
		cmocka_unit_test(test_flipped_bytes),
		cmocka_unit_test(test_changed_on_disk),
	};
	return cmocka_run_group_tests(tests, NULL, forget);
}
