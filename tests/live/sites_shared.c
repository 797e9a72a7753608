/* sites_shared - functions of a shared object are patched where they are, however the program came by their address.
 *
 * build: ldflags=./sites_shared.libA.so variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-nopie,gcc-O2-cet,clang-O2-cet
 *
 * The library is linked and one more is opened with dlopen. In a program that is not position independent the address
 * of a library's function is that of the program's own procedure linkage entry; the function itself must be patched, so
 * that the library's calls of it change as well. Text is compared before and after.
 *
 * Seen to fail: (no PIE) with linkage entries not followed, and with those not followed that the dynamic linker had
 * not filled in yet.
 */
#include "check.h"
#include "sites_shared.h"

#include <dlfcn.h>

APART int plus_20(int a)
{
	return a + 20;
}

APART int plus_30(int a)
{
	return a + 30;
}

/* A volatile pointer, so that the call goes where the address is and no compiler knows better. */
static int through(shared_function *volatile function)
{
	return function(0);
}

static void check_calls(const struct shared *shared, int want)
{
	CHECK_INT(through(shared->exported), want);
	CHECK_INT(shared->call_exported(0), want);
}

static void check_text(const struct shared *shared, const unsigned char *before)
{
	for (int i = 0; i < SHARED_TEXT; i++)
		if (shared->text[i] != before[i])
			FAIL("byte %d of the library's text is %02x and was %02x", i, shared->text[i], before[i]);
}

/* The address as this program sees it, which may be a linkage entry of its own, and one that the dynamic linker fills
 * in at the first call only: which is after the first change. */
static void linked(void)
{
	const struct shared *shared = sites_shared();
	unsigned char text[SHARED_TEXT];

	memcpy(text, shared->text, sizeof(text));
	CHECK_OK(hotpatch_fn(shared_exported, plus_20));
	check_calls(shared, 20);
	CHECK_OK(hotpatch_restore(shared_exported));
	check_text(shared, text);
	for (int round = 0; round < 2; round++) {
		CHECK_INT(shared_exported(0), 10);
		check_calls(shared, 10);
		CHECK_OK(hotpatch_fn(shared_exported, plus_20));
		CHECK_INT(shared_exported(0), 20);
		check_calls(shared, 20);
		CHECK_OK(hotpatch_fn(shared_exported, plus_30));
		CHECK_INT(shared_exported(0), 30);
		check_calls(shared, 30);
		CHECK_INT(hotpatch_original(shared_exported)(0), 10);
		CHECK_OK(hotpatch_restore(shared_exported));
		check_calls(shared, 10);
		check_text(shared, text);
	}
}

/* What the program cannot name: static and hidden functions, by addresses the library hands out. */
static void handed_out(const struct shared *shared, shared_function *function)
{
	unsigned char text[SHARED_TEXT];

	memcpy(text, shared->text, sizeof(text));
	CHECK_INT(through(function), 10);
	CHECK_OK(hotpatch_fn(function, plus_20));
	CHECK_INT(through(function), 20);
	CHECK_OK(hotpatch_fn(function, plus_30));
	CHECK_INT(through(function), 30);
	CHECK_OK(hotpatch_restore(function));
	CHECK_INT(through(function), 10);
	check_text(shared, text);
}

static void opened(void)
{
	void *library = dlopen("./sites_shared.libB.so", RTLD_NOW | RTLD_LOCAL);
	const struct shared *(*get)(void);

	if (library == NULL)
		FAIL("dlopen: %s", dlerror());
	*(void **)&get = dlsym(library, "sites_opened");
	CHECK(get != NULL);
	handed_out(get(), get()->exported);
	handed_out(get(), get()->hidden);
	/* Restored, it may go. */
	CHECK_INT(dlclose(library), 0);
}

int main(void)
{
	deadline(30);
	linked();
	handed_out(sites_shared(), sites_shared()->hidden);
	handed_out(sites_shared(), sites_shared()->local);
	opened();
	return 0;
}
