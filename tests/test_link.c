/* test_link - that a patch is matched, resolved and linked against a process: the statics it means are those of its
 * unit, and everything that does not fit is refused by name, before anything is changed.
 *
 * The process is this one, and the agent the functions of near_agent.h, which do in place what the real one does at the
 * other end of a socket. The new code (fixtures/patched.c) is called where it was linked to. Seen to fail: with the
 * hash not compared, with variables of an earlier patch not found, with weak symbols refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "near_agent.h"
#include "object.h"
#include "remote/link.h"
#include "link/notes.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* -- What the patch changes and refers to: the unit test_link.c of this program --------------------------------- */

int shared_global = 3;
static volatile int counter = 40;
static __thread volatile int depth;

__attribute__((noinline, used)) static int helper(int n)
{
	return n + 1 + shared_global * 0;
}

__attribute__((noinline, used)) int serve(int n)
{
	return counter + depth + n;
}

__attribute__((noinline, used)) static const char *word(int n)
{
	return n ? "some" : "none";
}

/* -- The patch
 * ---------------------------------------------------------------------------------------------------------- */

struct patch {
	struct hp_patchfile *file;
	struct hp_patch_change changes[2];
	struct hp_patch_binding bindings[16];
	struct hp_patch_define defines[2];
	struct hp_patch_unit unit;
	struct hp_patch_local locals[4];
	const char *names[2];
	struct hp_remote remote;
	struct hp_err err;
};

static uint64_t size_of(const char *name)
{
	struct hp_patchfile *self = object_read("/proc/self/exe");
	uint64_t size = self->symbols[object_symbol(self, name)].size;
	object_free(self);
	assert_true(size > 0);
	return size;
}

static void set_change(struct patch *patch, size_t i, const char *name, const void *code, uint32_t unit)
{
	patch->changes[i] = (struct hp_patch_change){
		.symbol = object_symbol(patch->file, name),
		.unit = unit,
		.name = name,
		.path = "",
		.old_size = size_of(name),
	};
	hp_code_hash(code, patch->changes[i].old_size, NULL, 0, patch->changes[i].old_hash);
}

static void set_bindings(struct patch *patch)
{
	static const char *const of_unit[] = {"counter", "helper", "depth"};
	struct hp_patchfile *file = patch->file;

	file->bindings = patch->bindings;
	for (uint32_t i = 1; i < file->n_symbols; i++) {
		struct hp_patch_symbol *symbol = &file->symbols[i];
		if (symbol->section || !symbol->name[0] || symbol->type == STT_FILE)
			continue;
		bool is_static = false;
		for (size_t k = 0; k < COUNT(of_unit); k++)
			is_static |= strcmp(of_unit[k], symbol->name) == 0;
		assert_true(file->n_bindings < COUNT(patch->bindings));
		patch->bindings[file->n_bindings] = (struct hp_patch_binding){
			.symbol = i,
			.kind = symbol->type == STT_TLS ? HP_PATCH_THREAD_LOCAL : HP_PATCH_UNKNOWN,
			.flags = symbol->bind == STB_WEAK ? HP_BINDING_WEAK : 0,
			.unit = is_static ? 0 : HP_NO_UNIT,
			.name = symbol->name,
			.scope = symbol->name,
		};
		symbol->binding = (uint32_t)file->n_bindings++;
	}
}

/* In a patch file references to a variable are to its symbol; compilers make them to its section. */
static void name_references(struct hp_patchfile *file, uint32_t variable)
{
	for (size_t i = 1; i < file->n_sections; i++)
		for (size_t k = 0; k < file->sections[i].n_relocs; k++) {
			const struct hp_patch_symbol *symbol = &file->symbols[file->sections[i].relocs[k].symbol];
			if (symbol->type == STT_SECTION && symbol->section == file->symbols[variable].section)
				file->sections[i].relocs[k].symbol = variable;
		}
}

static void patch_make(struct patch *patch, const char *cc)
{
	char path[4096];

	memset(patch, 0, sizeof(*patch));
	patch->remote.hello.page_size = NEAR_PAGE;
	snprintf(path, sizeof(path), "%s/%s/patched.o", getenv("HP_FIXTURES"), cc);
	struct hp_patchfile *file = patch->file = object_read(path);
	assert_non_null(file);
	file->name = "fix-1";
	file->description = file->producer = "";
	patch->locals[0] = (struct hp_patch_local){"counter", HP_PATCH_VARIABLE, 4};
	patch->locals[1] = (struct hp_patch_local){"helper", HP_PATCH_FUNCTION, 0};
	patch->locals[2] = (struct hp_patch_local){"depth", HP_PATCH_THREAD_LOCAL, 4};
	patch->unit = (struct hp_patch_unit){"test_link.c", "test_link.c", "", "", patch->locals, 3};
	file->units = &patch->unit;
	file->n_units = 1;
	set_change(patch, 0, "serve", serve, HP_NO_UNIT);
	set_change(patch, 1, "word", word, 0);
	file->changes = patch->changes;
	file->n_changes = 2;
	uint32_t calls = object_symbol(file, "calls");
	patch->defines[0] =
		(struct hp_patch_define){calls, HP_PATCH_VARIABLE, HP_DEFINE_STATIC, 0, "calls", "calls", 4, 0};
	name_references(file, calls);
	file->defines = patch->defines;
	file->n_defines = 1;
	set_bindings(patch);
}

static void patch_free(struct patch *patch)
{
	free(patch->remote.notes);
	hp_kept_free(&patch->remote.kept);
	object_free(patch->file);
}

static int prepare(struct patch *patch, bool check, struct hp_link **ret_link)
{
	struct hp_link_options options = {.check = check};
	struct hp_remote_result result;
	return hp_link_prepare(&patch->remote, patch->file, &options, ret_link, &result, &patch->err);
}

static uint64_t apply(struct patch *patch)
{
	struct hp_link *link = NULL;
	struct hp_remote_result result;

	if (prepare(patch, false, &link) != 0 || hp_link_commit(link, &result, &patch->err) != 0)
		fail_msg("%s", patch->err.text);
	hp_link_free(link);
	return patch->remote.changes[0].code;
}

/* -- Tests
 * ----------------------------------------------------------------------------------------------------------------- */

static const char *const compilers[] = {"gcc", "clang"};

static void test_applied(void **state)
{
	(void)state;

	for (size_t i = 0; i < COUNT(compilers); i++) {
		struct patch patch;
		patch_make(&patch, compilers[i]);
		counter = 40;
		depth = 0;
		int (*new_serve)(int) = (int (*)(int))apply(&patch);
		const char *(*new_word)(int) = (const char *(*)(int))patch.remote.changes[1].code;
		assert_int_equal(new_serve(2), 3 + 84 + 3 + 'A');
		assert_int_equal(counter, 42);
		assert_int_equal(depth, 1);
		assert_string_equal(new_word(9), "many");
		assert_int_equal(patch.remote.changes[0].entry, (uintptr_t)serve);
		assert_int_equal(patch.remote.changes[1].entry, (uintptr_t)word);
		assert_int_equal(patch.remote.changes[0].old[0].high - (uintptr_t)serve, size_of("serve"));
		assert_int_equal(patch.remote.dry_runs, 1);
		assert_int_equal(patch.remote.applied, 1);
		assert_int_equal(patch.remote.n_regions, 1);
		assert_int_equal(patch.remote.released, 0);
		assert_true(patch.remote.has_frames);
		patch_free(&patch);
	}
}

/* A later patch of the same unit has the same new variable: there is one. */
static void test_variable_survives(void **state)
{
	struct patch patch;
	(void)state;

	patch_make(&patch, "gcc");
	int (*serve_1)(int) = (int (*)(int))apply(&patch);
	serve_1(0);
	serve_1(0);
	patch.file->name = "fix-2";
	int (*serve_2)(int) = (int (*)(int))apply(&patch);
	assert_ptr_not_equal(serve_1, serve_2);
	serve_2(0);
	assert_int_equal(((int (*)(void))patch.remote.count)(), 3);
	patch.defines[0].size = 8;
	struct hp_link *link;
	assert_int_equal(prepare(&patch, false, &link), HOTPATCH_EREFUSED);
	assert_non_null(strstr(patch.err.text, "'calls' has 4 bytes in an earlier patch"));
	patch_free(&patch);
}

static void test_check_writes_nothing(void **state)
{
	struct patch patch;
	struct hp_link *link = NULL;
	(void)state;

	patch_make(&patch, "gcc");
	assert_int_equal(prepare(&patch, true, &link), 0);
	assert_int_equal(patch.remote.next_region, 0);
	assert_int_equal(patch.remote.dry_runs, 1);
	assert_int_equal(patch.remote.n_regions, 0);
	assert_int_equal(patch.remote.changes[0].code, 0);
	hp_link_free(link);
	patch_free(&patch);
}

/* What was prepared and not committed is given back. */
static void test_abandoned(void **state)
{
	struct patch patch;
	struct hp_link *link = NULL;
	(void)state;

	patch_make(&patch, "gcc");
	assert_int_equal(prepare(&patch, false, &link), 0);
	hp_link_free(link);
	assert_int_equal(patch.remote.released, 1);
	assert_int_equal(patch.remote.applied, 0);
	patch_free(&patch);
}

static void expect_refused(struct patch *patch, int code, const char *sentence)
{
	struct hp_link *link = NULL;
	int r = prepare(patch, true, &link);

	if (r != code || !strstr(patch->err.text, sentence))
		fail_msg("%d \"%s\", expected %d \"%s\"", r, patch->err.text, code, sentence);
	assert_int_equal(patch->remote.dry_runs, 0);
	patch_free(patch);
}

static void test_code_differs(void **state)
{
	struct patch patch;
	(void)state;

	patch_make(&patch, "gcc");
	patch.changes[0].old_hash[5] ^= 1;
	expect_refused(&patch, HOTPATCH_ECODE, "the code of 'serve' at ");
	patch_make(&patch, "gcc");
	patch.changes[1].old_hash[5] ^= 1;
	expect_refused(&patch, HOTPATCH_ECODE, "the code of 'word' of 'test_link.c' at ");
	/* Under the mask anything may stand. */
	patch_make(&patch, "gcc");
	struct hp_mask mask = {2, 3};
	patch.changes[0].masks = &mask;
	patch.changes[0].n_masks = 1;
	hp_code_hash((const uint8_t *)serve, patch.changes[0].old_size, &mask, 1, patch.changes[0].old_hash);
	struct hp_link *link = NULL;
	assert_int_equal(prepare(&patch, true, &link), 0);
	hp_link_free(link);
	patch_free(&patch);
}

static void test_names_refused(void **state)
{
	struct patch patch;
	(void)state;

	patch_make(&patch, "gcc");
	patch.changes[0].name = "no_such_function";
	expect_refused(&patch, HOTPATCH_ENOSYM, "there is no function 'no_such_function' in ");
	patch_make(&patch, "gcc");
	patch.bindings[patch.file->symbols[object_symbol(patch.file, "helper")].binding].name = "no_such_helper";
	expect_refused(&patch, HOTPATCH_ENOSYM, "refers to 'no_such_helper' of 'test_link.c'");
	patch_make(&patch, "gcc");
	patch.bindings[patch.file->symbols[object_symbol(patch.file, "toupper")].binding].name = "no_such_libc";
	expect_refused(&patch, HOTPATCH_ENOSYM, "refers to 'no_such_libc', which process");
	patch_make(&patch, "gcc");
	patch.bindings[patch.file->symbols[object_symbol(patch.file, "counter")].binding].size = 8;
	expect_refused(&patch, HOTPATCH_EREFUSED, "'counter' has 4 bytes in process");
	patch_make(&patch, "gcc");
	patch.unit.file = "another.c";
	expect_refused(&patch, HOTPATCH_ENOSYM, "there is no function 'word' of 'another.c'");
}

static void test_targets(void **state)
{
	struct patch patch;
	struct hp_patch_target target = {.name = "libnowhere.so"};
	(void)state;

	patch_make(&patch, "gcc");
	patch.file->targets = &target;
	patch.file->n_targets = 1;
	expect_refused(&patch, HOTPATCH_ENOSYM, "is for 'libnowhere.so', which process");
	patch_make(&patch, "gcc");
	target = (struct hp_patch_target){"test_link", {1, 2, 3}, 3};
	patch.file->targets = &target;
	patch.file->n_targets = 1;
	expect_refused(&patch, HOTPATCH_ECODE, "for another build of 'test_link'");
}

static void test_requires(void **state)
{
	struct patch patch;
	(void)state;

	patch_make(&patch, "gcc");
	patch.names[0] = "fix-0";
	patch.file->requires = patch.names;
	patch.file->n_requires = 1;
	expect_refused(&patch, HOTPATCH_EREFUSED, "'fix-1' requires the patch 'fix-0', which is not in force");
	/* Applied, a patch can be required; and replaced, unless another that stays requires it. */
	patch_make(&patch, "gcc");
	apply(&patch);
	patch.file->name = "fix-2";
	patch.names[0] = "fix-1";
	patch.file->replaces = patch.names;
	patch.file->n_replaces = 1;
	apply(&patch);
	assert_int_equal(patch.remote.n_replaced, 1);
	patch_free(&patch);
}

/* Notes that another version wrote, or that are damaged, are refused as a whole. */
static void test_notes(void **state)
{
	struct patch patch;
	struct hp_notes *notes = NULL;
	(void)state;

	patch_make(&patch, "gcc");
	apply(&patch);
	assert_int_equal(hp_notes_read(patch.remote.notes, patch.remote.notes_size, &notes, &patch.err), 0);
	assert_int_equal(notes->n_changes, 2);
	assert_string_equal(notes->changes[1].unit, "test_link.c");
	assert_int_equal(notes->changes[0].entry, (uintptr_t)serve);
	assert_string_equal(notes->defines[0].scope, "calls");
	hp_notes_free(notes);
	for (size_t n = 0; n < patch.remote.notes_size; n++) {
		assert_int_equal(hp_notes_read(patch.remote.notes, n, &notes, &patch.err), HOTPATCH_EINVAL);
		uint8_t *byte = (uint8_t *)patch.remote.notes + n;
		*byte ^= 0xff;
		if (hp_notes_read(patch.remote.notes, patch.remote.notes_size, &notes, &patch.err) == 0)
			hp_notes_free(notes);
		*byte ^= 0xff;
	}
	patch_free(&patch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_applied),
		cmocka_unit_test(test_variable_survives),
		cmocka_unit_test(test_check_writes_nothing),
		cmocka_unit_test(test_abandoned),
		cmocka_unit_test(test_code_differs),
		cmocka_unit_test(test_names_refused),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_requires),
		cmocka_unit_test(test_notes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
