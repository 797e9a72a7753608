/* test_registry - every site is found, in order of address, and without memory too, in whatever order: who asks decides
 * by it whether a library is unloaded and whether a patch is live. Seen to fail: with nothing found where the memory
 * for the order could not be had; with sites that are added meanwhile written behind that memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "live/registry.h"

enum { SITES = 30 }; /* as many as the first table takes, and two more */

static struct hp_site sites[SITES], late[2];
static bool no_memory, adds_late;
static unsigned char *guard; /* behind the memory given last */
enum { GUARD = 64 };

/* Instead of libc's. What another thread may do meanwhile is done here. */
void *calloc(size_t n, size_t size)
{
	static void *(*const volatile allocate)(size_t) = malloc;
	bool adds = adds_late;
	adds_late = false;
	for (size_t i = 0; i < 2 && adds; i++)
		hp_registry_add(&late[i]);
	unsigned char *memory = no_memory || (size && n > SIZE_MAX / 2 / size) ? NULL : allocate(n * size + GUARD);
	if (!memory)
		return NULL;
	guard = memory + n * size;
	memset(guard, 0xa5, GUARD);
	return memset(memory, 0, n * size);
}

static void check_guard(void)
{
	for (size_t i = 0; i < GUARD; i++)
		assert_int_equal(guard[i], 0xa5);
}

struct seen {
	size_t n;
	bool in_order;
	uintptr_t last;
};

static int see(struct hp_site *site, void *arg)
{
	struct seen *seen = arg;
	seen->n++;
	seen->in_order &= site->entry > seen->last;
	seen->last = site->entry;
	site->mark++;
	return 0;
}

static int stop_at(struct hp_site *site, void *arg)
{
	return site == arg ? 7 : 0;
}

static void check_all(bool ordered)
{
	struct seen seen = {.in_order = true};
	assert_int_equal(hp_sites_each(see, &seen), 0);
	assert_int_equal(seen.n, SITES);
	assert_true(seen.in_order || !ordered);
	for (size_t i = 0; i < SITES; i++) {
		assert_int_equal(sites[i].mark, 1);
		sites[i].mark = 0;
		assert_int_equal(hp_sites_each(stop_at, &sites[i]), 7);
		assert_ptr_equal(hp_site_at(sites[i].entry), &sites[i]);
	}
	assert_int_equal(hp_sites_each(stop_at, NULL), 0);
}

static void test_each(void **unused)
{
	struct hp_err err;
	(void)unused;
	for (size_t i = 0; i < SITES; i++) {
		sites[i].entry = (i * 37 % SITES + 1) * 4096;
		assert_int_equal(hp_registry_reserve(&err), 0);
		hp_registry_add(&sites[i]);
	}
	check_all(true);
	no_memory = true;
	check_all(false);
	no_memory = false;
}

static int see_guarded(struct hp_site *site, void *arg)
{
	check_guard();
	return see(site, arg);
}

static void test_added_meanwhile(void **unused)
{
	struct hp_err err;
	struct seen seen = {.in_order = true};
	(void)unused;
	late[0].entry = 4096 * 1000;
	late[1].entry = 4096 * 1001;
	assert_int_equal(hp_registry_reserve(&err), 0);
	adds_late = true;
	assert_int_equal(hp_sites_each(see_guarded, &seen), 0);
	assert_true(seen.n >= SITES && seen.in_order);
	seen = (struct seen){.in_order = true};
	assert_int_equal(hp_sites_each(see_guarded, &seen), 0);
	assert_int_equal(seen.n, SITES + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each), cmocka_unit_test(test_added_meanwhile)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
