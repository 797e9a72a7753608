/* test_objects - what was read of an object is read once, is shared by those who compare it, and goes with its file:
 * what lies in its place afterwards is another object.
 *
 * Seen to fail: with hp_objects_remove that removes the file alone (the second object is taken for the first), with
 * hp_objects_atoms that reads every time, and, under valgrind, with shares that are not counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "watch/objects.h"

static char path[] = "/tmp/hp-objects-XXXXXX";

static void copy_object(const char *name)
{
	char from[4096], bytes[4096];
	size_t n;

	snprintf(from, sizeof(from), "%s/gcc/%s", getenv("HP_FIXTURES"), name);
	FILE *in = fopen(from, "re"), *out = fopen(path, "we");
	assert_true(in && out);
	while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static struct hp_atoms *atoms_of(struct hp_objects *objects)
{
	struct hp_atoms *atoms;
	struct hp_err err;

	assert_int_equal(hp_objects_atoms(objects, path, NULL, &atoms, &err), 0);
	return atoms;
}

static bool has(const struct hp_atoms *atoms, const char *name)
{
	for (size_t i = 0; i < atoms->count; i++)
		if (strcmp(atoms->items[i].name, name) == 0)
			return true;
	return false;
}

static int new_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

static void read_once(void **state)
{
	struct hp_objects objects = {0};
	struct hp_object *plain, *again;
	struct hp_err err;

	(void)state;
	copy_object("patched.o");
	struct hp_atoms *first = atoms_of(&objects), *second = atoms_of(&objects);
	assert_ptr_equal(first, second);
	assert_int_equal(hp_objects_plain(&objects, path, &plain, &err), 0);
	assert_int_equal(hp_objects_plain(&objects, path, &again, &err), 0);
	assert_ptr_equal(plain, again);
	hp_atoms_free(first);
	hp_object_free(plain);
	hp_objects_free(&objects);
	assert_true(second->count && again->n_symbols); /* who shares them has them still */
	hp_atoms_free(second);
	hp_object_free(again);
}

static void gone_with_its_file(void **state)
{
	struct hp_objects objects = {0};

	(void)state;
	copy_object("patched.o");
	struct hp_atoms *before = atoms_of(&objects);
	hp_objects_remove(&objects, path);
	assert_int_not_equal(access(path, F_OK), 0);
	copy_object("opaque-nog.o");
	struct hp_atoms *now = atoms_of(&objects);
	assert_ptr_not_equal(before, now);
	assert_true(has(before, "serve") && !has(now, "serve"));
	hp_atoms_free(before);
	hp_atoms_free(now);
	hp_objects_free(&objects);
}

static void not_an_object(void **state)
{
	struct hp_objects objects = {0};
	struct hp_atoms *atoms;
	struct hp_err err;

	(void)state;
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(hp_objects_atoms(&objects, path, NULL, &atoms, &err), HOTPATCH_ENOTELF);
	copy_object("patched.o"); /* what failed is read again */
	atoms = atoms_of(&objects);
	hp_atoms_free(atoms);
	hp_objects_free(&objects);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_once),
		cmocka_unit_test(gone_with_its_file),
		cmocka_unit_test(not_an_object),
	};
	return cmocka_run_group_tests(tests, new_file, remove_file);
}
