/* nobarrier - B25, B21: without membarrier every thread is asked by signal to execute a serialising instruction.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O2,gcc-O2-cet quick=gcc-O2-cet limit=60
 *
 * A seccomp filter refuses membarrier. Threads call the function all the time, others sleep in calls that return EINTR
 * after a handler (epoll_wait, poll, nanosleep) and must not see one: all changes are made, and each answers with its
 * definitions alone. A thread that blocks the signal cannot be asked: first redirects are refused then, with its name;
 * later changes, which write no code, are not. When it has gone, they are made again.
 *
 * Seen to fail: with blocked threads' system calls not executed again; with a thread that blocks the signal passed
 * over.
 */
#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

enum { CALLERS = 2, CHANGES = OFTEN(400), OLD = 1, NEW = 2, THIRD = 3 };

HOTPATCHABLE int value(void)
{
	return OLD;
}

HOTPATCHABLE int other(void)
{
	return OLD;
}

APART int value_new(void)
{
	return NEW;
}

APART int value_third(void)
{
	return *(int *)hotpatch_context();
}

static void forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		SKIP("the system has no seccomp filters");
}

static atomic_bool stop, rest;
static atomic_uint calls, ready;

static void *caller(void *arg)
{
	while (!atomic_load(&stop)) {
		int got = value(), got_other = other();

		if (got < OLD || got > THIRD || got_other < OLD || got_other > NEW)
			FAIL("calls returned %d and %d", got, got_other);
		atomic_fetch_add(&calls, 1);
		if (atomic_load(&rest))
			nap(1);
	}
	return arg;
}

/* -- Sleepers ------------------------------------------------------------------------------------------------- */

static int wake[2];

static void *in_epoll(void *arg)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);

	CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, wake[0], &event) == 0);
	atomic_fetch_add(&ready, 1);
	CHECK_INT(epoll_wait(epoll, &event, 1, -1), 1);
	close(epoll);
	return arg;
}

static void *in_poll(void *arg)
{
	struct pollfd poll_in = {.fd = wake[0], .events = POLLIN};

	atomic_fetch_add(&ready, 1);
	CHECK_INT(poll(&poll_in, 1, -1), 1);
	return arg;
}

static void *in_nanosleep(void *arg)
{
	struct timespec time = {0, 200000000};

	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&stop))
		CHECK_INT(nanosleep(&time, NULL), 0);
	return arg;
}

static void *blocks_all(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "deaf");
	atomic_fetch_add(&ready, 1);
	take(arg);
	return NULL;
}

/* -- Changes -------------------------------------------------------------------------------------------------- */

static int third = THIRD;

static void change(void)
{
	for (int i = 0; i < CHANGES / 4; i++) {
		CHECK_OK(hotpatch_fn(value, value_new));
		CHECK_INT(value(), NEW);
		CHECK_OK(hotpatch_closure(value, value_third, &third, NULL));
		CHECK_INT(value(), THIRD);
		CHECK_OK(hotpatch_restore(value));
		CHECK_INT(value(), OLD);
	}
}

static void with_a_deaf_thread(void)
{
	sem_t end;
	pthread_t deaf;
	unsigned before = atomic_load(&ready);

	sem_init(&end, 0, 0);
	atomic_store(&rest, true); /* they call as well between naps, while the deaf one is waited for */
	CHECK_OK(hotpatch_fn(value, value_new));
	deaf = thread_start(blocks_all, &end);
	AWAIT(atomic_load(&ready) > before);
	for (int i = 0; i < (IN_FULL ? 3 : 1); i++) { /* each waits for seconds */
		CHECK_CODE(hotpatch_fn(other, value_new), HOTPATCH_ESYSTEM);
		CHECK_SAYS("membarrier");
		CHECK_SAYS("'deaf' blocks it");
		CHECK_SAYS("nothing was changed");
		CHECK_INT(other(), OLD);
	}
	CHECK_OK(hotpatch_closure(value, value_third, &third, NULL)); /* a store to the slot */
	CHECK_INT(value(), THIRD);
	CHECK_OK(hotpatch_restore(value));
	CHECK_INT(value(), OLD);
	give(&end);
	thread_join(deaf);
	CHECK_OK(hotpatch_fn(other, value_new));
	CHECK_INT(other(), NEW);
	CHECK_OK(hotpatch_restore(other));
	atomic_store(&rest, false);
}

int main(void)
{
	void *(*const sleepers[])(void *) = {in_epoll, in_poll, in_nanosleep};
	pthread_t threads[CALLERS + 3];
	unsigned seen;

	deadline(60);
	forbid_membarrier();
	CHECK_INT(pipe(wake), 0);
	for (int i = 0; i < 3; i++)
		threads[i] = thread_start(sleepers[i], NULL);
	for (int i = 0; i < CALLERS; i++)
		threads[3 + i] = thread_start(caller, NULL);
	AWAIT(atomic_load(&ready) == 3 && atomic_load(&calls) > 0);
	change();
	with_a_deaf_thread();
	change();
	seen = atomic_load(&calls);
	AWAIT(atomic_load(&calls) > seen + 1000);
	atomic_store(&stop, true);
	CHECK_INT(write(wake[1], "", 1), 1);
	for (int i = 0; i < CALLERS + 3; i++)
		thread_join(threads[i]);
	return 0;
}
