/* badinput - B43: what makes no sense is refused, with its own code and sentence, and changes nothing.
 *
 * Addresses that are no function, files that are no library, libraries that do not fit, options and states that cannot
 * be. CHECK_CODE holds each message to being there and to ending in whether anything was changed; here it is also seen
 * to name what it is about. At the end text and data are what they were.
 *
 * Seen to fail: with addresses inside functions taken for entries, types not compared, and jumps not taken back.
 */
#include "check.h"
#include "maps.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { OLD = 1, NEW = 2 };

struct point {
	int x, y;
};

HOTPATCHABLE int target(int a)
{
	return a + OLD;
}

HOTPATCHABLE int moved(struct point *point)
{
	return point->x + OLD;
}

HOTPATCHABLE_AS("bad::twice") int twice(int a)
{
	return a + OLD;
}

HOTPATCHABLE int nowhere(int a)
{
	return a + OLD;
}

APART int fresh(int a)
{
	return a + NEW;
}

static int not_code[16];

static const struct hotpatch_options defaults = {.size = sizeof(defaults)};

static int fn_at(const void *fn, const void *body, const struct hotpatch_options *options)
{
	return hotpatch_fn_at(hotpatch_marks_(), "target", (hotpatch_any)(uintptr_t)fn, (hotpatch_any)(uintptr_t)body,
	                      options);
}

/* -- Addresses ----------------------------------------------------------------------------------------------- */

/* The plugin that reads code is not led astray either. */
static void unprepared_addresses(const void *heap, const void *stack, const void *unmapped, const char *entry,
                                 const char *body)
{
	struct hotpatch_options options = defaults;

	options.unprepared = true;
	CHECK_CODE(fn_at(NULL, body, &options), HOTPATCH_EINVAL);
	CHECK_CODE(fn_at(heap, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(stack, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(not_code, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at("text", body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(unmapped, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at((void *)16, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at((void *)0x8000000000000000, body, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(body + 1, entry, &options), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry - 1, body, &options), HOTPATCH_ENOTFUNC);
}

static void addresses(void)
{
	volatile uintptr_t at = (uintptr_t)target;
	const char *entry = (const char *)at, *body = (const char *)(uintptr_t)fresh;
	char *heap = malloc(64), stack[64] = {0};
	void *unmapped = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK_CODE(fn_at(NULL, body, &defaults), HOTPATCH_EINVAL);
	CHECK_CODE(fn_at(heap, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(stack, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(not_code, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at("text", body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(unmapped, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at((void *)16, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at((void *)-4096, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at((void *)0x8000000000000000, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry + 1, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry + 5, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry - 1, body, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry, NULL, &defaults), HOTPATCH_EINVAL);
	CHECK_CODE(fn_at(entry, heap, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry, not_code, &defaults), HOTPATCH_ENOTFUNC);
	CHECK_CODE(fn_at(entry, entry, &defaults), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_restore_at(hotpatch_marks_(), "target", NULL, &defaults), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_restore_at(hotpatch_marks_(), "target", (hotpatch_any)(uintptr_t)heap, &defaults),
	           HOTPATCH_ENOTFUNC);
	unprepared_addresses(heap, stack, unmapped, entry, body);
	munmap(unmapped, 4096);
	free(heap);
}

/* -- Files --------------------------------------------------------------------------------------------------- */

/* Writes the first `size` bytes of a library, or some text, to a file of the test's own. */
static const char *file_of(const char *library, size_t size, size_t spoil_at, unsigned char spoil_with)
{
	static const char path[] = "./badinput.tmp.so";
	static char bytes[1 << 21];
	int in = open(library, O_RDONLY | O_CLOEXEC), out;
	ssize_t n;

	CHECK(in >= 0);
	n = read(in, bytes, size < sizeof(bytes) ? size : sizeof(bytes));
	close(in);
	CHECK(n >= 0);
	if (spoil_at < (size_t)n)
		bytes[spoil_at] = (char)spoil_with;
	unlink(path);
	out = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	CHECK(out >= 0 && write(out, bytes, (size_t)n) == n);
	close(out);
	return path;
}

#define WHOLE SIZE_MAX
#define GOOD "./badinput.libA.so"

/* A truncated file may be found out by the runtime or by the dynamic linker. */
static void truncated(size_t size)
{
	const char *path = file_of(GOOD, size, WHOLE, 0);
	int r = hotpatch_lib(target, path);

	if (r != HOTPATCH_ENOTELF && r != HOTPATCH_ELOAD)
		FAIL("a library cut to %zu bytes gives %d: %s", size, r, hotpatch_error()->message);
	check_error(__FILE__, __LINE__, "a truncated library", r);
	CHECK_SAYS("badinput.tmp.so");
}

static void files(void)
{
	CHECK_CODE(hotpatch_lib(target, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_load(NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_lib(target, "./badinput.missing.so"), HOTPATCH_ENOFILE);
	CHECK_SAYS("badinput.missing.so");
	CHECK_CODE(hotpatch_load("./badinput.missing.so"), HOTPATCH_ENOFILE);
	CHECK_SAYS("badinput.missing.so");
	CHECK(hotpatch_lib(target, "") != HOTPATCH_OK);
	CHECK(hotpatch_lib(target, "/") != HOTPATCH_OK);
	CHECK_CODE(hotpatch_lib(target, "/proc/self/maps"), HOTPATCH_ENOTELF);
	CHECK_SAYS("/proc/self/maps");
	CHECK_CODE(hotpatch_lib(target, file_of("/proc/self/cmdline", WHOLE, WHOLE, 0)), HOTPATCH_ENOTELF);
	CHECK_CODE(hotpatch_lib(target, file_of(GOOD, 0, WHOLE, 0)), HOTPATCH_ENOTELF);
	CHECK_CODE(hotpatch_lib(target, file_of(GOOD, WHOLE, 4, 1)), HOTPATCH_ENOTELF);     /* of 32 bits */
	CHECK_CODE(hotpatch_lib(target, file_of(GOOD, WHOLE, 5, 2)), HOTPATCH_ENOTELF);     /* big endian */
	CHECK_CODE(hotpatch_lib(target, file_of(GOOD, WHOLE, 16, 1)), HOTPATCH_ENOTELF);    /* an object file */
	CHECK_CODE(hotpatch_lib(target, file_of(GOOD, WHOLE, 18, 0xb7)), HOTPATCH_ENOTELF); /* for aarch64 */
	CHECK_CODE(hotpatch_load(file_of(GOOD, WHOLE, 18, 0xb7)), HOTPATCH_ENOTELF);
	truncated(4);
	truncated(20);
	truncated(64);
	truncated(300);
	truncated(4096);
	CHECK_CODE(hotpatch_lib(target, "./badinput.libD.so"), HOTPATCH_ELOAD);
	CHECK_SAYS("badinput_is_not_defined_anywhere");
	unlink("./badinput.tmp.so");
}

/* -- Libraries that do not fit ------------------------------------------------------------------------------- */

static void libraries(void)
{
	CHECK_CODE(hotpatch_lib(nowhere, GOOD), HOTPATCH_ENOSYM);
	CHECK_SAYS("nowhere");
	CHECK_SAYS("badinput.libA.so");
	CHECK_CODE(hotpatch_lib(moved, GOOD), HOTPATCH_ETYPE);
	CHECK_SAYS("point");
	CHECK_CODE(hotpatch_lib(twice, GOOD), HOTPATCH_EAMBIGUOUS);
	CHECK_SAYS("bad::twice");
	CHECK_CODE(hotpatch_load("./badinput.libB.so"), HOTPATCH_ENOSYM); /* nothing is marked */
	CHECK_SAYS("badinput.libB.so");
	CHECK_CODE(hotpatch_load("./badinput.libC.so"), HOTPATCH_ENOSYM); /* the program lacks one of two */
	CHECK_SAYS("the_program_has_no_such_function");
	CHECK_INT(target(0), OLD);
	/* With the check switched off the type is the caller's word. */
	CHECK_OK(hotpatch_lib(moved, GOOD, .unchecked = true));
	CHECK_OK(hotpatch_restore(moved));
	CHECK(hotpatch_unload("./badinput.never-loaded.so") != HOTPATCH_OK);
}

/* -- Options ------------------------------------------------------------------------------------------------- */

static void options(void)
{
	struct hotpatch_options absurd = defaults;
	const void *entry = (const void *)(uintptr_t)target, *body = (const void *)(uintptr_t)fresh;

	CHECK_CODE(hotpatch_fn(target, fresh, .mode = (enum hotpatch_mode)99), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_fn(target, fresh, .mode = (enum hotpatch_mode)UINT_MAX), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_restore(target, .mode = (enum hotpatch_mode)4), HOTPATCH_EINVAL);
	absurd.size = 0;
	CHECK_CODE(fn_at(entry, body, &absurd), HOTPATCH_EINVAL);
	absurd.size = 1;
	CHECK_CODE(fn_at(entry, body, &absurd), HOTPATCH_EINVAL);
	absurd.size = SIZE_MAX;
	CHECK_CODE(fn_at(entry, body, &absurd), HOTPATCH_EINVAL);
	CHECK_INT(target(0), OLD);
	CHECK_CODE(hotpatch_fn(target, fresh, .timeout_ms = UINT32_MAX), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_fn(target, fresh, .stall_ms = UINT32_MAX), HOTPATCH_EINVAL);
	CHECK_OK(hotpatch_fn(target, fresh, .timeout_ms = 3600000, .stall_ms = 3600000));
	CHECK_INT(target(0), NEW);
	CHECK_OK(hotpatch_restore(target, .timeout_ms = 20000));
}

/* -- States -------------------------------------------------------------------------------------------------- */

static int ignore(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)patch, (void)event, (void)arg;
	return 0;
}

static void arguments_of_sets(struct hotpatch *patch)
{
	CHECK(hotpatch_new(NULL) == NULL);
	CHECK_INT(hotpatch_error()->code, HOTPATCH_EINVAL);
	CHECK_OK(hotpatch_free(NULL));
	CHECK_CODE(hotpatch_apply(NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_revert(NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_replace(NULL, target, fresh), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_replace_lib(patch, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_replace_lib(NULL, GOOD), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_on(patch, (enum hotpatch_event)17, ignore, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_on(patch, HOTPATCH_PRE_APPLY, NULL, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_on(NULL, HOTPATCH_PRE_APPLY, ignore, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_for_each(NULL, NULL), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_stack_add(NULL, 4096), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_stack_add(not_code, 0), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_stack_remove(not_code), HOTPATCH_EINVAL);
}

static void states(void)
{
	struct hotpatch *patch = hotpatch_new("states");

	arguments_of_sets(patch);
	CHECK_OK(hotpatch_replace(patch, target, fresh));
	CHECK_CODE(hotpatch_revert(patch), HOTPATCH_ESTATE);
	CHECK_OK(hotpatch_apply(patch));
	CHECK_CODE(hotpatch_apply(patch), HOTPATCH_ESTATE);
	CHECK_SAYS("states");
	CHECK_CODE(hotpatch_free(patch), HOTPATCH_ESTATE);
	CHECK_CODE(hotpatch_replace(patch, nowhere, fresh), HOTPATCH_ESTATE);
	CHECK_INT(target(0), NEW);
	CHECK_INT(nowhere(0), OLD);
	CHECK_OK(hotpatch_revert(patch));
	CHECK_CODE(hotpatch_revert(patch), HOTPATCH_ESTATE);
	CHECK_INT(target(0), OLD);
	CHECK_OK(hotpatch_free(patch));
}

/* When it is found out is the runtime's choice. */
static void the_same_twice(void)
{
	struct hotpatch *patch = hotpatch_new("twice");
	int r;

	CHECK_OK(hotpatch_replace(patch, nowhere, fresh));
	CHECK_OK(hotpatch_replace(patch, target, fresh));
	r = hotpatch_replace(patch, target, fresh);
	if (r == HOTPATCH_OK)
		r = hotpatch_apply(patch);
	CHECK_CODE(r, HOTPATCH_EINVAL);
	CHECK_SAYS("target");
	CHECK_INT(nowhere(0), OLD);
	CHECK_OK(hotpatch_free(patch));
}

static void names(void)
{
	CHECK_STR(hotpatch_code_name(0), "HOTPATCH_OK");
	CHECK_STR(hotpatch_code_name(HOTPATCH_EBUSY), "HOTPATCH_EBUSY");
	CHECK_STR(hotpatch_code_name(HOTPATCH_EDISABLED), "HOTPATCH_EDISABLED");
	CHECK(hotpatch_code_name(1) == NULL && hotpatch_code_name(-1000) == NULL);
	CHECK(hotpatch_error() != NULL);
	CHECK_INT(hotpatch_error()->code, HOTPATCH_OK); /* nothing has failed yet */
}

/* What the test does cannot show in the program's data: its state lies on stacks. But a static buffer fills. */
int main(void)
{
	struct snapshot before;
	struct point point = {5, 6};

	deadline(30);
	names();
	file_of(GOOD, WHOLE, WHOLE, 0); /* the static buffer of it is filled with what it will hold at the end */
	before = snapshot_take();
	addresses();
	options();
	states();
	the_same_twice();
	files();
	libraries();
	file_of(GOOD, WHOLE, WHOLE, 0);
	unlink("./badinput.tmp.so");
	snapshot_check(before, "after all bad input");
	CHECK_INT(target(0) + nowhere(0) + twice(0), 3 * OLD);
	CHECK_INT(moved(&point), 5 + OLD);
	CHECK_OK(hotpatch_lib(target, GOOD));
	CHECK_INT(target(0), NEW);
	CHECK_OK(hotpatch_restore(target));
	return 0;
}
