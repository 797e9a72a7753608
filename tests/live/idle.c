/* idle - B21: threads that sleep in system calls notice nothing of 200 changes.
 *
 * 32 threads sleep in epoll_wait, poll, nanosleep, recv with a timeout, sem_timedwait, sigwait, read and futex waits,
 * some for long and some for so short that a change meets them on their way in and out. No call returns EINTR and none
 * ends early; that one may end late is the scheduler's business.
 *
 * Seen to fail: with sleeping threads asked by signal and their system calls not restarted.
 */
#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { THREADS = 32, CHANGES = 200, OLD = 1, NEW = 2 };

static volatile int old = OLD;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static atomic_int ready;
static atomic_bool stop;

/* -- What a thread sleeps in ---------------------------------------------------------------------------------- */

struct sleeper {
	void (*sleep)(unsigned milliseconds);
	unsigned milliseconds; /* 0: until woken at the end */
};

static void sleep_epoll(unsigned milliseconds)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);

	CHECK_INT(epoll_wait(fd, &event, 1, (int)milliseconds), 0);
	close(fd);
}

static void sleep_poll(unsigned milliseconds)
{
	CHECK_INT(poll(NULL, 0, (int)milliseconds), 0);
}

static void sleep_nanosleep(unsigned milliseconds)
{
	struct timespec time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};

	CHECK_INT(nanosleep(&time, NULL), 0);
}

static void sleep_recv(unsigned milliseconds)
{
	struct timeval time = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000};
	int fds[2];
	char byte;

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)), 0);
	CHECK_INT(recv(fds[0], &byte, 1, 0), -1);
	CHECK_INT(errno, EAGAIN);
	close(fds[0]);
	close(fds[1]);
}

static void sleep_semaphore(unsigned milliseconds)
{
	struct timespec until;
	sem_t never;

	sem_init(&never, 0, 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	until.tv_sec += milliseconds / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK_INT(sem_timedwait(&never, &until), -1);
	CHECK_INT(errno, ETIMEDOUT);
}

static int ends[2]; /* of a pipe: its closing wakes all readers */
static sem_t end;

static void sleep_read(unsigned milliseconds)
{
	char byte;

	(void)milliseconds;
	CHECK_INT(read(ends[0], &byte, 1), 0);
}

static void sleep_sigwait(unsigned milliseconds)
{
	sigset_t set;
	siginfo_t info;

	(void)milliseconds;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	CHECK_INT(sigwaitinfo(&set, &info), SIGUSR1);
}

static void sleep_futex(unsigned milliseconds)
{
	(void)milliseconds;
	CHECK_INT(sem_wait(&end), 0);
}

static const struct sleeper sleepers[THREADS] = {
	{sleep_read, 0},    {sleep_sigwait, 0},      {sleep_futex, 0},   {sleep_futex, 0},        {sleep_epoll, 1500},
	{sleep_poll, 1500}, {sleep_nanosleep, 1500}, {sleep_recv, 1500}, {sleep_semaphore, 1500}, {sleep_epoll, 1000},
	{sleep_poll, 1000}, {sleep_nanosleep, 1000}, {sleep_recv, 1000}, {sleep_semaphore, 1000}, {sleep_epoll, 300},
	{sleep_poll, 300},  {sleep_nanosleep, 300},  {sleep_recv, 300},  {sleep_semaphore, 300},  {sleep_epoll, 20},
	{sleep_poll, 20},   {sleep_nanosleep, 20},   {sleep_recv, 20},   {sleep_semaphore, 20},   {sleep_epoll, 2},
	{sleep_poll, 2},    {sleep_nanosleep, 2},    {sleep_recv, 2},    {sleep_semaphore, 2},    {sleep_read, 0},
	{sleep_sigwait, 0}, {sleep_futex, 0},
};

/* -- Threads --------------------------------------------------------------------------------------------------- */

static void sleep_once(const struct sleeper *sleeper)
{
	int64_t before = now_ms(), slept;

	sleeper->sleep(sleeper->milliseconds);
	slept = now_ms() - before;
	/* Clocks are read in whole milliseconds, and SO_RCVTIMEO counts in ticks. */
	if (slept + 5 < (int64_t)sleeper->milliseconds)
		FAIL("a sleep of %u ms ended after %d", sleeper->milliseconds, (int)slept);
}

static void *sleeps(void *arg)
{
	const struct sleeper *sleeper = arg;

	atomic_fetch_add(&ready, 1);
	do
		sleep_once(sleeper);
	while (sleeper->milliseconds > 0 && !atomic_load(&stop));
	return NULL;
}

static void change(void)
{
	for (int i = 0; i < CHANGES / 2; i++) {
		CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = 20000));
		CHECK_INT(patched(0), NEW);
		CHECK_OK(hotpatch_restore(patched, .timeout_ms = 20000));
		CHECK_INT(patched(0), OLD);
	}
}

static void wake(pthread_t *threads)
{
	atomic_store(&stop, true);
	close(ends[1]);
	for (int i = 0; i < THREADS; i++) {
		if (sleepers[i].sleep == sleep_sigwait)
			pthread_kill(threads[i], SIGUSR1);
		if (sleepers[i].sleep == sleep_futex)
			give(&end);
	}
}

int main(void)
{
	pthread_t threads[THREADS];
	sigset_t usr1;

	deadline(60);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL); /* and so in all threads, whenever they come to sigwait */
	CHECK_INT(pipe(ends), 0);
	sem_init(&end, 0, 0);
	for (int i = 0; i < THREADS; i++)
		threads[i] = thread_start(sleeps, (void *)&sleepers[i]);
	AWAIT(ready == THREADS);
	change();
	wake(threads);
	for (int i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	return 0;
}
