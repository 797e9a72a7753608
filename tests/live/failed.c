/* failed - B26: a change that fails, for whatever reason, leaves every byte as it was.
 *
 * Around each failure all executable mappings of files and the program's own data are compared byte for byte: a
 * timeout, a function in use, the thread's own stack, one bad function in a set, another type, a missing library, a
 * veto. Each once with nothing patched, and once above a change that is in force and must stay so.
 *
 * Seen to fail: with jumps not taken back after a failure, sleeping threads taken for outside, and types not compared.
 */
#include "check.h"
#include "maps.h"

enum { OLD = 1, NEW = 2, OTHER = 3 };

/* What the test itself changes lies on the heap, so that the program's data holds still. */
struct state {
	sem_t inside, leave;
	void (*at_bottom)(void);
	int expected; /* what the functions return now */
};

static struct state *state;

HOTPATCHABLE int one(int stays)
{
	if (stays) {
		give(&state->inside);
		take(&state->leave);
	}
	if (state->at_bottom != NULL)
		state->at_bottom();
	return OLD;
}

APART int one_new(int stays)
{
	if (stays) {
		give(&state->inside);
		take(&state->leave);
	}
	if (state->at_bottom != NULL)
		state->at_bottom();
	return NEW;
}

APART int one_other(int stays)
{
	return stays ? -OTHER : OTHER;
}

/* The library has it with another type. */
HOTPATCHABLE int two(int a)
{
	return a + OLD;
}

APART int two_new(int a)
{
	return a + NEW;
}

APART int two_other(int a)
{
	return a + OTHER;
}

__attribute__((patchable_function_entry(0, 0))) APART int unprepared(int a)
{
	return a + OLD;
}

static struct hotpatch *set_of_others(void)
{
	struct hotpatch *patch = hotpatch_new("others");

	CHECK_OK(hotpatch_replace(patch, two, two_other));
	CHECK_OK(hotpatch_replace(patch, one, one_other));
	return patch;
}

/* -- The failures -------------------------------------------------------------------------------------------- */

static void *occupant(void *arg)
{
	one(1);
	return arg;
}

static void in_use(void)
{
	struct hotpatch *patch = set_of_others();
	pthread_t thread = thread_start(occupant, NULL);

	take(&state->inside);
	CHECK_CODE(hotpatch_apply(patch, .timeout_ms = 50, .stall_ms = 10), HOTPATCH_ETIMEDOUT);
	CHECK_CODE(hotpatch_apply(patch, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	give(&state->leave);
	thread_join(thread);
	CHECK_OK(hotpatch_free(patch));
}

static void change_from_inside(void)
{
	struct hotpatch *patch = set_of_others();

	CHECK_CODE(hotpatch_apply(patch), HOTPATCH_EDEADLK);
	CHECK_OK(hotpatch_free(patch));
}

static void own_stack(void)
{
	state->at_bottom = change_from_inside;
	one(0);
	state->at_bottom = NULL;
}

/* When it is found out is the runtime's choice. */
static void bad_member(void)
{
	struct hotpatch *patch = set_of_others();
	int r = hotpatch_replace(patch, unprepared, two_new);

	if (r == HOTPATCH_OK)
		r = hotpatch_apply(patch);
	CHECK_CODE(r, HOTPATCH_ENOTPREPARED);
	CHECK_OK(hotpatch_free(patch));
}

static void type(void)
{
	CHECK_CODE(hotpatch_lib(two, "./failed.libA.so"), HOTPATCH_ETYPE);
	CHECK_CODE(hotpatch_load("./failed.libA.so"), HOTPATCH_ETYPE);
}

static void missing(void)
{
	CHECK_CODE(hotpatch_lib(one, "./failed.libMissing.so"), HOTPATCH_ENOFILE);
	CHECK_CODE(hotpatch_load("./failed.libMissing.so"), HOTPATCH_ENOFILE);
}

static int refuse(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)patch, (void)event, (void)arg;
	return 1;
}

static int agree(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)patch, (void)event, (void)arg;
	return 0;
}

static void veto(void)
{
	struct hotpatch *patch = set_of_others();

	CHECK_OK(hotpatch_on(patch, HOTPATCH_PRE_APPLY, agree, NULL));
	CHECK_OK(hotpatch_on(patch, HOTPATCH_PRE_APPLY, refuse, NULL));
	CHECK_CODE(hotpatch_apply(patch), HOTPATCH_EVETO);
	CHECK_CODE(hotpatch_apply(patch, .mode = HOTPATCH_FORCE), HOTPATCH_EVETO);
	CHECK_OK(hotpatch_free(patch));
}

/* -- A large set ---------------------------------------------------------------------------------------------- */

/* clang-format off */
#define ONE(a, b) HOTPATCHABLE int many_##a##b(int n) { return n + OLD; }
#define EIGHT(a) ONE(a, 0) ONE(a, 1) ONE(a, 2) ONE(a, 3) ONE(a, 4) ONE(a, 5) ONE(a, 6) ONE(a, 7)
EIGHT(0) EIGHT(1) EIGHT(2) EIGHT(3) EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7)
#define NAME(a, b) many_##a##b,
#define NAMES(a) NAME(a, 0) NAME(a, 1) NAME(a, 2) NAME(a, 3) NAME(a, 4) NAME(a, 5) NAME(a, 6) NAME(a, 7)
static int (*const many[])(int) = {
	NAMES(0) NAMES(1) NAMES(2) NAMES(3) NAMES(4) NAMES(5) NAMES(6) NAMES(7)
};
/* clang-format on */

static int add_again(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)event, (void)arg;
	return hotpatch_replace(patch, many_00, two_new);
}

/* Sets of so many are looked through when they are applied, and what a callback has added then is part of them. Seen to
 * fail: the set was applied with a function in it twice. */
static void added_twice(void)
{
	struct hotpatch *patch = hotpatch_new("many");

	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		CHECK_OK(hotpatch_replace(patch, many[i], two_new));
	CHECK_OK(hotpatch_on(patch, HOTPATCH_PRE_APPLY, add_again, NULL));
	CHECK_CODE(hotpatch_apply(patch), HOTPATCH_EINVAL);
	CHECK_SAYS("twice");
	CHECK_INT(many_00(0), OLD);
	CHECK_OK(hotpatch_free(patch));
}

/* -- Around them --------------------------------------------------------------------------------------------- */

static void around(const char *name, void (*fail)(void))
{
	struct snapshot before = snapshot_take();

	fail();
	snapshot_check(before, name);
	CHECK_INT(one(0), state->expected);
	CHECK_INT(two(0), state->expected);
	CHECK_INT(unprepared(0), OLD);
}

static void all_failures(int expected)
{
	state->expected = expected;
	for (int i = 0; i < 2; i++) {
		around("in use", in_use);
		around("own stack", own_stack);
		around("a bad member", bad_member);
		if (!is_static()) {
			around("another type", type);
			around("a missing library", missing);
		}
		around("a veto", veto);
		around("a function added twice", added_twice);
	}
}

static void veto_of_revert(struct hotpatch *patch)
{
	struct snapshot before = snapshot_take();

	CHECK_CODE(hotpatch_revert(patch), HOTPATCH_EVETO);
	snapshot_check(before, "a veto against the revert");
	CHECK_INT(one(0), NEW);
	CHECK_INT(two(0), NEW);
}

int main(void)
{
	struct hotpatch *below = hotpatch_new("below"), *kept = hotpatch_new("kept");

	deadline(30);
	state = calloc(1, sizeof(*state));
	CHECK(state != NULL);
	sem_init(&state->inside, 0, 0);
	sem_init(&state->leave, 0, 0);
	all_failures(OLD);
	CHECK_OK(hotpatch_replace(below, one, one_new));
	CHECK_OK(hotpatch_replace(below, two, two_new));
	CHECK_OK(hotpatch_apply(below));
	all_failures(NEW);
	CHECK_OK(hotpatch_revert(below));
	CHECK_OK(hotpatch_free(below));
	all_failures(OLD);
	CHECK_OK(hotpatch_replace(kept, one, one_new));
	CHECK_OK(hotpatch_replace(kept, two, two_new));
	CHECK_OK(hotpatch_on(kept, HOTPATCH_PRE_REVERT, refuse, NULL));
	CHECK_OK(hotpatch_apply(kept));
	veto_of_revert(kept);
	return 0;
}
