/* test_part - that a patch over two images is divided so that each part runs far away from the other: its code, its
 * data, its unwind tables.
 *
 * Functions of fixtures/linked.c stand for changed ones of two images; the parts are mapped terabytes apart, called and
 * unwound. Seen to fail: with sections left in the first part, with unwind tables not divided, with the parts not
 * joined. Damaged unwind tables are refused: a table without bytes was read, relocations of the second of two tables
 * were freed twice, and common records inside of another one were copied beyond the room for them (the fuzz target
 * link).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <sys/mman.h>
#include <unwind.h>

#include "link/part.h"
#include "link/relocate.h"
#include "object.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { PAGE = 4096 };

static const struct {
	const char *name;
	size_t image;
} changed[] = {
	{"linked_static", 7}, {"linked_ops", 3},     {"linked_switch", 7},       {"linked_calls", 3},
	{"linked_string", 3}, {"linked_table", 3},   {"linked_variable", 7},     {"linked_cleanup", 3},
	{"linked_absent", 3}, {"linked_address", 3}, {"linked_thread_local", 3},
};

struct side {
	struct hp_layout *layout;
	struct hp_resolved *symbols;
	struct hp_linking linking;
	uint8_t *memory;
};

static struct hp_patch_change changes[COUNT(changed)];
static int given_variable = 5;
static uintptr_t seen_low, seen_high;
static bool seen;

static _Unwind_Reason_Code see(struct _Unwind_Context *context, void *arg)
{
	uintptr_t ip = _Unwind_GetIP(context);
	bool *in_part = arg;
	if (ip >= seen_low && ip < seen_high)
		*in_part = true;
	else if (*in_part)
		seen = true; /* a frame behind it */
	return _URC_NO_REASON;
}

static int given_near(int n)
{
	bool in_part = false;
	_Unwind_Backtrace(see, &in_part);
	return 3 * n + 1;
}

static struct hp_resolved resolve(const char *name)
{
	if (strcmp(name, "given_near") == 0)
		return (struct hp_resolved){.address = (uintptr_t)given_near, .is_function = true};
	if (strcmp(name, "given_far") == 0)
		return (struct hp_resolved){.address = (uintptr_t)toupper, .is_function = true};
	if (strcmp(name, "given_variable") == 0)
		return (struct hp_resolved){.address = (uintptr_t)&given_variable};
	bool is_thread_local = strstr(name, "thread_local");
	return (struct hp_resolved){.is_thread_local = is_thread_local, .is_static_tls = is_thread_local};
}

static void place(struct side *side, const struct hp_patchfile *part, uintptr_t wish)
{
	struct hp_err err;

	if (hp_layout_make(part, PAGE, &side->layout, &err) != 0)
		fail_msg("%s", err.text);
	side->symbols = calloc(part->n_symbols, sizeof(*side->symbols));
	for (size_t i = 1; i < part->n_symbols; i++)
		if (!part->symbols[i].section)
			side->symbols[i] = resolve(part->symbols[i].name);
	side->memory =
		mmap((void *)wish, side->layout->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_equal(side->memory, wish);
	side->linking = (struct hp_linking){side->layout, wish, side->symbols, 0};
}

static void join(const struct hp_patchfile *file, const struct hp_parts *parts, struct side *sides)
{
	for (uint32_t i = 1; i < file->n_symbols; i++) {
		if (!file->symbols[i].section)
			continue;
		uint32_t own = parts->of_symbol[i];
		sides[!own].symbols[i] = (struct hp_resolved){.address = hp_linking_address(&sides[own].linking, i),
		                                              .is_function = file->symbols[i].type == STT_FUNC};
	}
}

extern void __register_frame(void *), __deregister_frame(void *);

static void finish(struct side *side)
{
	struct hp_err err;

	if (hp_relocate(&side->linking, side->memory, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(mprotect(side->memory, side->layout->zones[HP_ZONE_CODE].size, PROT_READ | PROT_EXEC), 0);
	__register_frame(side->memory + side->layout->eh_frame);
}

static uintptr_t address(const struct hp_patchfile *file, const struct hp_parts *parts, const struct side *sides,
                         const char *name, uint32_t part)
{
	uint32_t symbol = object_symbol(file, name);
	assert_int_equal(parts->of_symbol[symbol], part);
	return hp_linking_address(&sides[part].linking, symbol);
}

static void check(const struct hp_patchfile *file, const struct hp_parts *parts, const struct side *sides)
{
	int (*call)(int) = (int (*)(int))address(file, parts, sides, "linked_static", 0);
	assert_int_equal(call(5), 51);
	assert_int_equal(call(5), 62);
	call = (int (*)(int))address(file, parts, sides, "linked_switch", 0);
	assert_int_equal(call(0), 31);
	assert_int_equal(call(1), 50);
	int (*ops)(int, int) = (int (*)(int, int))address(file, parts, sides, "linked_ops", 1);
	assert_int_equal(ops(0, 21), 42);
	assert_int_equal(ops(3, 'a'), 'A');
	int (*calls)(int) = (int (*)(int))address(file, parts, sides, "linked_calls", 1);
	for (int i = 0; i < 2; i++) {
		seen = false;
		seen_low = (uintptr_t)sides[i].memory;
		seen_high = seen_low + sides[i].layout->size;
		assert_int_equal(i ? calls('b') : call(4), i ? 3 * 'b' + 1 + 'B' : 14);
		assert_true(seen);
	}
}

static void divide(const char *path)
{
	struct hp_patchfile *file = object_read(path);
	struct hp_parts *parts;
	struct side sides[2] = {0};
	size_t images[COUNT(changed)];
	struct hp_err err;

	assert_non_null(file);
	file->changes = changes;
	file->n_changes = COUNT(changed);
	for (size_t i = 0; i < COUNT(changed); i++) {
		changes[i].symbol = object_symbol(file, changed[i].name);
		images[i] = changed[i].image;
	}
	if (hp_parts_make(file, images, &parts, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(parts->n, 2);
	place(&sides[0], &parts->v[0], 0x200000000000);
	place(&sides[1], &parts->v[1], 0x300000000000);
	join(file, parts, sides);
	for (int i = 0; i < 2; i++)
		finish(&sides[i]);
	check(file, parts, sides);
	for (int i = 0; i < 2; i++) {
		__deregister_frame(sides[i].memory + sides[i].layout->eh_frame);
		munmap(sides[i].memory, sides[i].layout->size);
		hp_layout_free(sides[i].layout);
		free(sides[i].symbols);
	}
	hp_parts_free(parts);
	object_free(file);
}

static void test_divided(void **state)
{
	static const char *const names[] = {"pic-O1", "pic-O2", "pic-Os", "pic-O3", "noplt"};
	static const char *const compilers[] = {"gcc", "clang"};
	char path[4096];
	int n = 0;
	(void)state;

	for (size_t i = 0; i < COUNT(names) * COUNT(compilers); i++) {
		snprintf(path, sizeof(path), "%s/%s/linked-%s.o", getenv("HP_FIXTURES"), compilers[i % 2],
		         names[i / 2]);
		if (access(path, R_OK) != 0)
			continue;
		print_message("%s\n", path + strlen(getenv("HP_FIXTURES")) + 1);
		divide(path);
		n++;
	}
	assert_true(n >= (int)COUNT(names));
}

/* -- Damaged ones ---------------------------------------------------------------------------------------------- */

enum { INNER = 32, COMMON_SIZE = 8 + 8 * INNER, DAMAGED_SIZE = COMMON_SIZE + 24 * INNER };

/* A file with one function, and what is said to be its unwind table. */
struct damaged {
	struct hp_patchfile file;
	struct hp_patch_section sections[4];
	struct hp_patch_symbol symbols[2];
	struct hp_patch_change change;
};

static void make_damaged(struct damaged *d)
{
	static const uint8_t code[16];

	*d = (struct damaged){
		.sections = {{.name = ""},
	                     {.name = ".text.f",
	                      .type = SHT_PROGBITS,
	                      .flags = SHF_ALLOC | SHF_EXECINSTR,
	                      .size = sizeof(code),
	                      .align = 1,
	                      .bytes = code},
	                     {.name = ".eh_frame", .type = SHT_PROGBITS, .flags = SHF_ALLOC, .align = 8}},
		.symbols = {{.name = ""}, {.name = "f", .section = 1, .size = sizeof(code), .type = STT_FUNC}},
		.change = {.symbol = 1, .unit = HP_NO_UNIT, .name = "f"},
	};
	d->file = (struct hp_patchfile){.path = (char *)"damaged",
	                                .sections = d->sections,
	                                .n_sections = 3,
	                                .symbols = d->symbols,
	                                .n_symbols = 2,
	                                .changes = &d->change,
	                                .n_changes = 1};
}

static void check_refused(const struct damaged *d, const char *why)
{
	const size_t image = 0;
	struct hp_parts *parts;
	struct hp_err err;

	assert_int_equal(hp_parts_make(&d->file, &image, &parts, &err), HOTPATCH_ENOTELF);
	assert_non_null(strstr(err.text, why));
}

static void test_no_bytes(void **state)
{
	struct damaged d;
	(void)state;

	make_damaged(&d);
	d.sections[2].type = SHT_NOBITS;
	d.sections[2].size = 64;
	check_refused(&d, "cannot be read");
}

static void test_two_tables(void **state)
{
	struct damaged d;
	(void)state;

	make_damaged(&d);
	d.sections[3] = d.sections[2];
	d.sections[3].relocs = calloc(1, sizeof(*d.sections[3].relocs));
	d.sections[3].n_relocs = 1;
	d.sections[3].relocs[0].offset = UINT64_C(0x7070707070707070); /* overwritten where it is freed */
	d.file.n_sections = 4;
	check_refused(&d, "several sections");
	assert_int_equal(d.sections[3].relocs[0].offset, UINT64_C(0x7070707070707070));
	free(d.sections[3].relocs);
}

/* One common record with others inside of it, each of which reaches to its end; and for each of these a function. */
static void test_records_in_another(void **state)
{
	uint32_t words[DAMAGED_SIZE / 4] = {COMMON_SIZE - 4, 0};
	struct hp_patch_reloc relocs[INNER] = {0};
	struct damaged d;
	(void)state;

	make_damaged(&d);
	for (uint32_t i = 0; i < INNER; i++) {
		uint32_t inner = 8 + 8 * i, at = COMMON_SIZE + 24 * i;
		words[inner / 4] = COMMON_SIZE - inner - 4;
		words[at / 4] = 20;
		words[at / 4 + 1] = at + 4 - inner;
		relocs[i] = (struct hp_patch_reloc){.offset = at + 8, .symbol = 1};
	}
	d.sections[2].bytes = (const uint8_t *)words;
	d.sections[2].size = sizeof(words);
	d.sections[2].relocs = relocs;
	d.sections[2].n_relocs = INNER;
	check_refused(&d, "cannot be read");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_divided), cmocka_unit_test(test_no_bytes),
	                                   cmocka_unit_test(test_two_tables),
	                                   cmocka_unit_test(test_records_in_another)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
