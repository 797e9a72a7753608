/* pointers - B4: functions that are called through addresses taken before they were changed.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-cet,gcc-O2-nopie,gcc-O2-static
 *
 * Plain pointers, a struct of operations, comparisons for qsort and bsearch, signal handlers, a thread's start routine,
 * a context's entry and an atexit handler. Each is handed out while the original holds, and changes twice.
 *
 * Seen to fail: with the jump's prefix not written.
 */
#include "check.h"

#include <ucontext.h>

static volatile int one = 1; /* so that no compiler knows a result */
static volatile int ran;     /* also by handlers */

/* -- Pointers and operations --------------------------------------------------------------------------------- */

HOTPATCHABLE int number(int a)
{
	return a + one;
}

APART int number_2(int a)
{
	return a + 2 * one;
}

APART int number_3(int a)
{
	return a + 3 * one;
}

static int (*const constant)(int) = number;

struct operations {
	int (*run)(int);
	const char *name;
};

static const struct operations operations = {number, "number"};

static void pointers(void)
{
	int (*volatile local)(int) = number;
	const struct operations *volatile table = &operations;

#define CALLS(want) CHECK(local(0) == want && constant(0) == want && table->run(0) == want && number(0) == want)
	CALLS(1);
	CHECK_OK(hotpatch_fn(number, number_2));
	CALLS(2);
	CHECK_OK(hotpatch_fn(number, number_3));
	CALLS(3);
	CHECK_OK(hotpatch_restore(number));
	CALLS(1);
	CHECK(local == number);
}

/* -- Callbacks of libc --------------------------------------------------------------------------------------- */

HOTPATCHABLE int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

APART int compare_down(const void *a, const void *b)
{
	return *(const int *)b - *(const int *)a;
}

APART int compare_last_digit(const void *a, const void *b)
{
	return *(const int *)a % 10 - *(const int *)b % 10;
}

static void sorted(int first, int last)
{
	int numbers[] = {30, 12, 51, 44, 23}, key = 44, *found;

	qsort(numbers, 5, sizeof(numbers[0]), compare);
	CHECK_INT(numbers[0], first);
	CHECK_INT(numbers[4], last);
	found = bsearch(&key, numbers, 5, sizeof(numbers[0]), compare);
	CHECK(found != NULL && *found == 44);
}

static void callbacks(void)
{
	sorted(12, 51);
	CHECK_OK(hotpatch_fn(compare, compare_down));
	sorted(51, 12);
	CHECK_OK(hotpatch_fn(compare, compare_last_digit));
	sorted(30, 44);
	CHECK_OK(hotpatch_restore(compare));
	sorted(12, 51);
}

/* -- Signal handlers ----------------------------------------------------------------------------------------- */

HOTPATCHABLE void handle(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGUSR1 && info->si_signo == SIGUSR1 && context != NULL);
	ran = 1;
}

APART void handle_2(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGUSR1 && info->si_signo == SIGUSR1 && context != NULL);
	ran = 2;
}

APART void handle_3(int signo, siginfo_t *info, void *context)
{
	CHECK(signo == SIGUSR1 && info->si_signo == SIGUSR1 && context != NULL);
	ran = 3;
}

static void signalled(int want)
{
	struct sigaction now;

	ran = 0;
	raise(SIGUSR1);
	CHECK_INT(ran, want);
	sigaction(SIGUSR1, NULL, &now);
	CHECK(now.sa_sigaction == handle);
}

static void handlers(void)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};

	CHECK_INT(sigaction(SIGUSR1, &action, NULL), 0);
	signalled(1);
	CHECK_OK(hotpatch_fn(handle, handle_2));
	signalled(2);
	CHECK_OK(hotpatch_fn(handle, handle_3));
	signalled(3);
	CHECK_OK(hotpatch_restore(handle));
	signalled(1);
}

/* -- Starts of threads and contexts -------------------------------------------------------------------------- */

HOTPATCHABLE void *start(void *arg)
{
	return (char *)arg + 1;
}

APART void *start_2(void *arg)
{
	return (char *)arg + 2;
}

APART void *start_3(void *arg)
{
	return (char *)arg + 3;
}

static void started(intptr_t want)
{
	static void *(*volatile routine)(void *) = start;

	CHECK_INT((intptr_t)thread_join(thread_start(routine, (void *)100)), 100 + want);
}

static void threads(void)
{
	started(1);
	CHECK_OK(hotpatch_fn(start, start_2));
	started(2);
	CHECK_OK(hotpatch_fn(start, start_3));
	started(3);
	CHECK_OK(hotpatch_restore(start));
	started(1);
}

HOTPATCHABLE void coroutine(int a, int b)
{
	ran = a + b + one;
}

APART void coroutine_2(int a, int b)
{
	ran = a + b + 2;
}

APART void coroutine_3(int a, int b)
{
	ran = a + b + 3;
}

static char stack[65536];

/* makecontext keeps the address before the change, setcontext jumps there after it: no call, and no frame below. */
static void switched(int want, void (*body)(int, int))
{
	ucontext_t here, there;

	getcontext(&there);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = sizeof(stack);
	there.uc_link = &here;
	makecontext(&there, (void (*)(void))coroutine, 2, 10, 20);
	CHECK_OK(body != NULL ? hotpatch_fn(coroutine, body) : hotpatch_restore(coroutine));
	CHECK_INT(swapcontext(&here, &there), 0);
	CHECK_INT(ran, 30 + want);
}

static void contexts(void)
{
	switched(2, coroutine_2);
	switched(3, coroutine_3);
	switched(1, NULL);
}

/* -- The end ------------------------------------------------------------------------------------------------- */

HOTPATCHABLE void at_end(void)
{
	FAIL("the original ran at the end");
}

APART void at_end_2(void)
{
	FAIL("the first replacement ran at the end");
}

APART void at_end_3(void)
{
	_exit(0);
}

int main(void)
{
	deadline(30);
	CHECK_INT(atexit(at_end), 0);
	pointers();
	callbacks();
	handlers();
	threads();
	contexts();
	CHECK_OK(hotpatch_fn(at_end, at_end_2));
	CHECK_OK(hotpatch_fn(at_end, at_end_3));
	return 1;
}
