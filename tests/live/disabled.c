/* disabled - with -DHOTPATCH_DISABLE the marks vanish and every change is refused with HOTPATCH_EDISABLED.
 *
 * build: cflags=-DHOTPATCH_DISABLE
 *
 * Seen to fail: with hotpatch_fn returning 0.
 */
#include "check.h"

HOTPATCHABLE int patched(int a)
{
	return a + 1;
}

HOTPATCHABLE static int local(int a)
{
	return a + 1;
}

static int other(int a)
{
	return a + 2;
}

int main(void)
{
	struct hotpatch *patch = hotpatch_new("nothing");

	deadline(30);
	for (int i = 0; i < 2; i++) {
		CHECK_CODE(hotpatch_fn(patched, other, .mode = HOTPATCH_TRY), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_closure(patched, other, NULL, NULL), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_lib(local, "./no.so"), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_load("./no.so"), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_restore(patched), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_replace(patch, patched, other), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_apply(patch, .timeout_ms = 1), HOTPATCH_EDISABLED);
		CHECK_CODE(hotpatch_revert(patch), HOTPATCH_EDISABLED);
	}
	CHECK_OK(hotpatch_free(patch));
	CHECK_INT(patched(1), 2);
	CHECK_INT(local(1), 2);
	CHECK_INT(hotpatch_original(patched)(1), 2);
	return 0;
}
