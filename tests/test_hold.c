/* test_hold - calls that are held between transitions (live/gate.h): nobody comes through; a transition lets the
 * callers of what it changes go on, into the new definition and no other; one that fails leaves them held; a child of
 * fork is free.
 *
 * HOLD_ROUNDS says how often: 200 unless told.
 *
 * Seen to fail: with the hold not looked at where the gate is open (calls go on), with slots led past the gate when a
 * transition fails, without hp_gate_look_again behind a transition (callers stay), without hp_gate_reset in the child,
 * with that only for what is in the list, and with marks left as they are.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hotpatch.h"
#include "live/gate.h"
#include "live/registry.h"
#include "live/session.h"

enum { CALLERS = 4, BODIES = 3, PATIENCE_MS = 60000, STILL_MS = 3 };

HOTPATCHABLE int step(void)
{
	return 0;
}

HOTPATCHABLE void sit(void);

static int one(void)
{
	return 1;
}

static int two(void)
{
	return 2;
}

static void sit_otherwise(void) {}

static _Atomic uint64_t seen[BODIES]; /* calls that returned this */
static _Atomic bool stop, sits, stands_up;

HOTPATCHABLE void sit(void)
{
	atomic_store(&sits, true);
	while (!atomic_load(&stands_up))
		usleep(1000);
}

static void *call(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop))
		atomic_fetch_add(&seen[step()], 1);
	return NULL;
}

static void *sitter(void *unused)
{
	(void)unused;
	sit();
	return NULL;
}

/* That returned something else. */
static uint64_t calls_but(int value)
{
	uint64_t sum = 0;
	for (int i = 0; i < BODIES; i++)
		sum += i == value ? 0 : atomic_load(&seen[i]);
	return sum;
}

/* Who had passed the gate before comes to its end; then nobody calls. */
static void expect_held(void)
{
	for (int waited = 0; waited < PATIENCE_MS; waited += STILL_MS) {
		uint64_t before = calls_but(-1);
		usleep(STILL_MS * 1000);
		if (calls_but(-1) == before)
			return;
	}
	fail_msg("calls are not held");
}

/* From now on calls return this, and nothing else. */
static void expect_going_on(int value)
{
	uint64_t others = calls_but(value), mine = atomic_load(&seen[value]);
	for (int waited = 0; atomic_load(&seen[value]) < mine + 100; waited++) {
		if (waited == PATIENCE_MS)
			fail_msg("calls do not go on");
		usleep(1000);
	}
	assert_int_equal(calls_but(value), others);
}

static void hold(struct hp_site **sites, size_t n)
{
	struct hotpatch_options options = {.size = sizeof(options)};
	struct hp_session session;
	assert_int_equal(hp_session_begin(&session, &options, __builtin_frame_address(0)), 0);
	hp_gate_hold(sites, n);
	hp_session_close(&session);
}

static void let_on(void)
{
	struct hotpatch_options options = {.size = sizeof(options)};
	struct hp_session session;
	assert_int_equal(hp_session_begin(&session, &options, __builtin_frame_address(0)), 0);
	hp_gate_let_on();
	hp_session_close(&session);
}

static void *call_once(void *ret)
{
	atomic_store((_Atomic int *)ret, step());
	return NULL;
}

/* The forking thread itself is not held, so one that is has to be made there: sanitizers are not made for that
 * (ThreadSanitizer ends the child, and AddressSanitizer's allocator may be locked in it). */
static void expect_free_child(int value)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	(void)value;
	return;
#endif
	pid_t child = fork();
	if (child == 0) {
		_Atomic int got = -1;
		pthread_t thread;
		alarm(PATIENCE_MS / 1000);
		_exit(pthread_create(&thread, NULL, call_once, &got) != 0 || pthread_join(thread, NULL) != 0 ||
		      got != value);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A set that cannot be applied, since somebody sits in one of its functions. */
static void expect_busy(void)
{
	struct hotpatch *patch = hotpatch_new("busy");
	assert_non_null(patch);
	assert_int_equal(hotpatch_replace(patch, step, one), 0);
	assert_int_equal(hotpatch_replace(patch, sit, sit_otherwise), 0);
	assert_int_equal(hotpatch_apply(patch, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	assert_int_equal(hotpatch_apply(patch, .timeout_ms = 20), HOTPATCH_ETIMEDOUT);
	hotpatch_free(patch);
}

static int rounds(void)
{
	const char *text = getenv("HOLD_ROUNDS"); /* NOLINT(concurrency-mt-unsafe): nobody sets it */
	return text ? atoi(text) : 200;
}

static void test_hold(void **unused)
{
	int (*const bodies[BODIES])(void) = {NULL, one, two};
	pthread_t threads[CALLERS + 1], late_one;
	_Atomic int late;
	struct hp_site *site;
	(void)unused;
	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call, NULL), 0);
	assert_int_equal(pthread_create(&threads[CALLERS], NULL, sitter, NULL), 0);
	while (!atomic_load(&sits))
		usleep(1000);
	assert_int_equal(hotpatch_fn(step, one), 0);
	site = hp_site_at((uintptr_t)step);
	assert_non_null(site);
	int value = 1;
	for (int round = 0; round < rounds(); round++) {
		hold(&site, 1);
		expect_held();
		late = -1;
		if (round % 4 == 0) {
			expect_busy();
			assert_int_equal(pthread_create(&late_one, NULL, call_once, &late), 0);
			expect_held();
			assert_int_equal(late, -1);
		}
		if (round % 4 == 1)
			expect_free_child(value);
		if (round % 4 == 2) {
			value = 3 - value;
			assert_int_equal(hotpatch_fn(step, bodies[value],
			                             .mode = round % 8 == 2 ? HOTPATCH_WAIT : HOTPATCH_DRAIN),
			                 0);
			expect_going_on(value);
		}
		let_on();
		expect_going_on(value);
		if (round % 4 == 0) {
			pthread_join(late_one, NULL);
			assert_int_equal(late, value);
		}
	}
	/* In a hold, back to the original. */
	hold(&site, 1);
	expect_held();
	assert_int_equal(hotpatch_restore(step), 0);
	expect_going_on(0);
	let_on();
	atomic_store(&stop, true);
	atomic_store(&stands_up, true);
	for (int i = 0; i <= CALLERS; i++)
		pthread_join(threads[i], NULL);
}

/* -- Forked while somebody begins to hold, or ends ---------------------------------------------------------------- */

static void *hold_and_let_on(void *sites)
{
	while (!atomic_load(&stop)) {
		hold(sites, 2);
		let_on();
	}
	return NULL;
}

static bool is_free(const struct hp_site *site)
{
	return !site->mark && !atomic_load(&site->held) && atomic_load(site->cell.slot) == atomic_load(&site->before);
}

static void expect_all_free_in_child(struct hp_site *const sites[2])
{
	int status = -1;
	pid_t child = fork();
	if (child == 0)
		_exit(!is_free(sites[0]) || !is_free(sites[1]));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_torn(void **unused)
{
	struct hp_site *sites[2];
	pthread_t thread;
	(void)unused;
	atomic_store(&stop, false);
	assert_int_equal(hotpatch_fn(step, one), 0);
	assert_int_equal(hotpatch_fn(sit, sit_otherwise), 0);
	sites[0] = hp_site_at((uintptr_t)step);
	sites[1] = hp_site_at((uintptr_t)sit);
	assert_int_equal(pthread_create(&thread, NULL, hold_and_let_on, sites), 0);
	for (int i = 0; i < 2 * rounds(); i++)
		expect_all_free_in_child(sites);
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	sites[0]->mark = 1; /* as if an operation were just making its list */
	expect_all_free_in_child(sites);
	sites[0]->mark = 0;
	assert_int_equal(hotpatch_restore(step), 0);
	assert_int_equal(hotpatch_restore(sit), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hold), cmocka_unit_test(test_torn)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
