/* alternating - B21: threads that run and sleep in turn, through 1,000 changes.
 *
 * Twelve threads compute for a moment and then sleep for a moment, each in another call with a timeout: epoll_wait,
 * epoll_pwait, recv with SO_RCVTIMEO, poll, ppoll with a mask, select, pselect, nanosleep, clock_nanosleep
 * to an absolute time, sem_timedwait, pthread_cond_timedwait, sigtimedwait. Some are asked with a signal while they
 * run, some on their way into the call, some are read while they sleep. No call returns EINTR, none ends before its
 * time and none writes a remaining time that belongs to an interruption.
 *
 * Seen to fail: with calls executed again only where their number is loaded by the very instruction before (epoll_pwait
 * of glibc 2.36 failed).
 */
#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { CHANGES = OFTEN(1000), OLD = 1, NEW = 2 };

static volatile int old = OLD;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static struct timespec span(unsigned us)
{
	return (struct timespec){us / 1000000, us % 1000000 * 1000};
}

static struct timespec after(clockid_t clock, unsigned us)
{
	struct timespec time;

	clock_gettime(clock, &time);
	time.tv_nsec += (long)us * 1000;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	return time;
}

/* -- Calls. Each returns what it slept at least, in microseconds: some count in whole milliseconds or ticks ------- */

static unsigned in_epoll_wait(unsigned us)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);

	CHECK_INT(epoll_wait(fd, &event, 1, (int)(us / 1000)), 0);
	close(fd);
	return us / 1000 * 1000;
}

static unsigned in_epoll_pwait(unsigned us)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	CHECK_INT(epoll_pwait(fd, &event, 1, (int)(us / 1000), &mask), 0);
	close(fd);
	return us / 1000 * 1000;
}

static unsigned in_recv(unsigned us)
{
	struct timeval time = {0, us};
	int fds[2];
	char byte;

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)), 0);
	CHECK_INT(recv(fds[0], &byte, 1, 0), -1);
	CHECK_INT(errno, EAGAIN);
	close(fds[0]);
	close(fds[1]);
	return us > 10000 ? us - 10000 : 0; /* a tick of 100 Hz, of which the first may be nearly over */
}

static unsigned in_poll(unsigned us)
{
	CHECK_INT(poll(NULL, 0, (int)(us / 1000)), 0);
	return us / 1000 * 1000;
}

static unsigned in_ppoll(unsigned us)
{
	struct timespec time = span(us);
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	CHECK_INT(ppoll(NULL, 0, &time, &mask), 0);
	return us;
}

static unsigned in_select(unsigned us)
{
	struct timeval time = {0, us};

	CHECK_INT(select(0, NULL, NULL, NULL, &time), 0);
#if defined(__GLIBC__) /* what remained: Linux says so in time, but musl hands it a copy */
	CHECK_INT(time.tv_sec * 1000000 + time.tv_usec, 0);
#endif
	return us;
}

static unsigned in_pselect(unsigned us)
{
	struct timespec time = span(us);
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	CHECK_INT(pselect(0, NULL, NULL, NULL, &time, &mask), 0);
	return us;
}

static unsigned in_nanosleep(unsigned us)
{
	struct timespec time = span(us), left = {0, 0};

	CHECK_INT(nanosleep(&time, &left), 0);
	return us;
}

static unsigned in_clock_nanosleep(unsigned us)
{
	struct timespec time = after(CLOCK_MONOTONIC, us);

	CHECK_INT(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL), 0);
	return us;
}

static unsigned in_semaphore(unsigned us)
{
	struct timespec time = after(CLOCK_REALTIME, us);
	sem_t never;

	sem_init(&never, 0, 0);
	CHECK_INT(sem_timedwait(&never, &time), -1);
	CHECK_INT(errno, ETIMEDOUT);
	return us;
}

static unsigned in_condition(unsigned us)
{
	struct timespec time = after(CLOCK_REALTIME, us);
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;

	pthread_mutex_lock(&mutex);
	CHECK_INT(pthread_cond_timedwait(&never, &mutex, &time), ETIMEDOUT);
	pthread_mutex_unlock(&mutex);
	return us;
}

/* SIGUSR1 alone, which is blocked: the signal that asks is neither. */
static unsigned in_sigtimedwait(unsigned us)
{
	struct timespec time = span(us);
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_INT(sigtimedwait(&set, &info, &time), -1);
	CHECK_INT(errno, EAGAIN);
	return us;
}

static unsigned (*const calls[])(unsigned us) = {
	in_epoll_wait, in_epoll_pwait,     in_recv,      in_poll,      in_ppoll,        in_select, in_pselect,
	in_nanosleep,  in_clock_nanosleep, in_semaphore, in_condition, in_sigtimedwait,
};
enum { THREADS = sizeof(calls) / sizeof(*calls) };

/* -- Threads --------------------------------------------------------------------------------------------------- */

static atomic_bool stop;
static atomic_long slept[THREADS];

static int64_t now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void *alternates(void *arg)
{
	size_t call = (size_t)(uintptr_t)arg;

	for (unsigned i = 0; !atomic_load(&stop); i++) {
		unsigned us = 1000 + i * 7919 % 15000, wanted;
		int64_t began = now_us();

		wanted = calls[call](us);
		if (now_us() - began < (int64_t)wanted)
			FAIL("call %zu slept %d us, not %u", call, (int)(now_us() - began), wanted);
		for (volatile unsigned run = 0; run < i * 7919 % 200000; run++)
			;
		atomic_fetch_add(&slept[call], 1);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];
	sigset_t usr1;

	deadline(60);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	for (size_t i = 0; i < THREADS; i++)
		threads[i] = thread_start(alternates, (void *)(uintptr_t)i);
	for (int i = 1; i <= CHANGES; i++) {
		CHECK_OK(i % 2 ? hotpatch_fn(patched, fresh, .timeout_ms = 30000)
		               : hotpatch_restore(patched, .timeout_ms = 30000));
		CHECK_INT(patched(0), i % 2 ? NEW : OLD);
	}
	for (size_t i = 0; i < THREADS; i++)
		AWAIT(slept[i] >= 3);
	atomic_store(&stop, true);
	for (size_t i = 0; i < THREADS; i++)
		thread_join(threads[i]);
	return 0;
}
