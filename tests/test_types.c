/* test_types - that two functions have one type exactly when their sources say so, and that the first difference is
 * named: across gcc and clang, -O0 and -O2, DWARF 4 and 5 (the fixture libraries of tests/fixtures/build.sh).
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

#include "inspect/plugin.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *fixture(const char *name)
{
	static char paths[8][4096];
	static unsigned next;
	const char *folder = getenv("HP_FIXTURES");
	char *path = paths[next++ % COUNT(paths)];

	assert_non_null(folder);
	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static bool exists(const char *name)
{
	return access(fixture(name), R_OK) == 0;
}

static int take_value(const struct hp_symbol *symbol, void *arg)
{
	*(uint64_t *)arg = symbol->value;
	return 1;
}

static uint64_t entry_of(const struct hp_module *module, const char *function)
{
	struct hp_query query = {.name = function};
	struct hp_err err = {0};
	uint64_t value = 0;

	if (hp_inspector.functions(module, &query, take_value, &value, &err) != 1)
		fail_msg("%s: no %s: %s", module->path, function, err.text);
	return value;
}

/* Compares `function` of two libraries below HP_FIXTURES. */
static int compare(const char *old_library, const char *new_library, const char *function, struct hp_err *err)
{
	struct hp_module old_module = {.path = fixture(old_library), .name = "old"};
	struct hp_module new_module = {.path = fixture(new_library), .name = "new"};

	*err = (struct hp_err){0};
	return hp_inspector.same_type(&old_module, entry_of(&old_module, function), &new_module,
	                              entry_of(&new_module, function), err);
}

static void expect_same(const char *old_library, const char *new_library, const char *function)
{
	struct hp_err err;
	if (compare(old_library, new_library, function, &err) != 0)
		fail_msg("%s -> %s: %s differs: %s", old_library, new_library, function, err.text);
}

static void expect(const char *old_library, const char *new_library, const char *function, int code,
                   const char *sentence)
{
	struct hp_err err;
	int r = compare(old_library, new_library, function, &err);

	if (r != code || strcmp(err.text, sentence) != 0)
		fail_msg("%s -> %s: %s: %d \"%s\", expected %d \"%s\"", old_library, new_library, function, r, err.text,
		         code, sentence);
}

/* Everything types.c has, and what is said of its two builds; NULL where they are the same. */
static const struct {
	const char *function, *sentence;
} cases[] = {
	{"param_type", "param_type: parameter 2 is long in the patch, was int"},
	{"result_type", "result_type: return type is long in the patch, was int"},
	{"result_void", "result_void: return type is void in the patch, was int"},
	{"param_more", "param_more: number of parameters differs: int (int, const char *) in the patch, was int (int)"},
	{"param_fewer", "param_fewer: number of parameters differs: int (int) in the patch, was int (int, char)"},
	{"varargs", "varargs: takes variable arguments (...) only in the patch"},
	{"no_varargs", "no_varargs: takes variable arguments (...) only in the program"},
	{"prototype", "prototype: is defined with a prototype only in the program"},
	{"pointee_const", "pointee_const: parameter 1 is const char * in the patch, was char *"},
	{"pointee_volatile", "pointee_volatile: parameter 1 is int * in the patch, was volatile int *"},
	{"pointee_restrict", "pointee_restrict: parameter 1 is char *restrict * in the patch, was char **"},
	{"signedness", "signedness: parameter 1 is unsigned int in the patch, was int"},
	{"char_signedness", "char_signedness: parameter 1 is unsigned char * in the patch, was signed char *"},
	{"precision", "precision: parameter 1 is float in the patch, was double"},
	{"pointer_depth", "pointer_depth: parameter 1 is int ** in the patch, was int *"},
	{"pointer_or_int", "pointer_or_int: parameter 1 is uintptr_t (unsigned long) in the patch, was void *"},
	{"added_last", "struct conn: member deadline at offset 40 only in the patch (size 48, was 36), reached from "
                       "parameter 1 of added_last"},
	{"added_first", "struct front: member version at offset 0 only in the patch, reached from parameter 1 of "
                        "added_first"},
	{"removed", "struct shrunk: member b at offset 4 only in the program (size 8, was 12), reached from "
                    "parameter 1 of removed"},
	{"swapped", "struct swapped: member a is at offset 4 in the patch, was 0, reached from parameter 1 of swapped"},
	{"renamed", "struct renamed: the member at offset 4 is after in the patch, was before, reached from "
                    "parameter 1 of renamed"},
	{"retyped", "struct retyped: member b at offset 4 is float in the patch, was int, reached from parameter 1 "
                    "of retyped"},
	{"grown_array", "struct buffer: member data at offset 8 is char[128] in the patch, was char[64] (size 136, "
                        "was 72), reached from the return type of grown_array"},
	{"array_of_arrays", "struct matrix: member cell at offset 0 is double[2][4] in the patch, was double[2][3] "
                            "(size 64, was 48), reached from parameter 1 of array_of_arrays"},
	{"bit_width", "struct flags: bit field b at offset 0 bit 3 has 6 bits in the patch, was 5, reached from "
                      "parameter 1 of bit_width"},
	{"bit_moved", "struct packed_flags: bit field a at offset 0 bit 0 has 4 bits in the patch, was 3, reached "
                      "from parameter 1 of bit_moved"},
	{"bit_shifted", "struct shifted_flags: member b is at offset 0 bit 5 in the patch, was 0 bit 4, reached from "
                        "parameter 1 of bit_shifted"},
	{"bit_field_or_not", "struct unbit: member a at offset 0 bit 0 is a bit field only in the program, reached "
                             "from parameter 1 of bit_field_or_not"},
	{"only_size", "struct padded: size is 32 in the patch, was 8, reached from parameter 1 of only_size"},
	{"function_pointer", "struct callbacks: member read at offset 8 is int (*)(void *, long) in the patch, was "
                             "int (*)(void *, int), reached from parameter 1 of function_pointer"},
	{"member_const", "struct const_member: member name at offset 0 is const char * in the patch, was char *, "
                         "reached from parameter 1 of member_const"},
	{"union_member", "union value: member text at offset 0 only in the patch (size 16, was 8), reached from "
                         "parameter 1 of union_member"},
	{"enum_value", "enum color: GREEN is 2 in the patch, was 1, reached from parameter 1 of enum_value"},
	{"enum_more", "enum level: HIGHEST (2) only in the patch, reached from parameter 1 of enum_more"},
	{"enum_fewer", "enum state: BROKEN (2) only in the program, reached from parameter 1 of enum_fewer"},
	{"struct_tag", "struct_tag: parameter 1 is struct conn_b * in the patch, was struct conn_a *"},
	{"struct_or_union", "struct_or_union: parameter 1 is union either * in the patch, was struct either *"},
	{"nested", "struct inner: member y at offset 4 only in the patch (size 8, was 4), reached from parameter 1 "
                   "of nested"},
	{"far",
         "struct inner: member y at offset 4 only in the patch (size 8, was 4), reached from parameter 2 of far"},
	{"by_function_pointer", "struct inner: member y at offset 4 only in the patch (size 8, was 4), reached from "
                                "parameter 1 of by_function_pointer"},
	{"anonymous", "anonymous_t: member b at offset 4 is char in the patch, was int, reached from parameter 1 of "
                      "anonymous"},
	{"anonymous_member", "struct part of struct holder: member b at offset 4 only in the patch (size 8, was 4), "
                             "reached from parameter 1 of anonymous_member"},
	{"unnamed_member", "unnamed union of struct unnamed_holder: member d at offset 0 only in the patch (size 8, "
                           "was 4), reached from parameter 1 of unnamed_member"},
	{"alias_changed", "alias_changed: parameter 1 is length_t * (long *) in the patch, was length_t * (int *)"},
	{"array_const", "struct const_triple: member a at offset 0 is const int[3] in the patch, was "
                        "int[3], reached from parameter 1 of array_const"},
	{"chain", "struct n150: member end at offset 0 is long in the patch, was int (size 8, was 4), reached from "
                  "parameter 1 of chain"},
	{"same_array_alias", NULL},
	{"same_tree", NULL},
	{"same_spelling", NULL},
	{"same_qualified", NULL},
	{"same_vector", NULL},
	{"same_unprototyped", NULL},
	{"same_by_value", NULL},
	{"same_variadic", NULL},
	{"same_order", NULL},
	{"same_width", NULL},
};

static const char *const builds[] = {
	"gcc/libtypes%s-O0-4.so",   "gcc/libtypes%s-O0-5.so",   "gcc/libtypes%s-O2-4.so",   "gcc/libtypes%s-O2-5.so",
	"clang/libtypes%s-O0-4.so", "clang/libtypes%s-O0-5.so", "clang/libtypes%s-O2-4.so", "clang/libtypes%s-O2-5.so",
};

/* Calls check for every pair of builds that are there. */
static void for_each_pair(const char *old_kind, const char *new_kind,
                          void (*check)(const char *old_library, const char *new_library))
{
	char a[64], b[64];
	size_t n = 0;

	for (size_t i = 0; i < COUNT(builds) * COUNT(builds); i++) {
		snprintf(a, sizeof(a), builds[i / COUNT(builds)], old_kind);
		snprintf(b, sizeof(b), builds[i % COUNT(builds)], new_kind);
		if (!exists(a) || !exists(b))
			continue;
		check(a, b);
		n++;
	}
	assert_true(n >= 16); /* of one compiler at least */
}

static void check_same(const char *old_library, const char *new_library)
{
	for (size_t i = 0; i < COUNT(cases); i++)
		expect_same(old_library, new_library, cases[i].function);
}

static void test_same_source(void **state)
{
	(void)state;
	for_each_pair("", "", check_same);
}

static void check_cases(const char *old_library, const char *new_library)
{
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (cases[i].sentence)
			expect(old_library, new_library, cases[i].function, HOTPATCH_ETYPE, cases[i].sentence);
		else
			expect_same(old_library, new_library, cases[i].function);
	}
}

static void test_each_difference(void **state)
{
	(void)state;
	for_each_pair("", "_new", check_cases);
}

/* DWARF 4 has no _Atomic: its absence proves nothing there. */
static void test_atomic_is_of_dwarf_5(void **state)
{
	(void)state;
	for (int clang = 0; clang < 2; clang++) {
		const char *cc = clang ? "clang" : "gcc";
		char old4[64], old5[64], new4[64], new5[64];
		snprintf(old4, sizeof(old4), "%s/libtypes-O2-4.so", cc);
		snprintf(old5, sizeof(old5), "%s/libtypes-O2-5.so", cc);
		snprintf(new4, sizeof(new4), "%s/libtypes_new-O2-4.so", cc);
		snprintf(new5, sizeof(new5), "%s/libtypes_new-O2-5.so", cc);
		if (!exists(old5))
			continue;
		expect(old5, new5, "atomic", HOTPATCH_ETYPE,
		       "atomic: parameter 1 is _Atomic int * in the patch, was int *");
		expect_same(old4, new5, "atomic");
		expect_same(old5, new4, "atomic");
	}
}

static const char *const compilers[] = {"gcc", "clang"};

#define FOR_EACH_COMPILER(cc, library)                                                                                 \
	for (size_t cc##_i = 0; cc##_i < COUNT(compilers); cc##_i++)                                                   \
		if (exists(in(compilers[cc##_i], library)) && (cc = compilers[cc##_i]))

static const char *in(const char *cc, const char *library)
{
	static char names[8][128];
	static unsigned next;
	char *name = names[next++ % COUNT(names)];
	snprintf(name, sizeof(names[0]), "%s/%s", cc, library);
	return name;
}

/* Types in units of their own, and in .dwo files beside the objects. */
static void test_other_forms_of_dwarf(void **state)
{
	(void)state;
	const char *cc;
	FOR_EACH_COMPILER(cc, "libtypes-units.so")
	{
		check_same(in(cc, "libtypes-units.so"), in(cc, "libtypes-O0-5.so"));
		check_cases(in(cc, "libtypes-units.so"), in(cc, "libtypes_new-O2-4.so"));
		check_same(in(cc, "libtypes-O0-4.so"), in(cc, "libtypes-split.so"));
		check_cases(in(cc, "libtypes-split.so"), in(cc, "libtypes_new-O2-5.so"));
	}
}

static void test_without_types(void **state)
{
	(void)state;
	const char *cc;
	FOR_EACH_COMPILER(cc, "libtypes-nog.so")
	{
		expect(in(cc, "libtypes-nog.so"), in(cc, "libtypes-O2-5.so"), "param_type", HOTPATCH_ENOTYPE,
		       "'old' has no type information: compile it with -g, or install its debug symbols");
		expect(in(cc, "libtypes-O2-5.so"), in(cc, "libtypes-nog.so"), "param_type", HOTPATCH_ENOTYPE,
		       "'new' has no type information: compile it with -g, or install its debug symbols");
		expect(in(cc, "libopaque.so"), in(cc, "libopaque_half.so"), "opaque", HOTPATCH_ENOTYPE,
		       "'new' has no type information for function 'opaque': compile its source with -g");
		expect_same(in(cc, "libopaque.so"), in(cc, "libopaque_half.so"), "engine_cylinders");
		struct hp_err err;
		assert_int_equal(compare(in(cc, "libassembly.so"), in(cc, "libassembly.so"), "outer", &err),
		                 HOTPATCH_ENOTYPE);
	}
}

/* The definition of a declared structure is found in another unit; where it is nowhere, its name decides. */
static void test_declared_only(void **state)
{
	(void)state;
	const char *cc;
	FOR_EACH_COMPILER(cc, "libopaque.so")
	{
		expect_same(in(cc, "libopaque.so"), in(cc, "libopaque.so"), "opaque");
		expect(in(cc, "libopaque.so"), in(cc, "libopaque_new.so"), "opaque", HOTPATCH_ETYPE,
		       "struct engine: member valves at offset 4 only in the patch (size 8, was 4), reached from "
		       "parameter 1 of opaque");
		expect_same(in(cc, "libopaque.so"), in(cc, "libopaque_alone.so"), "opaque");
		expect_same(in(cc, "libopaque_alone.so"), in(cc, "libopaque_new.so"), "opaque");
	}
}

static void test_methods(void **state)
{
	(void)state;
	const char *cc, *other;
	bool any = false;

	if (!exists("gcc/libmethods.so"))
		skip();
	FOR_EACH_COMPILER(cc, "libmethods.so")
	{
		any = true;
		expect_same(in(cc, "libmethods.so"), in(cc, "libmethods_new.so"), "cpp_same");
		expect(in(cc, "libmethods.so"), in(cc, "libmethods_new.so"), "cpp_reference", HOTPATCH_ETYPE,
		       "cpp_reference: parameter 1 is struct Tagged & in the patch, was struct Tagged *");
		expect_same(in(cc, "libmethods.so"), in(cc, "libmethods.so"), "_Z10overloadedPN6shapes3BoxIiEE");
	}
	FOR_EACH_COMPILER(other, "libmethods.so")
	{
		expect_same("gcc/libmethods.so", in(other, "libmethods.so"), "cpp_box");
		expect_same("gcc/libmethods.so", in(other, "libmethods.so"), "cpp_same");
		expect("gcc/libmethods.so", in(other, "libmethods_new.so"), "cpp_box", HOTPATCH_ETYPE,
		       "struct Box<long int>: member extra at offset 48 only in the patch (size 56, was 48), reached from "
		       "parameter 1 of cpp_box");
	}
	assert_true(any);
}

/* A stripped library and its debug file; and the other functions of a module after forgetting it. */
static void test_separate_debug_file(void **state)
{
	(void)state;
	const char *cc;
	FOR_EACH_COMPILER(cc, "libstripped.so")
	{
		expect_same(in(cc, "libstripped.so"), in(cc, "libsymbols.so"), "plain");
		expect_same(in(cc, "libsymbols.so"), in(cc, "sub/libstripped.so"), "split");
		hp_inspector.forget();
		expect_same(in(cc, "libsymbols.so"), in(cc, "libstripped.so"), "twice");
		expect(in(cc, "libsymbols.so"), in(cc, "libbare.so"), "plain", HOTPATCH_ENOTYPE,
		       "'new' has no type information: compile it with -g, or install its debug symbols");
	}
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
		cmocka_unit_test(test_same_source),
		cmocka_unit_test(test_each_difference),
		cmocka_unit_test(test_atomic_is_of_dwarf_5),
		cmocka_unit_test(test_other_forms_of_dwarf),
		cmocka_unit_test(test_without_types),
		cmocka_unit_test(test_declared_only),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_separate_debug_file),
	};
	return cmocka_run_group_tests(tests, NULL, forget);
}
