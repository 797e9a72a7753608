/* test_crash - a thread that is kept in its handler (live/crash.h) keeps nothing else: signals that the program blocks
 * to wait for them, or handles, are not its own; memory that it was reading is freed; code is seen by all others
 * without it.
 *
 * Each test is a process of its own, since there the thread stays.
 *
 * Seen to fail: with only those signals blocked that have a handler (the process ends by SIGUSR1), without the last
 * signal; with the readers counted that never leave; with a kept thread asked where the kernel has no barrier.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/readers.h"
#include "live/barrier.h"
#include "live/crash.h"
#include "live/session.h"
#include "live/threads.h"

enum { PATIENCE_S = 60, PASSED = 0, SKIPPED = 77 };

static uint64_t bit(int signo)
{
	return UINT64_C(1) << (signo - 1);
}

/* -- A thread that is kept --------------------------------------------------------------------------------------- */

static void told(void) {}

static void before_it(void);

__attribute__((noinline)) static void boom(void)
{
	before_it();
	raise(SIGABRT);
	__asm__ volatile(""); /* no call in the last place */
}

static void (*do_before)(void);

static void before_it(void)
{
	if (do_before)
		do_before();
}

static void *crasher(void *unused)
{
	boom();
	return unused;
}

static uint64_t mask_of(int tid)
{
	char path[64], line[256];
	uint64_t mask = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "SigBlk:", 7) == 0)
			mask = hp_parse_hex(line + 8 - 2);
	if (file)
		fclose(file);
	return mask;
}

/* Until it waits: then it takes the signals that end a process. */
static const struct hp_crash *keep_one(void (*before)(void))
{
	struct hp_codes codes = {0};
	struct hp_err err;
	pthread_t thread;
	uintptr_t code = (uintptr_t)boom;
	do_before = before;
	if (!(hp_crash_catch(told) >> SIGABRT & 1) || hp_codes_add_function(&codes, code, code + 64, false, 1, &err))
		_exit(2);
	hp_codes_sort(&codes);
	if (hp_crash_look_for(&codes, &err) || pthread_create(&thread, NULL, crasher, NULL))
		_exit(3);
	while (!hp_crash_at(0) || mask_of(hp_crash_at(0)->tid) & bit(SIGTERM))
		usleep(1000);
	return hp_crash_at(0);
}

static void in_child(int (*test)(void))
{
	int status = -1;
	pid_t child = fork();
	if (child == 0) {
		alarm(PATIENCE_S);
		_exit(test());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(status, PASSED);
}

/* -- Signals ----------------------------------------------------------------------------------------------------- */

static void handle(int signo)
{
	(void)signo;
}

static int waits_for_a_signal(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGUSR2, handle);
	signal(SIGRTMAX, handle);
	uint64_t mask = mask_of(keep_one(NULL)->tid);
	kill(getpid(), SIGUSR1);
	int got = sigwaitinfo(&set, NULL);
	return got == SIGUSR1 && mask & bit(SIGUSR1) && mask & bit(SIGUSR2) && mask & bit(SIGRTMAX) &&
	                       !(mask & bit(SIGINT))
	               ? PASSED
	               : 1;
}

static void test_signals(void **unused)
{
	(void)unused;
	in_child(waits_for_a_signal);
}

/* -- Readers ----------------------------------------------------------------------------------------------------- */

static void read_twice(void)
{
	hp_readers_enter();
	hp_readers_enter();
	hp_readers_leave();
	hp_readers_enter();
}

static int reads(void)
{
	keep_one(read_twice);
	if (!hp_readers_none())
		return 1;
	hp_readers_enter();
	bool none = hp_readers_none();
	hp_readers_leave();
	return !none && hp_readers_none() ? PASSED : 2;
}

static void test_readers(void **unused)
{
	(void)unused;
	in_child(reads);
}

/* -- Without the kernel's barrier -------------------------------------------------------------------------------- */

static bool forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1 /* EPERM */),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* ThreadSanitizer has a thread of its own that takes no signal. */
#ifdef __SANITIZE_THREAD__
#define HAS_ANOTHER_THREAD true
#else
#define HAS_ANOTHER_THREAD false
#endif

static int writes_code(void)
{
	struct hotpatch_options options = {.size = sizeof(options)};
	struct hp_session session;
	if (HAS_ANOTHER_THREAD || !forbid_membarrier())
		return SKIPPED;
	keep_one(NULL);
	if (hp_session_begin(&session, &options, __builtin_frame_address(0)))
		return 1;
	int error = hp_barrier_code(&session.err);
	if (error)
		fprintf(stderr, "%s\n", session.err.text);
	hp_session_close(&session);
	return error ? 2 : PASSED;
}

static void test_no_barrier(void **unused)
{
	(void)unused;
	in_child(writes_code);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_no_barrier),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
