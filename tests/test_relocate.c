/* test_relocate - that objects as gcc and clang compile them, in every model of code, are laid out and relocated so
 * that they run; and that what does not fit is refused by name.
 *
 * The objects (fixtures/linked.c) are linked into this process and called. Seen to fail: with an addend left out, with
 * the table's entries not filled, with far calls not taken, with constants in the zone of
 * data, with rewritten instructions a byte off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <link.h>
#include <sys/mman.h>
#include <unwind.h>

#include "arch/arch.h"
#include "object.h"
#include "link/relocate.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { PAGE = 4096 };

/* -- What the objects refer to --------------------------------------------------------------------------------- */

/* In the first page of the region, so that it is in reach wherever that lies. */
struct given {
	int variable;
	const char *names[3];
};

static __thread int given_thread_local, given_other_thread_local;
static uintptr_t region_low, region_high;
static bool seen_region, seen_test;

static _Unwind_Reason_Code see(struct _Unwind_Context *context, void *arg)
{
	uintptr_t ip = _Unwind_GetIP(context);
	if (ip >= region_low && ip < region_high)
		seen_region = true;
	else if (seen_region && ip >= (uintptr_t)arg && ip - (uintptr_t)arg < 1 << 20)
		seen_test = true;
	return _URC_NO_REASON;
}

extern const char __executable_start[];

static int given_near(int n)
{
	_Unwind_Backtrace(see, (void *)(uintptr_t)__executable_start);
	return 3 * n + 1;
}

static int own_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	*(struct dl_phdr_info *)arg = *info;
	return 1;
}

static struct hp_resolved thread_local_of(const void *variable)
{
	struct dl_phdr_info info = {0};
	dl_iterate_phdr(own_module, &info);
	return (struct hp_resolved){
		.is_thread_local = true,
		.tls_module = info.dlpi_tls_modid,
		.tls_value = (uintptr_t)variable - (uintptr_t)info.dlpi_tls_data,
		.is_static_tls = true,
		.tls_block = hp_arch_tls_offset(info.dlpi_tls_data),
	};
}

/* __tls_get_addr has no prototype anywhere. */
extern void *__tls_get_addr(void *);

static struct hp_resolved resolve(const char *name, const struct given *given)
{
	const struct {
		const char *name;
		struct hp_resolved resolved;
	} all[] = {
		{"given_variable", {.address = (uintptr_t)&given->variable, .size = 4}},
		{"given_names", {.address = (uintptr_t)given->names, .size = sizeof(given->names)}},
		{"given_near", {.address = (uintptr_t)given_near, .is_function = true}},
		{"given_far", {.address = (uintptr_t)toupper, .is_function = true}},
		{"given_thread_local", thread_local_of(&given_thread_local)},
		{"given_other_thread_local", thread_local_of(&given_other_thread_local)},
		{"__tls_get_addr", {.address = (uintptr_t)__tls_get_addr, .is_function = true}},
		{"_Unwind_Resume", {.address = (uintptr_t)_Unwind_Resume, .is_function = true}},
		{"__gcc_personality_v0", {.address = (uintptr_t)abort, .is_function = true}},
	};
	for (size_t i = 0; i < COUNT(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].resolved;
	return (struct hp_resolved){0};
}

/* -- A linked object ------------------------------------------------------------------------------------------- */

struct linked {
	struct hp_patchfile *file;
	struct hp_layout *layout;
	struct hp_resolved *symbols;
	struct hp_linking linking;
	struct given *given;
	size_t size;
};

static void *map_region(size_t size, bool is_low)
{
	uintptr_t wish = ((uintptr_t)__executable_start & ~(uintptr_t)(PAGE - 1)) - (64 << 20);
	void *at = mmap(is_low ? NULL : (void *)wish, size, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | (is_low ? MAP_32BIT : 0), -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void protect(const struct linked *linked)
{
	static const int protections[HP_ZONES] = {PROT_READ | PROT_EXEC, PROT_READ, PROT_READ | PROT_WRITE};
	for (int zone = 0; zone < HP_ZONES; zone++)
		if (linked->layout->zones[zone].size)
			assert_int_equal(mprotect((uint8_t *)linked->linking.base + linked->layout->zones[zone].offset,
			                          linked->layout->zones[zone].size, protections[zone]),
			                 0);
}

extern void __register_frame(void *), __deregister_frame(void *);

static void link_object(struct linked *linked, const char *path)
{
	struct hp_err err = {0};

	linked->file = object_read(path);
	assert_non_null(linked->file);
	if (hp_layout_make(linked->file, PAGE, &linked->layout, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	linked->size = PAGE + linked->layout->size;
	linked->given = map_region(linked->size, linked->layout->is_low);
	*linked->given = (struct given){100, {"ninth", "tenth", "eleventh"}};
	linked->symbols = calloc(linked->file->n_symbols, sizeof(*linked->symbols));
	for (size_t i = 1; i < linked->file->n_symbols; i++)
		linked->symbols[i] = resolve(linked->file->symbols[i].name, linked->given);
	linked->linking = (struct hp_linking){linked->layout, (uintptr_t)linked->given + PAGE, linked->symbols, 0};
	region_low = linked->linking.base;
	region_high = region_low + linked->layout->size;
	if (hp_relocate(&linked->linking, (uint8_t *)linked->linking.base, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	protect(linked);
	for (size_t i = 1; i < linked->file->n_sections; i++)
		if (strcmp(linked->file->sections[i].name, ".eh_frame") == 0)
			assert_int_equal(linked->layout->eh_frame_size, linked->file->sections[i].size + 4);
	__register_frame((void *)(linked->linking.base + linked->layout->eh_frame));
}

static void unlink_object(struct linked *linked)
{
	__deregister_frame((void *)(linked->linking.base + linked->layout->eh_frame));
	munmap(linked->given, linked->size);
	hp_layout_free(linked->layout);
	free(linked->symbols);
	object_free(linked->file);
}

typedef int (*function)(int);

static uintptr_t address(const struct linked *linked, const char *name)
{
	uintptr_t at = hp_linking_address(&linked->linking, object_symbol(linked->file, name));
	if (!at)
		fail_msg("%s: no '%s'", linked->file->path, name);
	return at;
}

#define CALL(name, ...) ((int (*)(int, ...))address(linked, name))(__VA_ARGS__)
#define STRING(name, n) ((const char *(*)(int))address(linked, name))(n)

static void check_data(const struct linked *linked)
{
	assert_int_equal(CALL("linked_static", 5), 51);
	assert_int_equal(CALL("linked_static", 5), 62);
	assert_int_equal(CALL("linked_variable", 3), 110);
	assert_int_equal(linked->given->variable, 103);
	assert_string_equal(STRING("linked_string", 0), "another string");
	assert_string_equal(STRING("linked_string", 1), "one string");
	assert_string_equal(STRING("linked_table", 2), "second");
	assert_string_equal(STRING("linked_table", 6), "eleventh");
}

static void check_code(const struct linked *linked)
{
	static const int cases[] = {31, 50, 21, -3, 14, 1234, 103, -1};
	for (int i = 0; i < (int)COUNT(cases); i++)
		assert_int_equal(CALL("linked_switch", i), cases[i]);
	assert_int_equal(CALL("linked_ops", 0, 21), 42);
	assert_int_equal(CALL("linked_ops", 1, 21), 22);
	assert_int_equal(CALL("linked_ops", 2, 5), 16);
	assert_int_equal(CALL("linked_ops", 3, 'a'), 'A');
	assert_int_equal(CALL("linked_calls", 'b'), 3 * 'b' + 1 + 'B');
	assert_int_equal(CALL("linked_absent", 0), 0);
	for (int far = 0; far < 2; far++) {
		function f = ((function(*)(int))address(linked, "linked_address"))(far);
		assert_int_equal(f('c'), far ? 'C' : 3 * 'c' + 1);
	}
}

static void check_thread_locals(const struct linked *linked)
{
	given_thread_local = 1;
	given_other_thread_local = 2;
	assert_int_equal(CALL("linked_thread_local", 10), 33);
	assert_int_equal(given_thread_local, 11);
	assert_int_equal(given_other_thread_local, 22);
}

static void check_unwinding(const struct linked *linked)
{
	seen_region = seen_test = false;
	assert_int_equal(CALL("linked_cleanup", 'd'), 'D');
	assert_int_equal(linked->given->variable, 103 + 'd');
	CALL("linked_calls", 'b');
	assert_true(seen_region);
	assert_true(seen_test);
}

static const char *fixture(const char *cc, const char *name)
{
	static char path[4096];
	assert_non_null(getenv("HP_FIXTURES"));
	snprintf(path, sizeof(path), "%s/%s/linked-%s.o", getenv("HP_FIXTURES"), cc, name);
	return path;
}

static void test_linked(void **state)
{
	static const char *const names[] = {
		"pic-O0", "pic-O1",       "pic-O2", "pic-Os",      "pic-O3", "pie-O0",   "pie-O1",
		"pie-O2", "pie-Os",       "pie-O3", "low-O0",      "low-O1", "low-O2",   "low-Os",
		"low-O3", "localdynamic", "noplt",  "descriptors", "large",  "largelow", "cet",
	};
	static const char *const compilers[] = {"gcc", "clang"};
	int n = 0;
	(void)state;

	for (size_t i = 0; i < COUNT(names) * COUNT(compilers); i++) {
		const char *path = fixture(compilers[i % 2], names[i / 2]);
		struct linked linked = {0};
		if (access(path, R_OK) != 0)
			continue;
		print_message("%s\n", path + strlen(getenv("HP_FIXTURES")) + 1);
		link_object(&linked, path);
		check_data(&linked);
		check_code(&linked);
		check_thread_locals(&linked);
		check_unwinding(&linked);
		unlink_object(&linked);
		n++;
	}
	assert_true(n >= (int)COUNT(names) - 1);
}

/* -- What is refused: one section with one relocation ------------------------------------------------------------ */

struct small {
	struct hp_patch_reloc reloc;
	struct hp_patch_section sections[3];
	struct hp_patch_symbol symbols[3];
	struct hp_patchfile file;
	struct hp_resolved resolved[3];
	uint8_t code[64], bytes[4 * PAGE];
	struct hp_err err;
};

/* Symbol 1 is undefined, symbol 2 is the second word of .data. */
static void small_make(struct small *small, uint32_t type, int64_t addend)
{
	static char path[] = "fix.hp";

	memset(small, 0, sizeof(*small));
	small->reloc = (struct hp_patch_reloc){.offset = 16, .type = type, .symbol = 1, .addend = addend};
	small->sections[0] = (struct hp_patch_section){.name = ""};
	small->sections[1] = (struct hp_patch_section){
		.name = ".text.serve",
		.type = SHT_PROGBITS,
		.flags = SHF_ALLOC | SHF_EXECINSTR,
		.size = sizeof(small->code),
		.align = 16,
		.bytes = small->code,
		.relocs = &small->reloc,
		.n_relocs = 1,
	};
	small->sections[2] = (struct hp_patch_section){.name = ".data",
	                                               .type = SHT_NOBITS,
	                                               .flags = SHF_ALLOC | SHF_WRITE,
	                                               .size = 64,
	                                               .align = 8};
	small->symbols[0] = (struct hp_patch_symbol){.name = "", .binding = UINT32_MAX};
	small->symbols[1] = (struct hp_patch_symbol){.name = "environ"};
	small->symbols[2] = (struct hp_patch_symbol){.name = "word", .section = 2, .value = 8};
	small->file = (struct hp_patchfile){
		.path = path,
		.name = "fix",
		.sections = small->sections,
		.n_sections = 3,
		.symbols = small->symbols,
		.n_symbols = 3,
	};
}

static int small_link(struct small *small, uint64_t base)
{
	struct hp_layout *layout = NULL;
	int r = hp_layout_make(&small->file, PAGE, &layout, &small->err);

	if (r == 0) {
		struct hp_linking linking = {layout, base, small->resolved, 0};
		assert_true(layout->size <= sizeof(small->bytes));
		r = hp_relocate(&linking, small->bytes, &small->err);
	}
	hp_layout_free(layout);
	return r;
}

/* Links with the symbol at `target`; the value written, or that it was refused. */
static void expect_written(uint32_t type, uint64_t base, uint64_t target, int64_t addend, uint64_t value)
{
	struct small small;
	uint64_t have = 0;

	small_make(&small, type, addend);
	small.resolved[1].address = target;
	if (small_link(&small, base) != 0)
		fail_msg("%s", small.err.text);
	memcpy(&have, small.bytes + 16, hp_arch_reloc_type(type)->size);
	assert_int_equal(have, value);
}

static void expect_refused(uint32_t type, uint64_t base, uint64_t target, int64_t addend)
{
	struct small small;

	small_make(&small, type, addend);
	small.resolved[1].address = target;
	assert_int_equal(small_link(&small, base), HOTPATCH_EINVAL);
	if (!strstr(small.err.text, "'fix.hp'") || !strstr(small.err.text, "'.text.serve'") ||
	    !strstr(small.err.text, "'environ'") || !strstr(small.err.text, "does not fit"))
		fail_msg("%s", small.err.text);
}

static void test_ranges(void **state)
{
	const uint64_t base = 0x7f0000000000, place = base + 16;
	(void)state;

	expect_written(R_X86_64_PC32, base, place + 0x7fffffff, 0, 0x7fffffff);
	expect_refused(R_X86_64_PC32, base, place + 0x80000000, 0);
	expect_written(R_X86_64_PC32, base, place - 0x80000000, 0, 0x80000000);
	expect_refused(R_X86_64_PC32, base, place - 0x80000001, 0);
	expect_written(R_X86_64_PC32, base, place + 0x80000000, -4, 0x7ffffffc);
	expect_written(R_X86_64_32, base, 0xffffffff, 0, 0xffffffff);
	expect_refused(R_X86_64_32, base, 0x100000000, 0);
	expect_refused(R_X86_64_32, base, 0, -1);
	expect_written(R_X86_64_32S, base, 0x7fffffff, 0, 0x7fffffff);
	expect_refused(R_X86_64_32S, base, 0x80000000, 0);
	expect_written(R_X86_64_32S, base, 0, -1, 0xffffffff);
	expect_written(R_X86_64_16, base, 0xffff, 0, 0xffff);
	expect_written(R_X86_64_16, base, 0, -0x8000, 0x8000);
	expect_refused(R_X86_64_16, base, 0x10000, 0);
	expect_refused(R_X86_64_16, base, 0, -0x8001);
	expect_written(R_X86_64_8, base, 0xff, 0, 0xff);
	expect_refused(R_X86_64_8, base, 0x100, 0);
	expect_written(R_X86_64_64, base, 0xfedcba9876543210, 1, 0xfedcba9876543211);
	expect_written(R_X86_64_PC64, base, 8, 0, 8 - place);
}

/* A call always gets there; data does not. */
static void test_far(void **state)
{
	struct small small;
	int32_t to_jump, to_slot;
	uint64_t slot;
	(void)state;

	small_make(&small, R_X86_64_PLT32, -4);
	small.resolved[1].address = 0x123456789abc;
	assert_int_equal(small_link(&small, 0x7f0000000000), 0);
	memcpy(&to_jump, small.bytes + 16, 4);
	const uint8_t *jump = small.bytes + 20 + to_jump;
	assert_memory_equal(jump, "\xf3\x0f\x1e\xfa\xff\x25", 6);
	memcpy(&to_slot, jump + 6, 4);
	memcpy(&slot, jump + 10 + to_slot, 8);
	assert_int_equal(slot, 0x123456789abc);
	/* The address of a function may be that of its far call, where nothing else fits. */
	small_make(&small, R_X86_64_32, 0);
	small.resolved[1] = (struct hp_resolved){.address = 0x123456789abc, .is_function = true};
	assert_int_equal(small_link(&small, 0x10000), 0);
}

static void expect_sentence(struct small *small, int code, const char *why)
{
	int r = small_link(small, 0x10000);
	if (r != code || !strstr(small->err.text, why))
		fail_msg("%d \"%s\", expected %d \"%s\"", r, small->err.text, code, why);
}

static void test_refused(void **state)
{
	struct small small;
	(void)state;

	small_make(&small, R_X86_64_COPY, 0);
	expect_sentence(&small, HOTPATCH_EINVAL,
	                "'fix.hp': section '.text.serve' + 0x10: relocation type 5 of 'environ'");
	small_make(&small, 0xffffffff, 0);
	expect_sentence(&small, HOTPATCH_EINVAL, "relocation type 4294967295 of 'environ' is not known");
	small_make(&small, R_X86_64_TPOFF32, 0);
	expect_sentence(&small, HOTPATCH_EINVAL, "R_X86_64_TPOFF32 of 'environ' is not thread-local");
	small_make(&small, R_X86_64_TPOFF32, 0);
	small.resolved[1] = (struct hp_resolved){.is_thread_local = true, .tls_module = 3};
	expect_sentence(&small, HOTPATCH_EINVAL, "loaded by dlopen");
	small_make(&small, R_X86_64_GOTTPOFF, -4);
	small.resolved[1] = (struct hp_resolved){.is_thread_local = true, .tls_module = 3};
	expect_sentence(&small, HOTPATCH_EINVAL, "loaded by dlopen");
	small_make(&small, R_X86_64_PC32, 0);
	small.resolved[1] = (struct hp_resolved){.is_thread_local = true, .tls_module = 3};
	expect_sentence(&small, HOTPATCH_EINVAL, "takes a thread-local variable for an ordinary one");
	small_make(&small, R_X86_64_GOTPC32_TLSDESC, -4);
	small.resolved[1] = (struct hp_resolved){.is_thread_local = true, .is_static_tls = true};
	expect_sentence(&small, HOTPATCH_EINVAL, "stands in an instruction that is not known");
	small_make(&small, R_X86_64_PC32, 0);
	small.reloc.offset = 61;
	expect_sentence(&small, HOTPATCH_EINVAL, "lies outside of the section");
}

static void test_sections_refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t flags, size;
		const char *name, *why;
	} bad[] = {
		{SHT_NOBITS, SHF_ALLOC | SHF_WRITE | SHF_TLS, 4, ".tbss", "thread-local"},
		{SHT_INIT_ARRAY, SHF_ALLOC | SHF_WRITE, 8, ".init_array", "a running one is past"},
		{SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 8, ".ctors", "a running one is past"},
		{SHT_NOBITS, SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR, 8, ".both", "writable and executable"},
		{SHT_NOBITS, SHF_ALLOC | SHF_WRITE, UINT64_C(1) << 40, ".bss", "bytes of memory"},
		{SHT_NOBITS, SHF_ALLOC | SHF_WRITE, UINT64_MAX - 100, ".bss", "bytes of memory"},
		{SHT_PROGBITS, SHF_ALLOC, 13, ".eh_frame", "not padded"},
	};
	struct small small;
	(void)state;

	for (size_t i = 0; i < COUNT(bad); i++) {
		small_make(&small, R_X86_64_PC32, 0);
		small.sections[2].type = bad[i].type;
		small.sections[2].flags = bad[i].flags;
		small.sections[2].size = bad[i].size;
		small.sections[2].name = bad[i].name;
		expect_sentence(&small, HOTPATCH_EINVAL, bad[i].why);
		assert_non_null(strstr(small.err.text, "fix.hp"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linked),  cmocka_unit_test(test_ranges),           cmocka_unit_test(test_far),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_sections_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
