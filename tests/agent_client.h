/* agent_client - what tests of the client's calls share: a connection to a target (agent_target.h), made before each
 * test and ended after it, code to put there, and what the target says.
 */
#ifndef TESTS_AGENT_CLIENT_H
#define TESTS_AGENT_CLIENT_H

#include "agent_target.h"

#include "remote/client.h"

static struct target target;
static struct hp_remote *remote;
static struct hp_err err;
static uint64_t bias; /* of the program in the target */

__attribute__((unused)) static uint64_t there(const void *here)
{
	return bias + ((uintptr_t)here - (uintptr_t)__executable_start);
}

#define OK(call)                                                                                                       \
	do {                                                                                                           \
		if ((call) != 0)                                                                                       \
			fail_msg("%s: %s: %s", #call, hotpatch_code_name_of(err.code), err.text);                      \
	} while (0)

static const char *hotpatch_code_name_of(int code)
{
	static char text[16];
	snprintf(text, sizeof(text), "%d", code);
	return text;
}

static int set_up(void **state)
{
	struct hp_remote_images images;
	(void)state;
	target_start(&target);
	OK(hp_remote_open(target.pid, 0, &remote, &err));
	OK(hp_remote_images(remote, &images, &err));
	for (size_t i = 0; i < images.n; i++)
		if (images.v[i].is_program)
			bias = images.v[i].low;
	hp_remote_images_free(&images);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hp_remote_close(remote);
	remote = NULL;
	assert_int_equal(target_end(&target), 0);
	return 0;
}

/* mov $n, %eax; ret */
__attribute__((unused)) static void emit(uint8_t code[6], int n)
{
	code[0] = 0xb8;
	memcpy(code + 1, &n, sizeof(n));
	code[5] = 0xc3;
}

/* A sealed region with two functions: at 0 returns a, at 16 returns b. */
__attribute__((unused)) static struct hp_remote_region make_code(int a, int b)
{
	struct hp_remote_region region;
	uint8_t code[32] = {0};
	emit(code, a);
	emit(code + 16, b);
	struct hp_remote_name names[] = {{16, 6, "new_second"}, {0, 6, "new_first"}};
	struct hp_remote_registered registered;
	OK(hp_remote_reserve(remote, there(first), there(first) + 1, 100, &region, &err));
	assert_int_equal(region.size, 4096);
	OK(hp_remote_write(remote, region.id, 0, code, sizeof(code), &err));
	OK(hp_remote_seal(remote, region.id, &(struct hp_remote_seal){0, 4096, HP_REMOTE_RX}, 1, &err));
	OK(hp_remote_register(remote,
	                      &(struct hp_remote_register){.region = region.id,
	                                                   .label = "test.hp",
	                                                   .names = names,
	                                                   .n_names = 2},
	                      &registered, &err));
	return region;
}

__attribute__((unused)) static void says(const char *expected)
{
	assert_string_equal(target_ask(&target, ""), expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
