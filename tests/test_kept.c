/* test_kept - the names that a connection keeps of files: found whatever was wanted before, and read anew once the file
 * is another one.
 *
 * Seen to fail: with what was kept for fewer names, with a file told by its path alone, with names freed that somebody
 * still has.
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
#include <sys/stat.h>
#include <unistd.h>

#include "remote/kept.h"

static void for_each_compiler(void (*body)(const char *path))
{
	static const char *const compilers[] = {"gcc", "clang"};
	char path[4200];
	unsigned n = 0;

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s/libsymbols.so", getenv("HP_FIXTURES"), compilers[i]);
		if (access(path, R_OK) != 0)
			continue;
		body(path);
		n++;
	}
	assert_true(n > 0);
}

static struct hp_names *names_of(struct hp_kept_files *kept, const char *path, const char *const *wanted, size_t n)
{
	struct hp_image *image = NULL;
	struct hp_names *names = NULL;
	struct hp_err err = {0};

	if (hp_image_open(path, "it", &image, &err) != 0 || hp_kept_names(kept, image, wanted, n, &names, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	hp_image_close(image);
	return names;
}

static size_t count(const struct hp_names *names, const char *name)
{
	size_t n;
	const struct hp_name *found = hp_names_find(names, name, &n);

	for (size_t i = 0; i < n; i++)
		assert_string_equal(found[i].name, name);
	return n;
}

static void wants(const char *path)
{
	static const char *const one[] = {"helper"}, *const other[] = {"twice"}, *const both[] = {"helper", "twice"};
	struct hp_kept_files kept = {0};
	struct hp_names *first = names_of(&kept, path, one, 1), *second = names_of(&kept, path, one, 1);

	assert_ptr_equal(first, second);
	assert_int_equal(count(first, "helper"), 2);
	assert_int_equal(count(first, "twice"), 0);
	hp_names_free(second);
	second = names_of(&kept, path, other, 1);
	assert_ptr_not_equal(first, second);
	assert_int_equal(count(second, "twice"), 2);
	assert_int_equal(count(second, "helper"), 2);
	assert_int_equal(count(first, "helper"), 2);
	struct hp_names *third = names_of(&kept, path, both, 2), *fourth = names_of(&kept, path, one, 1);
	assert_ptr_equal(second, third);
	assert_ptr_equal(second, fourth);
	hp_kept_free(&kept);
	assert_int_equal(count(fourth, "twice"), 2);
	hp_names_free(first);
	hp_names_free(second);
	hp_names_free(third);
	hp_names_free(fourth);
}

static void test_wants(void **state)
{
	(void)state;
	for_each_compiler(wants);
}

static void copy_file(const char *from, const char *to)
{
	char line[9000];

	snprintf(line, sizeof(line), "cp -f '%s' '%s'", from, to);
	assert_int_equal(system(line), 0);
}

/* Other bytes of the same length, in the same place and with the same inode: the time of modification tells. */
static void rewrite_name(const char *path, const char *name, const char *by)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	size_t n = strlen(name) + 1;

	assert_int_equal(fstat(fd, &status), 0);
	char *bytes = malloc((size_t)status.st_size);
	assert_int_equal(pread(fd, bytes, (size_t)status.st_size, 0), status.st_size);
	for (char *at = bytes; (at = memmem(at, (size_t)(bytes + status.st_size - at), name, n)); at += n)
		memcpy(at, by, n);
	assert_int_equal(pwrite(fd, bytes, (size_t)status.st_size, 0), status.st_size);
	struct timespec times[2] = {{0, UTIME_OMIT},
	                            {status.st_mtim.tv_sec, (status.st_mtim.tv_nsec + 1) % 1000000000}};
	assert_int_equal(futimens(fd, times), 0);
	close(fd);
	free(bytes);
}

static void replaced(const char *library)
{
	static const char *const wanted[] = {"helper", "hilfer"};
	char path[] = "/tmp/hotpatch-kept-XXXXXX";
	struct hp_kept_files kept = {0};
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	copy_file(library, path);
	struct hp_names *before = names_of(&kept, path, wanted, 2);
	rewrite_name(path, "helper", "hilfer");
	struct hp_names *after = names_of(&kept, path, wanted, 2);
	assert_int_equal(count(before, "helper"), 2);
	assert_int_equal(count(after, "helper"), 0);
	assert_int_equal(count(after, "hilfer"), 2);
	hp_names_free(before);
	hp_names_free(after);
	hp_kept_free(&kept);
	unlink(path);
}

static void test_replaced(void **state)
{
	(void)state;
	for_each_compiler(replaced);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wants),
		cmocka_unit_test(test_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
