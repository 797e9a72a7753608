/* test_diff - what hotpatch build finds changed, what it refuses and with which sentence, and that the old code's hash
 * is that of the linked program. Every case is compiled by gcc and clang at -O0 and -O2, and some are linked; in `make
 * test` the ways take turns, and each case has a third of them, or all it applies to where those are few. `make
 * check-asan` has all.
 *
 * Seen to fail: with scopes by the compiler's names ("inserted static"), without contents compared ("string", "table"),
 * without .cold compared ("cold part"), with masks of the field alone ("hash", a relaxed GOT access), and each refusal
 * with its check left out; labels with every table called changed whose function did, with labels in variables kept,
 * and with the size of what is only read now not looked at.
 */
#include "build.h"

#include "elf/codehash.h"
#include "elf/symbols.h"
#include "make/pack.h"

#define NOINLINE "__attribute__((noinline)) "
#define EXTERN "int ext(int); int printf(const char *, ...); void abort(void);\n"

/* An interpreter of bytes, with a table of labels. */
#define LABELS(table, first, body)                                                                                     \
	EXTERN "int f(const unsigned char *p, int a) { static " table "[] = {" first                                   \
	       ", &&end}; goto *(void *)t[*p++];\n"                                                                    \
	       "inc: " body "; goto *(void *)t[*p++]; dbl: a *= 2; goto *(void *)t[*p++]; end: return a; }"

struct test_case {
	const char *name, *old_text, *new_text;
	const char *changed;          /* functions */
	const char *kept;             /* variables */
	const char *added;            /* variables */
	const char *refused;          /* a part of the sentence */
	const char *flags;            /* more of them */
	const char *constants;        /* called changed; NULL: not looked at */
	const char *only;             /* "gcc", "clang", "-O2": where the compiler has such a thing at all */
	const char *reinit, *allowed; /* options */
	bool linked;                  /* the hash is compared with the linked program */
};

static const struct test_case cases[] = {
	{.name = "same",
         .old_text = "int f(int a) { return a + 1; }",
         .new_text = "int f(int a) { return a + 1; }",
         .changed = ""},
	{.name = "lines only",
         .old_text = EXTERN "int f(int a) { return ext(a) + 1; }",
         .new_text = EXTERN "\n\n/* more */\nint f(int a)\n{\n return ext(a) + 1; }",
         .changed = ""},
	{.name = "line number in code",
         .old_text = EXTERN "int f(int a) { return ext(__LINE__); }",
         .new_text = EXTERN "\nint f(int a) { return ext(__LINE__); }",
         .changed = "f"},
	{.name = "body",
         .old_text = "int f(int a) { return a + 1; } int g(int a) { return a * 3; }",
         .new_text = "int f(int a) { return a + 2; } int g(int a) { return a * 3; }",
         .changed = "f"},
	{.name = "callee of another name",
         .old_text = "int x(int), y(int); int f(int a) { return x(a) + 1; }",
         .new_text = "int x(int), y(int); int f(int a) { return y(a) + 1; }",
         .changed = "f"},
	{.name = "caller of a changed static is not changed",
         .linked = true,
         .old_text = "static " NOINLINE "int s(int a) { return a ^ 5; } int f(int a) { return s(a) + s(a + 1); }",
         .new_text = "static " NOINLINE "int s(int a) { return a ^ 6; } int f(int a) { return s(a) + s(a + 1); }",
         .changed = "s"},
	{.name = "string",
         .old_text = EXTERN "int f(int a) { return printf(\"hello\"); } int g(int a) { return printf(\"other\"); }",
         .new_text = EXTERN "int f(int a) { return printf(\"hullo\"); } int g(int a) { return printf(\"other\"); }",
         .changed = "f"},
	{.name = "string before others",
         .old_text =
                 EXTERN "int f(int a) { return printf(\"one %d\", a); } int g(int a) { return printf(\"two %d\", a); }",
         .new_text = EXTERN
         "int f(int a) { return printf(\"longer one %d\", a); } int g(int a) { return printf(\"two %d\", a); }",
         .changed = "f"},
	{.name = "double",
         .old_text = "double f(double a) { return a * 2.5 + 7; } double g(double a) { return a * 3.5; }",
         .new_text = "double f(double a) { return a * 2.25 + 7; } double g(double a) { return a * 3.5; }",
         .changed = "f"},
	{.name = "table",
         .old_text =
                 "static const int t[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}; int f(unsigned a) { return t[a % 9]; } int g(int a) { return a; }",
         .new_text =
                 "static const int t[] = {1, 2, 3, 4, 5, 6, 7, 9, 9}; int f(unsigned a) { return t[a % 9]; } int g(int a) { return a; }",
         .changed = "f"},
	{.name = "table that grew",
         .old_text =
                 "static const int t[] = {1, 2, 3, 4, 5, 6, 7}; int f(unsigned a) { return t[a & 3]; } int g(int a) { return a; }",
         .new_text =
                 "static const int t[] = {1, 2, 3, 4, 5, 6, 7, 8}; int f(unsigned a) { return t[a & 3]; } int g(int a) { return a; }",
         .changed = "f"},
	{.name = "strings in a table",
         .old_text =
                 "static const char *const t[] = {\"a\", \"b\", \"cc\"}; const char *f(unsigned a) { return t[a % 3]; } int g(int a) { return a; }",
         .new_text =
                 "static const char *const t[] = {\"a\", \"b\", \"cd\"}; const char *f(unsigned a) { return t[a % 3]; } int g(int a) { return a; }",
         .changed = "f"},
	{.name = "operations in a table",
         .old_text = "static int x(int a) { return a + 1; } struct ops { int (*one)(int), (*two)(int); };\n"
                     "static const struct ops t = {x, 0}; const struct ops *f(void) { return &t; }",
         .new_text =
                 "static int y(int a) { return a + 2; } static int x(int a) { return a + 1; } struct ops { int (*one)(int), (*two)(int); };\n"
                 "static const struct ops t = {x, y}; const struct ops *f(void) { return &t; }",
         .changed = "f"},
	{.name = "function in a table is changed itself only",
         .old_text =
                 "static int x(int a) { return a + 1; } static int (*const t[])(int) = {x, x}; int f(int a) { return t[a](a); }",
         .new_text =
                 "static int x(int a) { return a + 7; } static int (*const t[])(int) = {x, x}; int f(int a) { return t[a](a); }",
         .changed = "x"},
	{.name = "jump table",
         .linked = true,
         .old_text = EXTERN
         "int f(int a) { switch (a) { case 0: return ext(1); case 1: return ext(a) + 2; case 2: ext(9); return 3; case 3: return ext(7); case 4: return ext(5) * 2; case 5: return ext(2) - a; } return 0; } int g(int a) { return a; }",
         .new_text = EXTERN
         "int f(int a) { switch (a) { case 0: return ext(1); case 1: return ext(a) + 2; case 2: ext(9); return 3; case 3: return ext(7); case 5: return ext(5) * 2; case 4: return ext(2) - a; } return 0; } int g(int a) { return a; }",
         .changed = "f"},
	{.name = "table of a switch",
         .old_text =
                 "int f(unsigned a) { switch (a) { case 0: return 11; case 1: return 52; case 2: return 13; case 3: return 94; case 4: return 5; case 5: return 77; } return 0; }",
         .new_text =
                 "int f(unsigned a) { switch (a) { case 0: return 11; case 1: return 52; case 2: return 13; case 3: return 94; case 4: return 6; case 5: return 77; } return 0; }",
         .changed = "f"},
	{.name = "labels that moved with their function",
         .old_text = LABELS("const void *const t", "&&inc, &&dbl", "a += ext(a)"),
         .new_text = LABELS("const void *const t", "&&inc, &&dbl", "a += ext(a * 7) + ext(9)"),
         .changed = "f",
         .constants = ""},
	{.name = "other labels of a function that is the same",
         .old_text = LABELS("const void *const t", "&&inc, &&dbl", "a += ext(a)"),
         .new_text = LABELS("const void *const t", "&&dbl, &&inc", "a += ext(a)"),
         .changed = "f",
         .flags = "-O0",
         .constants = "f/t"},
	{.name = "labels in a table that is not const",
         .old_text = LABELS("void *t", "&&inc, &&dbl", "a += ext(a)"),
         .new_text = LABELS("void *t", "&&inc, &&dbl", "a += ext(a * 7) + ext(9)"),
         .changed = "f",
         .flags = "-O0",
         .constants = "f/t"},
	{.name = "cold part",
         .linked = true,
         .old_text = EXTERN
         "int f(int a) { if (__builtin_expect(a == 77, 0)) { printf(\"cold\"); printf(\"x %d\", a); abort(); } return ext(a); }",
         .new_text = EXTERN
         "int f(int a) { if (__builtin_expect(a == 77, 0)) { printf(\"cald\"); printf(\"x %d\", a); abort(); } return ext(a); }",
         .changed = "f"},
	{.name = "inlined function changes its callers",
         .old_text = EXTERN
         "static int s(int a) { return a * 5; } int f(int a) { return ext(s(a)); } int g(int a) { return ext(a); }",
         .new_text = EXTERN
         "static int s(int a) { return a * 9; } int f(int a) { return ext(s(a)); } int g(int a) { return ext(a); }",
         .changed = "f",
         .only = "-O2"},
	{.name = "clone changes its callers",
         .old_text = EXTERN
         "static " NOINLINE
         "int s(int a, int b) { return ext(a) * b + ext(b); } int f(int a) { return s(a, 3); } int g(int a) { return s(a, 3) + 1; } int h(int a) { return ext(a); }",
         .new_text = EXTERN
         "static " NOINLINE
         "int s(int a, int b) { return ext(a) * b + ext(b + 1); } int f(int a) { return s(a, 3); } int g(int a) { return s(a, 3) + 1; } int h(int a) { return ext(a); }",
         .changed = "f g",
         .only = "gcc -O2"},
	{.name = "inserted static",
         .old_text = "int f(void) { static int n = 3; return ++n; } int g(void) { static int n = 5; return ++n; }",
         .new_text =
                 "int h(void) { static int n = 9; return ++n; } int f(void) { static int n = 3; return ++n; } int g(void) { static int n = 5; return ++n; }",
         .changed = "",
         .added = "h/n"},
	{.name = "statics of one name in blocks",
         .old_text = "int f(int a) { if (a) { static int n = 1; return ++n; } static int n = 2; return ++n; }",
         .new_text = "int f(int a) { if (a) { static int n = 1; return ++n; } static int n = 2; return n += 2; }",
         .changed = "f"},
	{.name = "initialiser",
         .old_text = "static int n = 5; int f(void) { return n++; }",
         .new_text = "static int n = 6; int f(void) { return n++; }",
         .changed = "",
         .kept = "n"},
	{.name = "initialiser applied",
         .old_text = "static int n = 5; int f(void) { return n++; }",
         .new_text = "static int n = 6; int f(void) { return n++; }",
         .changed = "",
         .reinit = "n"},
	{.name = "new variable and function",
         .linked = true,
         .old_text = "static int n; int f(int a) { return n += a; }",
         .new_text = "static int n; static int m = 7; static " NOINLINE
                     "int s(int a) { return m += a; } int f(int a) { return n += s(a); }",
         .changed = "f",
         .added = "m"},
	{.name = "constant that is written to now",
         .old_text = "static int t[] = {1, 2, 3, 4, 5}; int f(unsigned a) { return t[a % 5]; }",
         .new_text =
                 "static int t[] = {1, 2, 3, 4, 5}; int f(unsigned a) { return t[a % 5]; } void g(int a) { t[a] = a; }",
         .changed = "f",
         .added = "t",
         .only = "gcc -O2"},
	{.name = "thread-local",
         .linked = true,
         .old_text = "static __thread int n = 4; int f(int a) { return n += a; }",
         .new_text = "static __thread int n = 4; int f(int a) { return n += 2 * a; }",
         .changed = "f"},
	{.name = "attribute cleanup",
         .old_text = EXTERN
         "static void c(int *p) { ext(*p); } int f(int a) { __attribute__((cleanup(c))) int x = a; return ext(x); }",
         .new_text = EXTERN
         "static void c(int *p) { ext(*p); } int f(int a) { __attribute__((cleanup(c))) int x = a; return ext(x + 1); }",
         .changed = "f",
         .flags = "-fexceptions"},
	{.name = "immediate behind a field",
         .old_text =
                 "static int a[4], b; int f(void) { a[3] = 1; b = 2; return b == 7; } int *g(int i) { return i == b ? a : &b; }",
         .new_text =
                 "static int a[4], b; int f(void) { a[3] = 1; b = 3; return b == 7; } int *g(int i) { return i == b ? a : &b; }",
         .changed = "f"},

	/* -- Refusals -- */
	{.name = "new thread-local",
         .old_text = "int f(int a) { return a; }",
         .new_text = "__thread int n; int f(int a) { return n += a; }",
         .refused = "new thread-local variable"},
	{.name = "size of a live variable",
         .old_text = "int n[4]; int f(int a) { return n[a]++; }",
         .new_text = "int n[8]; int f(int a) { return n[a]++; }",
         .refused = "it cannot grow or shrink in its place"},
	{.name = "size of a variable that is only read now",
         .old_text = "static int n[] = {1, 2, 3, 4}; int f(int a) { return n[a]++; }",
         .new_text = "static int n[] = {1, 2, 3, 4, 5, 6}; int f(int a) { return n[a]; }",
         .only = "gcc -O2",
         .refused = "it cannot grow or shrink in its place"},
	{.name = "labels beside something else in a variable",
         .old_text = LABELS("long t", "0, (long)&&inc, (long)&&dbl", "a += ext(a)"),
         .new_text = LABELS("long t", "0, (long)&&inc, (long)&&dbl", "a += ext(a * 7) + ext(9)"),
         .flags = "-O0",
         .refused = "holds a label of 'f', which changed"},
	{.name = "a single label in a variable",
         .old_text = EXTERN
         "int f(int a) { static void *at = &&one; goto *at; one: at = &&two; return ext(a); two: return 2; }",
         .new_text = EXTERN
         "int f(int a) { static void *at = &&one; goto *at; one: at = &&two; return ext(a) + ext(5); two: return 2; }",
         .refused = "holds a label of 'f', which changed"},
	{.name = "type of a live variable",
         .old_text = "int n = 1; int f(int a) { return n += a; }",
         .new_text = "float n = 1; int f(int a) { return n += a; }",
         .refused = "variable n is float in the patch, was int"},
	{.name = "constructor",
         .old_text = EXTERN "int n; int f(int a) { return a; }",
         .new_text = EXTERN
         "int n; int f(int a) { return a; } __attribute__((constructor)) static void c(void) { n = ext(3); }",
         .refused = "is a new constructor: the program has started already"},
	{.name = "constructor that was there",
         .old_text = EXTERN
         "int n; int f(int a) { return a; } __attribute__((constructor)) static void c(void) { n = ext(3); }",
         .new_text = EXTERN
         "int n; int f(int a) { return a + 1; } __attribute__((constructor)) static void c(void) { n = ext(3); }",
         .changed = "f"},
	{.name = "IFUNC",
         .old_text =
                 "static int x(int a) { return a; } static int y(int a) { return -a; } int n; static void *r(void) { return n ? x : y; } int f(int) __attribute__((ifunc(\"r\")));",
         .new_text =
                 "static int x(int a) { return a; } static int y(int a) { return -a; } int n; static void *r(void) { return n == 2 ? x : y; } int f(int) __attribute__((ifunc(\"r\")));",
         .refused = "IFUNC"},
	{.name = "layout",
         .old_text = "struct conn { int a; long b; }; struct conn c; int f(int a) { return c.a + a; }",
         .new_text =
                 "struct conn { int a; int d; long b; long e; }; extern struct conn c2; struct conn *p; int f(int a) { return p->a + a; }",
         .refused = "struct conn: member d at offset 4 only in the patch"},
	{.name = "layout allowed",
         .old_text = "struct conn { int a; long b; }; struct conn *p; int f(int a) { return p->a + a; }",
         .new_text = "struct conn { int a; int d; long b; }; struct conn *p; int f(int a) { return p->d + a; }",
         .changed = "f",
         .allowed = "conn"},
	{.name = "enumeration",
         .old_text = "enum e { A, B } v; int f(int a) { return v == B; }",
         .new_text = "enum e { A, C, B } v; int f(int a) { return v == B; }",
         .refused = "enum e: "},
	{.name = "signature of a global",
         .old_text = "int f(int a) { return a; }",
         .new_text = "int f(int a, int b) { return a + b; }",
         .refused = "its callers can be looked for only in the linked program"},
	{.name = "signature of a static with its callers",
         .old_text = EXTERN "static " NOINLINE "int s(int a) { return ext(a); } int f(int a) { return s(a); }",
         .new_text = EXTERN "static " NOINLINE
                            "int s(int a, int b) { return ext(a + b); } int f(int a) { return s(a, a * 3); }",
         .changed = "f s"},
	{.name = "signature of a static in a table",
         .old_text = EXTERN "static " NOINLINE
                            "int s(int a) { return ext(a); } int (*p)(int) = s; int f(int a) { return s(a); }",
         .new_text = EXTERN
         "static " NOINLINE
         "int s(int a, int b) { return ext(a + b); } int (*p)(int) = (void *)s; int f(int a) { return s(a, a * 3); }",
         .refused = "variable 'p' refers to it and is not in the patch"},
	{.name = "link-time optimisation",
         .old_text = "int f(int a) { return a; }",
         .new_text = "int f(int a) { return a + 1; }",
         .flags = "-flto",
         .only = "gcc",
         .refused = "link-time optimisation"},
};

struct way {
	const char *compiler, *flags;
};

static const struct way ways[] = {
	{"gcc", "-O0"}, {"gcc", "-O2"}, {"gcc", "-O2 -fPIC"}, {"clang", "-O0"}, {"clang", "-O2"},
};

static bool applies(const struct test_case *c, const struct way *way)
{
	if (!c->only)
		return true;
	bool compiler = strstr(c->only, "gcc") || strstr(c->only, "clang");
	return (!compiler || strstr(c->only, way->compiler)) &&
	       (!strstr(c->only, "-O2") || strncmp(way->flags, "-O2", 3) == 0);
}

/* Where one of them fails the others nearly always do: what compilers make of it differs little. */
static bool has_turn(size_t i, const struct way *way)
{
	return cases[i].only || (i + (size_t)(way - ways)) % 3 == 0 || getenv("HP_WHOLE") || getenv("HP_CHECK");
}

/* -- The old code's hash --------------------------------------------------------------------------------------- */

static void link_old(const struct way *way)
{
	char command[1024];
	const char *shared = strstr(way->flags, "-fPIC")      ? "-shared"
	                     : strstr(way->flags, "-fno-pie") ? "-no-pie"
	                                                      : "-pie";

	snprintf(
		command, sizeof(command),
		"cd %s && %s %s -nostartfiles -Wl,--unresolved-symbols=ignore-all -Wl,-e,0 plain.o -o linked 2>/dev/null",
		test_folder, way->compiler, shared);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* The bytes at a link-time address of an image. */
static const uint8_t *bytes_at(const struct hp_image *image, uint64_t value, uint64_t size)
{
	for (size_t i = 0; i < image->n_sections; i++) {
		const struct hp_section *section = &image->sections[i];
		if (!(section->header.sh_flags & SHF_EXECINSTR) || value < section->header.sh_addr ||
		    value + size > section->header.sh_addr + section->header.sh_size)
			continue;
		Elf_Data *data = hp_section_data(section);
		return data ? (const uint8_t *)data->d_buf + (value - section->header.sh_addr) : NULL;
	}
	return NULL;
}

static void check_hashes(const struct test_case *c, const struct way *way, const struct hp_patchfile *file)
{
	struct hp_image *image;
	struct hp_symbols *symbols;
	struct hp_err err;

	link_old(way);
	assert_int_equal(hp_image_open(in_folder("linked"), "linked", &image, &err), 0);
	assert_int_equal(hp_symbols_read(image, "/nonexistent", &symbols, &err), 0);
	for (size_t i = 0; i < file->n_changes; i++) {
		const struct hp_patch_change *change = &file->changes[i];
		const struct hp_function *const *found;
		uint8_t hash[HP_HASH_SIZE];
		size_t n;
		assert_int_equal(hp_symbols_named(symbols, change->name, &found, &n, &err), 0);
		assert_int_equal(n, 1);
		assert_int_equal(found[0]->size, change->old_size);
		const uint8_t *code = bytes_at(image, found[0]->value, change->old_size);
		assert_non_null(code);
		hp_code_hash(code, change->old_size, change->masks, change->n_masks, hash);
		if (memcmp(hash, change->old_hash, sizeof(hash)) != 0)
			fail_msg("%s (%s %s): the hash of %s is not that of the linked program", c->name, way->compiler,
			         way->flags, change->name);
	}
	hp_symbols_free(symbols);
	hp_image_close(image);
}

/* -- Cases ----------------------------------------------------------------------------------------------------- */

static void expect(const struct test_case *c, const struct way *way, const char *what, const char *found,
                   const char *wanted)
{
	if (strcmp(found, wanted ? wanted : "") != 0)
		fail_msg("%s (%s %s): %s '%s', expected '%s'", c->name, way->compiler, way->flags, what, found,
		         wanted ? wanted : "");
}

static void check_refusal(const struct test_case *c, const struct way *way, const struct built *built)
{
	if (built->code != HOTPATCH_EREFUSED && built->code != HOTPATCH_ETYPE)
		fail_msg("%s (%s %s): not refused (%d %s)", c->name, way->compiler, way->flags, built->code,
		         built->err.text);
	if (!strstr(built->err.text, c->refused))
		fail_msg("%s (%s %s): refused with '%s'", c->name, way->compiler, way->flags, built->err.text);
}

static void check_case(const struct test_case *c, const struct way *way)
{
	char flags[256];
	struct built built;
	struct hp_make_options options = {.name = "test", .reinit = &c->reinit, .n_reinit = c->reinit != NULL};

	options.allowed = (struct hp_allowed){&c->allowed, c->allowed != NULL};
	snprintf(flags, sizeof(flags), "%s %s", way->flags, c->flags ? c->flags : "");
	build_texts(way->compiler, flags, c->old_text, c->new_text, &options, &built);
	if (c->refused) {
		check_refusal(c, way, &built);
	} else {
		if (built.code != 0)
			fail_msg("%s (%s %s): %s", c->name, way->compiler, way->flags, built.err.text);
		expect(c, way, "changed", names_found(&built, HP_FOUND_CHANGED), c->changed);
		expect(c, way, "kept", names_found(&built, HP_FOUND_KEPT), c->kept);
		expect(c, way, "new variables", names_found(&built, HP_FOUND_NEW_VARIABLE), c->added);
		if (c->constants)
			expect(c, way, "constants", names_found(&built, HP_FOUND_CONSTANT), c->constants);
		expect(c, way, "applied initialisers", names_found(&built, HP_FOUND_REINIT), c->reinit);
		assert_int_equal(built.file->n_reinits, c->reinit != NULL);
		if (c->linked)
			check_hashes(c, way, built.file);
	}
	free_built(&built);
}

static void test_way(void **state)
{
	const struct way *way = *state;

	if (!has_compiler(way->compiler))
		skip();
	for (size_t i = 0; i < COUNT(cases); i++)
		if (applies(&cases[i], way) && has_turn(i, way))
			check_case(&cases[i], way);
}

/* The chosen numbers of FIPS 180-4's examples: "abc", and the same with a byte that is masked. */
static void test_hash(void **state)
{
	static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
	uint8_t hash[HP_HASH_SIZE], masked[HP_HASH_SIZE], zero[HP_HASH_SIZE];
	const struct hp_mask mask = {1, 1};

	(void)state;
	hp_code_hash((const uint8_t *)"abc", 3, NULL, 0, hash);
	assert_memory_equal(hash, abc, sizeof(abc));
	hp_code_hash((const uint8_t *)"axc", 3, &mask, 1, masked);
	hp_code_hash((const uint8_t *)"a\0c", 3, NULL, 0, zero);
	assert_memory_equal(masked, zero, HP_HASH_SIZE);
}

int main(void)
{
	struct CMUnitTest tests[COUNT(ways) + 1];
	char names[COUNT(ways)][64];

	for (size_t i = 0; i < COUNT(ways); i++) {
		snprintf(names[i], sizeof(names[i]), "diff, %s %s", ways[i].compiler, ways[i].flags);
		tests[i] = (struct CMUnitTest){names[i], test_way, NULL, NULL, (void *)&ways[i]};
	}
	tests[COUNT(ways)] = (struct CMUnitTest)cmocka_unit_test(test_hash);
	return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
