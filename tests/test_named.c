/* test_named - which files a diff names, and that what is not below the root is refused, whatever its name begins with.
 *
 * Seen to fail: with a folder beside the root, whose name begins with the root's, taken for one below it (the fuzz
 * target named found that); with each name taken as often as it stands there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/named.h"

/* names: a blank behind each. */
static void check_names(const char *text, int strip, const char *names)
{
	struct hp_named named;
	struct hp_err err;
	char found[400] = "";

	if (hp_named_read(text, "/w/src", strip, &named, &err) != 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < named.n; i++) {
		strcat(found, named.v[i]);
		strcat(found, " ");
	}
	assert_string_equal(found, names);
	hp_named_free(&named);
}

static void check_refused(const char *text, const char *why)
{
	struct hp_named named;
	struct hp_err err;

	assert_int_equal(hp_named_read(text, "/w/src", 1, &named, &err), HOTPATCH_EBUILD);
	assert_string_equal(err.text, why);
	hp_named_free(&named);
}

static void test_names(void **state)
{
	(void)state;
	check_names("--- a/x.c\t2026-11-26\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n--- a/y.h\n+++ b/y.h\n", 1,
	            "/w/src/x.c /w/src/y.h ");
	check_names("--- /dev/null\n+++ b/sub/./new.c\r\n", 1, "/w/src/sub/new.c ");
	check_names("--- x.c\n+++ y.c\n", 0, "/w/src/x.c /w/src/y.c ");
	check_names("--- x.c\n+++ y.c\n", 1, "");
	check_names("--- a/x.c\nsome text\n+++ b/x.c\n", 1, "");
	check_names("--- a//b/x.c\n+++ a/q/../x.c\n", 1, "/w/src/b/x.c /w/src/x.c ");
	check_names("", 1, "");
}

static void test_outside(void **state)
{
	(void)state;
	check_refused("--- a/../x.c\n+++ b/x.c\n", "the diff names '../x.c', which is not below '/w/src'");
	check_refused("--- a/../src2/x.c\n+++ b/x.c\n", "the diff names '../src2/x.c', which is not below '/w/src'");
	check_refused("--- a/.\n+++ b/x.c\n", "the diff names '.', which is not below '/w/src'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_outside)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
