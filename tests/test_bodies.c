/* test_bodies - what of a preprocessed text is taken for the body of a function, and what is not; and that of a text
 * that was reduced every line stays where it is.
 *
 * Seen to fail: with strings, markers and attributes read as code, with inline functions and bodies with pragmas
 * taken out, and without the lines of bodies; words with those in braces of the rest taken for calls; texts read with
 * the help of another with a body taken for alike that is longer by its brace, and without the pragmas of bodies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "watch/bodies.h"

static struct hp_bodies bodies_of(const char *text)
{
	struct hp_bodies bodies;
	struct hp_err err;

	assert_int_equal(hp_bodies_read(strdup(text), strlen(text), NULL, &bodies, &err), 0);
	return bodies;
}

/* Names of the bodies that may be taken out, with a blank behind each. */
static void check_names(const char *text, const char *names)
{
	struct hp_bodies bodies = bodies_of(text);
	char found[400] = "";

	assert_null(bodies.why);
	for (size_t i = 0; i < bodies.n; i++) {
		char *name = hp_body_name(&bodies, &bodies.v[i]);
		if (!bodies.v[i].is_fixed) {
			strcat(found, name);
			strcat(found, " ");
		}
		assert_int_equal(bodies.text[bodies.v[i].open], '{');
		assert_int_equal(bodies.text[bodies.v[i].close], '}');
		free(name);
	}
	assert_string_equal(found, names);
	hp_bodies_free(&bodies);
}

static void functions(void **state)
{
	(void)state;
	check_names("int f(void) { return 1; } static long *g(int a, char *b) { if (a) { } return 0; }", "f g ");
	check_names("int f(int (*call)(int), int n) { return call(n); }", "f ");
	check_names("struct s { int a; } f(void) { struct s s = {1}; return s; } int x;", "f ");
	check_names("__attribute__((noinline, section(\"a{b\"))) int f(int a) { return a; }", "f ");
	check_names("static __typeof__(({ int i = 1; i; })) f(void) { return ({ int k = 2; { k++; } k; }); }", "f ");
	check_names("_Noreturn void f(const char *format, ...) { for (;;) { } }", "f ");
	check_names("[[gnu::cold]] int f(int a[static 3]) { return a[0]; }", "f ");
	check_names("int f(void) { int g(int a) { return a; } return g(1); } int h(void) { return 0; }", "f h ");
	check_names("int f(void) { __asm__ volatile(\"{ nop\" : : \"r\"('{')); return 0; } int g(void) { return 1; }",
	            "f g ");
	check_names("int f(void) { return '\\'' + '\"' + \"}\\\"{\"[0] + 1'000 + L'{'; } int g(void) { return 1; }",
	            "f g ");
	check_names("int f(void) /* { */ { // }\n return 1; /* } */ } int g(void) { return 1; }", "f g ");
	check_names("int f(void)\n# 12 \"a{.c\" 1\n{\n#line 4 \"}\"\n return 1; } int g(void) { return 1; }", "f g ");
}

static void others(void **state)
{
	(void)state;
	check_names("int a[] = { 1, 2 }; struct s { int a; }; enum e { A = (1), B }; union u { int a; } u = { 1 };",
	            "");
	check_names("struct __attribute__((packed)) s { int a; }; int f(void) { return 1; }", "f ");
	check_names("typedef struct __attribute__((packed)) { int a; } s; int f(void) { return 1; }", "f ");
	check_names("enum e : int { A }; int (*table[])(int) = { (int (*)(int)){0}, }; int f(void) { return 1; }",
	            "f ");
	check_names("__asm__(\".globl x; x: {\"); _Static_assert(sizeof(struct { int a; }) == 4, \"{\");", "");
	check_names("int (*f(int a))(int) { return 0; } int g(void) { return 1; }", "g ");
	check_names("int (f)(int a) { return a; } int g(void) { return 1; }", "g ");
	check_names("int f(a, b) int a; long b; { return a; } int g(void) { return 1; }", "g ");
	check_names("static inline int f(int a) { return a; } int g(void) { return f(1); }", "g ");
	check_names(
		"static int f(int) __attribute__((__always_inline__)); int f(int a) { return a; } int g(void) { return 1; }",
		"g ");
	check_names("int f(void) {\n#pragma pack(1)\n return 1; } int g(void) { return 1; }", "g ");
}

static void refused(void **state)
{
	static const char *const texts[] = {
		"int f(void) { return 1; } int g(void) __attribute__((alias(\"f\")));",
		"__attribute__((flatten)) int f(void) { return 1; }",
		"#pragma GCC optimize(\"O2\")\nint f(void) { return 1; }",
		"int f(void) { return 1;",
		"int f(void) { return \"a; }\n",
		"int f(void) <% return 1; %>",
		"int f(void) { return 1; } } int x;",
		"static int mark __attribute__((section(\"hotpatch_marks\"))); int f(void) { return 1; }",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct hp_bodies bodies = bodies_of(texts[i]);
		if (!bodies.why)
			fail_msg("not refused: %s", texts[i]);
		hp_bodies_free(&bodies);
	}
}

/* What was read of a text with another one's help is what is read of it alone. */
static void check_like(const struct hp_bodies *like, const struct hp_bodies *alone)
{
	struct hp_bodies bodies;
	struct hp_err err;

	assert_int_equal(hp_bodies_read(strdup(alone->text), alone->size, like, &bodies, &err), 0);
	assert_int_equal(bodies.n, alone->n);
	assert_int_equal(bodies.rest, alone->rest);
	assert_ptr_equal(bodies.why, alone->why);
	for (size_t i = 0; i < bodies.n; i++)
		assert_memory_equal(&bodies.v[i], &alone->v[i], offsetof(struct hp_body, has_pragma) + 1);
	hp_bodies_free(&bodies);
}

/* '=': the same but for bodies, and these; '!': not. */
static void check_difference(const char *before, const char *now, bool is_alike, bool is_changed)
{
	struct hp_bodies a = bodies_of(before), b = bodies_of(now);
	bool alike = !hp_bodies_differ(&a, &b);

	if (alike != is_alike)
		fail_msg("%s: %s", now, alike ? "taken for alike" : "not taken for alike");
	if (is_alike)
		assert_true((a.v[0].hash != b.v[0].hash) == is_changed);
	check_like(&a, &b);
	check_like(&b, &a);
	check_like(&a, &a);
	hp_bodies_free(&a);
	hp_bodies_free(&b);
}

static void differences(void **state)
{
	static const char text[] = "int n;\nint f(int a) { return a + n; }\n";

	(void)state;
	check_difference(text, "int n;\n\n\n# 9 \"a.c\"\nint f(int a)\n{\n\treturn a + n; /* same */\n}\n", true,
	                 false);
	check_difference(text, "int n;\nint f(int a) { return a - n; }\n", true, true);
	check_difference(text, "int n;\nint f(int a) { return a +n ; ; }\n", true, true);
	check_difference(text, "int n;\nint f(long a) { return a + n; }\n", false, false);
	check_difference(text, "int n = 1;\nint f(int a) { return a + n; }\n", false, false);
	check_difference(text, "int n;\nint f(int a) { return a + n; }\nint g(void) { return 1; }\n", false, false);
	check_difference("static inline int f(void) { return 1; } int g(void) { return f(); }",
	                 "static inline int f(void) { return 2; } int g(void) { return f(); }", false, false);
	check_difference("int f(void) { return 1; } int g(void) { return f(); }", "int f(void) { return 1; } }", false,
	                 false);
	check_difference("int f(void) { return 1; } int g(void) { if (1) { } return 2; }",
	                 "int f(void) { return 1; } int g(void) { if (1) { }", false, false);
	check_difference("int f(void) { return 1; } int g(void)\n{\n#pragma pack(1)\n return 2; }",
	                 "int f(void) { return 3; }\n\n int g(void)\n{\n#pragma pack(1)\n return 2; }", true, true);
	check_difference("int f(void) { return 1; } static int g(void) { return 2; }",
	                 "inline int g(void); int f(void) { return 1; } static int g(void) { return 2; }", false,
	                 false);
	check_difference("int f(void) { return \"a b\"[0]; }", "int f(void) { return \"a  b\"[0]; }", true, true);
}

static void reduced(void **state)
{
	static const char text[] = "# 1 \"a.c\"\n"
				   "static int f(int a)\n{\n\treturn puts(\"}\") + a;\n}\n"
				   "int g(int a)\n{\n# 40 \"a.c\"\n\treturn f(a);\n}\n"
				   "int leaf(int a) { return a; }\n";
	static const char wanted[] = "# 1 \"a.c\"\n"
				     "__attribute__((used)) static int f(int a)\n{\n\treturn puts(\"}\") + a;\n}\n"
				     "int g(int a)\n{ __builtin_abort();\n# 40 \"a.c\"\n\n}\n"
				     "int leaf(int a) { return a; }\n";
	char name[] = "f", *names[] = {name};
	struct hp_bodies bodies = bodies_of(text);
	size_t size = 0;
	char *found = hp_bodies_reduce(&bodies, names, 1, &size);

	(void)state;
	assert_string_equal(found, wanted);
	assert_int_equal(size, strlen(wanted));
	free(found);
	hp_bodies_free(&bodies);
}

/* Lines stay where they are; an edit without a symbol, and what is fixed, are as they were. */
static void declared(void **state)
{
	static const char text[] = "# 1 \"a.c\"\n"
				   "static int f(int a)\n{\n\treturn a;\n}\n"
				   "int g(int a)\n{\n# 40 \"a.c\"\n\treturn f(a);\n}\n"
				   "static inline int h(void) { return 1; }\n"
				   "int i(void) { return h(); } int j;\n";
	static const char wanted[] = "# 1 \"a.c\"\n"
				     "static int f(int a)\n{\n\treturn a;\n}\n"
				     "__attribute__((used)) int g(int a)\n{\n# 40 \"a.c\"\n\treturn f(a);\n}\n"
				     "static inline int h(void) { return 1; }\n"
				     "int i(void) ; int j;\n";
	static const char without[] = "# 1 \"a.c\"\n"
				      "static int f(int a)\n;\n\n\n"
				      "int g(int a)\n;\n# 40 \"a.c\"\n\n\n"
				      "static inline int h(void) { return 1; }\n"
				      "int i(void) { return h(); } int j;\n";
	static const enum hp_kept most[] = {HP_KEPT_COPY, HP_KEPT_ENTRY, HP_KEPT_NOT, HP_KEPT_NOT};
	static const enum hp_kept last[] = {HP_KEPT_NOT, HP_KEPT_NOT, HP_KEPT_NOT, HP_KEPT_EDIT};
	struct hp_bodies bodies = bodies_of(text);
	size_t size = 0;
	char *found = hp_bodies_declare(&bodies, most, &size), *other = hp_bodies_declare(&bodies, last, &size);

	(void)state;
	assert_string_equal(found, wanted);
	assert_string_equal(other, without);
	assert_int_equal(size, strlen(without));
	free(found);
	free(other);
	hp_bodies_free(&bodies);
}

/* "f:g()" where the body of f calls g, "f:g" where it only names it, ":g" outside of bodies. */
static void put_word(void *arg, const struct hp_word *word)
{
	static const char bodies[] = "ab";
	char *to = arg;

	if (word->n != 1 || word->text[0] < 'a' || word->text[0] > 'd')
		return;
	to += strlen(to);
	if (word->body != SIZE_MAX)
		*to++ = bodies[word->body];
	*to++ = ':';
	*to++ = word->text[0];
	strcpy(to, word->is_called ? "() " : " ");
}

static void words(void **state)
{
	struct hp_bodies bodies = bodies_of("int c(int); int d(int);\n"
	                                    "static int (*table[])(int) = {c, d};\n"
	                                    "int a(int x) { return c(x) + (x ? 1 : d(x)); }\n"
	                                    "int b(int x) { { return (int)(long)&c; } }\n"
	                                    "int (*pick(int x))(int) { return d(x) ? c : 0; }\n"
	                                    "int x = sizeof(c(1));\n");
	char found[400] = "";

	(void)state;
	assert_int_equal(bodies.n, 2);
	hp_bodies_each_word(&bodies, put_word, found);
	assert_string_equal(found, ":c() :d() :c :d :a() a:c() a:d() :b() b:c :d :c :c() ");
	hp_bodies_free(&bodies);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(functions),   cmocka_unit_test(others),  cmocka_unit_test(refused),
		cmocka_unit_test(differences), cmocka_unit_test(reduced), cmocka_unit_test(declared),
		cmocka_unit_test(words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
