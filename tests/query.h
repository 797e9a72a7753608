/* query - asking the inspect plugin about the fixture libraries, for test_symbols and test_damaged. */
#ifndef HP_TESTS_QUERY_H
#define HP_TESTS_QUERY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspect/plugin.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_FOUND 256

static const char *const compilers[] = {"gcc", "clang"};

static inline const char *fixture(const char *cc, const char *name)
{
	static char paths[8][4096];
	static unsigned next;
	const char *folder = getenv("HP_FIXTURES");
	char *path = paths[next++ % COUNT(paths)];

	assert_non_null(folder);
	snprintf(path, sizeof(paths[0]), "%s/%s/%s", folder, cc, name);
	return path;
}

/* Runs the body for each compiler whose fixtures are there; at least one has to be. */
static inline void for_each_compiler(void (*body)(const char *cc))
{
	unsigned n = 0;

	for (size_t i = 0; i < COUNT(compilers); i++) {
		if (access(fixture(compilers[i], "libsymbols.so"), R_OK) != 0)
			continue;
		body(compilers[i]);
		n++;
	}
	assert_true(n > 0);
}

/* -- Asking ---------------------------------------------------------------------------------------------------- */

struct found {
	struct hp_symbol symbols[MAX_FOUND];
	size_t count;
};

static inline int keep(const struct hp_symbol *symbol, void *arg)
{
	struct found *found = arg;
	if (found->count < MAX_FOUND)
		found->symbols[found->count++] = *symbol;
	return 0;
}

static inline struct found *find(const char *path, struct hp_query query)
{
	static struct found found;
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};

	found.count = 0;
	if (hp_inspector.functions(&module, &query, keep, &found, &err) != 0)
		fail_msg("%s: %s", path, err.text);
	for (size_t i = 1; i < found.count; i++)
		assert_true(found.symbols[i - 1].value < found.symbols[i].value);
	return &found;
}

/* The only function of that name. */
static inline struct hp_symbol find_one(const char *path, const char *name)
{
	struct found *found = find(path, (struct hp_query){.name = name});
	if (found->count != 1)
		fail_msg("%s: %zu functions '%s'", path, found->count, name);
	return found->symbols[0];
}

static inline void expect_library(const char *path, int code, const char *why)
{
	struct hp_module module = {.path = path, .name = "it"};
	struct hp_err err = {0};
	int r = hp_inspector.check_library(&module, &err);

	if (r != code || !strstr(err.text, why))
		fail_msg("%s: %d \"%s\", expected %d \"%s\"", path, r, err.text, code, why);
}

#endif
