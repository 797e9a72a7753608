/* crowd - B8: 1,000 threads with small stacks asleep in different system calls, and threads that start threads.
 *
 * A function changes 50 times, and is restored each time, while the crowd sleeps. No thread is woken: every call ends
 * only as the test ends it. Then three threads start threads without pause, each of which calls the function on its
 * first step, in the middle and on its last; 500 changes, after none of which an old definition answers or is inside.
 *
 * build: quick=gcc-O2
 *
 * Seen to fail: with callers let through the gate before it is decided (a call was inside the old definition after a
 * change).
 */
#include "check.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

enum { THREADS = 1000, CHANGES = 50, SPAWNERS = 3, SPAWNING_CHANGES = OFTEN(500) };

static atomic_int inside[2];

static int count(int version)
{
	atomic_fetch_add(&inside[version], 1);
	sched_yield();
	atomic_fetch_sub(&inside[version], 1);
	return version;
}

HOTPATCHABLE int patched(void)
{
	return count(0) + 1;
}

HOTPATCH int fresh(void)
{
	return count(1) + 1;
}

static void change_to(int version)
{
	CHECK_OK(version ? hotpatch_fn(patched, fresh, .timeout_ms = 30000)
	                 : hotpatch_restore(patched, .timeout_ms = 30000));
	CHECK_INT(inside[!version], 0);
	CHECK_INT(patched(), version + 1);
}

/* -- The crowd: all wait for one event ----------------------------------------------------------------------- */

static int end; /* an eventfd, never read: readable for all once it counts */
static int epoll;
static sem_t permits;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool ended; /* protected by mutex */
static int pipe_ends[2];
static atomic_int arrived;

static void in_poll(void)
{
	struct pollfd fd = {.fd = end, .events = POLLIN};

	CHECK_INT(poll(&fd, 1, -1), 1);
}

static void in_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(end, &set);
	CHECK_INT(select(end + 1, &set, NULL, NULL, NULL), 1);
}

static void in_epoll(void)
{
	struct epoll_event event;

	CHECK_INT(epoll_wait(epoll, &event, 1, -1), 1);
}

static void in_semaphore(void)
{
	CHECK_INT(sem_wait(&permits), 0);
}

static void in_condition(void)
{
	pthread_mutex_lock(&mutex);
	while (!ended)
		pthread_cond_wait(&condition, &mutex);
	pthread_mutex_unlock(&mutex);
}

static void in_read(void)
{
	char byte;

	CHECK_INT(read(pipe_ends[0], &byte, 1), 0);
}

static void in_sigwait(void)
{
	sigset_t set;
	siginfo_t info;

	sigfillset(&set);
	sigdelset(&set, SIGALRM); /* the test's deadline */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	CHECK_INT(sigwaitinfo(&set, &info), SIGUSR2);
}

static void in_pause(void)
{
	struct timespec time = {3600, 0};
	struct pollfd fd = {.fd = end, .events = POLLIN};

	CHECK_INT(ppoll(&fd, 1, &time, NULL), 1);
}

static void (*const kinds[])(void) = {in_poll,      in_select, in_epoll,   in_semaphore,
                                      in_condition, in_read,   in_sigwait, in_pause};
enum { KINDS = sizeof(kinds) / sizeof(*kinds) };

static int tids[THREADS];

static void *sleeps(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	tids[i] = thread_id();
	CHECK_INT(patched(), 1); /* leaves its return address on a stack that lies still from now on */
	atomic_fetch_add(&arrived, 1);
	kinds[i % KINDS]();
	return NULL;
}

static pthread_t start_small(void *(*run)(void *), void *arg)
{
	pthread_attr_t small;
	pthread_t thread;
	int r;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN + 16384);
	r = pthread_create(&thread, &small, run, arg);
	pthread_attr_destroy(&small);
	if (r != 0)
		FAIL("a thread could not be started: %s", strerror(r));
	return thread;
}

static void end_all(const pthread_t *threads)
{
	CHECK_INT(eventfd_write(end, 1), 0);
	close(pipe_ends[1]);
	pthread_mutex_lock(&mutex);
	ended = true;
	pthread_cond_broadcast(&condition);
	pthread_mutex_unlock(&mutex);
	for (size_t i = 0; i < THREADS; i++) {
		if (kinds[i % KINDS] == in_semaphore)
			give(&permits);
		if (kinds[i % KINDS] == in_sigwait)
			CHECK_INT(pthread_kill(threads[i], SIGUSR2), 0);
	}
}

static void asleep(void)
{
	static pthread_t threads[THREADS];
	struct epoll_event event = {.events = EPOLLIN};

	end = eventfd(0, EFD_CLOEXEC);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, end, &event), 0);
	CHECK_INT(pipe2(pipe_ends, O_CLOEXEC), 0);
	sem_init(&permits, 0, 0);
	for (size_t i = 0; i < THREADS; i++)
		threads[i] = start_small(sleeps, (void *)(uintptr_t)i);
	AWAIT(arrived == THREADS);
	for (size_t i = 0; i < THREADS; i++)
		AWAIT(thread_state(tids[i]) == 'S');
	for (int i = 0; i < CHANGES; i++) {
		change_to(1);
		change_to(0);
	}
	end_all(threads);
	for (size_t i = 0; i < THREADS; i++)
		thread_join(threads[i]);
}

/* -- Threads that start threads ------------------------------------------------------------------------------- */

static atomic_bool enough;
static atomic_long started;

static void check_call(void)
{
	int r = patched();

	CHECK(r == 1 || r == 2);
}

static void *calls(void *arg)
{
	check_call();
	atomic_fetch_add(&started, 1);
	sched_yield();
	check_call();
	check_call();
	return arg;
}

/* A generation of four, so that there are always some that begin, run and end. */
static void *spawns(void *arg)
{
	pthread_t threads[4];
	unsigned n = 0;

	for (; !atomic_load(&enough); n++) {
		if (n >= 4)
			thread_join(threads[n % 4]);
		threads[n % 4] = start_small(calls, NULL);
	}
	for (unsigned i = 0; i < 4 && i < n; i++)
		thread_join(threads[i]);
	return arg;
}

static void spawning(void)
{
	pthread_t threads[SPAWNERS];

	for (int i = 0; i < SPAWNERS; i++)
		threads[i] = thread_start(spawns, NULL);
	for (int i = 1; i <= SPAWNING_CHANGES; i++)
		change_to(i % 2);
	change_to(0);
	CHECK(atomic_load(&started) > SPAWNERS);
	atomic_store(&enough, true);
	for (int i = 0; i < SPAWNERS; i++)
		thread_join(threads[i]);
}

int main(void)
{
	deadline(60);
	asleep();
	spawning();
	return 0;
}
