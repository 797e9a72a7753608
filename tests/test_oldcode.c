/* test_oldcode - that the masks of a function's old code are all that the relocations of its section may touch of it,
 * also where the function is one of many in a section.
 *
 * Seen to fail: with HP_FIELD_REACH 4, and with relocations looked for from behind the function's begin, or to before
 * its end.
 */
#include "build.h"

#include "elf/field.h"
#include "elf/oldcode.h"

static const char text[] =
	"extern __thread int e; extern int x; int ext(int); static __thread int t, u; static int s;\n"
	"__attribute__((noinline)) static int one(int a) { s += a; return s; }\n"
	"int two(int a) { e += a; t += e; return ext(t); }\n"
	"int three(void) { return ext(x) + one(x); }\n"
	"int four(int a) { u += t; x++; return e + one(a); }\n"
	"int *five(void) { return &e; }\n"
	"int *six(void) { return &t; }\n";

/* One byte of `bytes` for each of the function: 1 where one of all relocations touches it. */
static void mark_touched(const struct hp_object_section *section, const struct hp_object_symbol *symbol, uint8_t *bytes)
{
	for (size_t i = 0; i < section->n_relocs; i++) {
		const struct hp_object_relocation *reloc = &section->relocs[i];
		struct hp_field field;
		assert_true(hp_field_of(reloc->type, &field));
		for (uint64_t at = symbol->value; at < symbol->value + symbol->size; at++)
			if (at + field.before >= reloc->offset && at < reloc->offset + field.size + field.after)
				bytes[at - symbol->value] = 1;
	}
}

static void check_function(const struct hp_object *object, const struct hp_object_symbol *symbol)
{
	uint8_t *touched = calloc(symbol->size, 1), *masked = calloc(symbol->size, 1);
	struct hp_old_code code;
	struct hp_err err;

	assert_int_equal(hp_old_code_find(object, symbol->name, &code, &err), 0);
	assert_int_equal(code.size, symbol->size);
	mark_touched(&object->sections[symbol->section], symbol, touched);
	for (size_t i = 0; i < code.n_masks; i++)
		memset(masked + code.masks[i].offset, 1, code.masks[i].length);
	if (memcmp(touched, masked, symbol->size) != 0)
		fail_msg("%s: the masks are not what its relocations touch", symbol->name);
	free(code.masks);
	free(touched);
	free(masked);
}

static void check_object(const char *compiler, const char *flags)
{
	struct hp_object *object;
	struct hp_err err;
	char command[1024];
	size_t n = 0;

	write_text(in_folder("a.c"), text);
	snprintf(command, sizeof(command), "cd %s && %s %s -c a.c -o a.o", test_folder, compiler, flags);
	assert_int_equal(system(command), 0);
	assert_int_equal(hp_object_read(in_folder("a.o"), &object, &err), 0);
	for (size_t i = 1; i < object->n_symbols; i++) {
		if (object->symbols[i].type != STT_FUNC || !object->symbols[i].section)
			continue;
		check_function(object, &object->symbols[i]);
		n++;
	}
	assert_int_equal(n, 6);
	hp_object_free(object);
}

static void test_masks(void **state)
{
	static const char *const compilers[] = {"gcc", "clang"};
	static const char *const flags[] = {"-O0", "-O1 -fno-inline", "-Os -fPIC", "-O0 -fPIC"};

	(void)state;
	for (size_t i = 0; i < COUNT(compilers); i++)
		for (size_t k = 0; k < COUNT(flags) && has_compiler(compilers[i]); k++)
			check_object(compilers[i], flags[k]);
}

static void test_reach(void **state)
{
	struct hp_field field;

	(void)state;
	for (uint32_t type = 0; type < 256; type++)
		if (hp_field_of(type, &field))
			assert_true(field.before <= HP_FIELD_REACH && field.size + field.after <= HP_FIELD_REACH);
	assert_false(hp_field_of(UINT32_MAX, &field));
	assert_null(hp_field_name(255));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_reach),
	};

	return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
