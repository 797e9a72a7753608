/* interrupted.c - how many system calls end because the program's threads were looked at or stopped.
 *
 * Eight threads sleep in the calls that no SA_RESTART covers (signal(7)): epoll_wait, recv with a timeout, nanosleep
 * and sem_timedwait. Nothing ever happens to what they wait for, so a call may end by its timeout alone; one that ends
 * with EINTR, or clearly before its time, was interrupted. Of each kind one sleeps long, and is blocked whenever it is
 * looked at, and one so briefly that it is met on its way in and out.
 */
#include "interrupted.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "crowd.h"
#include "must.h"
#include "rendezvous.h"
#include "target.h"
#include "tracer.h"

enum { LONG_MS = 200, SHORT_MS = 2, EARLY_MS = 5 /* more than SO_RCVTIMEO's ticks may take away */ };

/* -- Sleepers ------------------------------------------------------------------------------------------------------ */

/* Each sleeps so long and answers what its call did: 0 for the timeout, else errno. */
typedef int (*sleep_fn)(unsigned ms);

static struct {
	int epoll, sockets[2];
	sem_t never;
} sources;

static int by_epoll(unsigned ms)
{
	struct epoll_event event;
	return epoll_wait(sources.epoll, &event, 1, (int)ms) == 0 ? 0 : errno;
}

/* The timeout belongs to the socket: each end has one sleeper, and so one timeout. */
static int by_recv(unsigned ms)
{
	char byte;
	if (recv(sources.sockets[ms == LONG_MS], &byte, 1, 0) >= 0)
		return EIO;
	return errno == EAGAIN ? 0 : errno;
}

static int by_nanosleep(unsigned ms)
{
	struct timespec time = {0, (long)ms * 1000000};
	return nanosleep(&time, NULL) == 0 ? 0 : errno;
}

static int by_semaphore(unsigned ms)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (sem_timedwait(&sources.never, &until) == 0)
		return EIO;
	return errno == ETIMEDOUT ? 0 : errno;
}

static struct sleeper {
	sleep_fn sleep;
	unsigned ms;
	pthread_t thread;
} sleepers[] = {
	{by_epoll, LONG_MS, 0},  {by_recv, LONG_MS, 0},  {by_nanosleep, LONG_MS, 0},  {by_semaphore, LONG_MS, 0},
	{by_epoll, SHORT_MS, 0}, {by_recv, SHORT_MS, 0}, {by_nanosleep, SHORT_MS, 0}, {by_semaphore, SHORT_MS, 0},
};

enum { SLEEPERS = sizeof(sleepers) / sizeof(sleepers[0]) };

static pid_t tids[SLEEPERS];
static sem_t ready;
static atomic_bool leave;
static atomic_uint interruptions;

static void sleep_once(const struct sleeper *sleeper)
{
	uint64_t begin = timing_now();
	int error = sleeper->sleep(sleeper->ms);
	bool early = timing_us_since(begin) / 1e3 + EARLY_MS < sleeper->ms;
	errno = error;
	must(error == 0 || error == EINTR, "a system call that should time out");
	if (error == EINTR || early)
		atomic_fetch_add(&interruptions, 1);
}

static void *sleeper_run(void *arg)
{
	struct sleeper *sleeper = arg;
	tids[sleeper - sleepers] = gettid();
	sem_post(&ready);
	while (!atomic_load(&leave))
		sleep_once(sleeper);
	return NULL;
}

static void set_timeout(int socket, unsigned ms)
{
	struct timeval time = {0, (long)ms * 1000};
	must(setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) == 0, "SO_RCVTIMEO");
}

static void sleepers_start(void)
{
	sources.epoll = epoll_create1(EPOLL_CLOEXEC);
	must(sources.epoll >= 0, "epoll_create1");
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sources.sockets) == 0, "socketpair");
	set_timeout(sources.sockets[0], SHORT_MS);
	set_timeout(sources.sockets[1], LONG_MS);
	must(sem_init(&sources.never, 0, 0) == 0 && sem_init(&ready, 0, 0) == 0, "sem_init");
	for (unsigned i = 0; i < SLEEPERS; i++) {
		errno = pthread_create(&sleepers[i].thread, NULL, sleeper_run, &sleepers[i]);
		must(errno == 0, "a thread could not be started");
	}
	for (unsigned i = 0; i < SLEEPERS; i++)
		sem_wait(&ready);
}

/* Until those that sleep long are in their calls again; the others are met where they are. */
static void sleepers_settle(void)
{
	for (unsigned i = 0; i < SLEEPERS; i++)
		while (sleepers[i].ms == LONG_MS && crowd_system_call(tids[i]) < 0)
			sched_yield();
}

static void sleepers_end(void)
{
	atomic_store(&leave, true);
	for (unsigned i = 0; i < SLEEPERS; i++)
		pthread_join(sleepers[i].thread, NULL);
	close(sources.epoll);
	close(sources.sockets[0]);
	close(sources.sockets[1]);
	sem_destroy(&sources.never);
	sem_destroy(&ready);
}

/* -- What is done to them, and what it does ------------------------------------------------------------------------ */

static int by_hotpatch(unsigned number)
{
	target_change(number);
	return 0;
}

static int by_signal(unsigned number)
{
	(void)number;
	rendezvous_hold(tids, SLEEPERS);
	return 0;
}

static struct tracer tracer;

static int by_ptrace(unsigned number)
{
	double us;
	(void)number;
	return tracer_hold(&tracer, &us);
}

/* Does it so many times and answers 0 and how many calls were interrupted, or why the system refuses it. */
static int count(int (*stop)(unsigned number), unsigned times, unsigned *ret_interrupted)
{
	unsigned before = atomic_load(&interruptions);
	int refused = 0;
	for (unsigned i = 0; i < times && refused == 0; i++) {
		sleepers_settle();
		refused = stop(i);
	}
	sleepers_settle(); /* a call counts when it has ended */
	*ret_interrupted = atomic_load(&interruptions) - before;
	return refused;
}

static void add(struct report *report, const char *way, unsigned times, unsigned interrupted, int refused)
{
	char what[64], with[160];
	double v = interrupted;
	struct summary value = {.n = 1, .min = v, .p25 = v, .p50 = v, .p75 = v, .p99 = v, .max = v};
	snprintf(what, sizeof(what), "system calls interrupted in %u times", times);
	snprintf(with, sizeof(with), refused != 0 ? "%s, refused: %s" : "%s", way, strerror(refused));
	report_add(report, REPORT_OTHERS,
	           &(struct figure){what, with, SLEEPERS, "calls", refused != 0 ? (struct summary){0} : value, {0}});
}

static void budget(struct report *report, unsigned times, unsigned interrupted)
{
	char quantity[160];
	snprintf(quantity, sizeof(quantity),
	         "system calls interrupted in %u applies (epoll_wait, recv with timeout, nanosleep, sem_timedwait)",
	         times);
	report_budget(report, &(struct budget){quantity, "", 0, 0, interrupted, NULL});
}

void interrupted_measure(struct report *report)
{
	unsigned times = report_smoke(report) ? 10 : 1000, interrupted;
	int refused;

	fprintf(stderr, "bench: interrupted system calls\n");
	sleepers_start();
	count(by_hotpatch, times, &interrupted);
	target_restore();
	add(report, "by a change by hotpatch", times, interrupted, 0);
	budget(report, times, interrupted);

	rendezvous_begin();
	refused = count(by_signal, times, &interrupted);
	rendezvous_end();
	add(report, "by a signal to every thread", times, interrupted, refused);

	tracer_begin(&tracer, tids, SLEEPERS);
	refused = count(by_ptrace, times, &interrupted);
	tracer_end(&tracer);
	add(report, "by a ptrace stop of every thread", times, interrupted, refused);
	sleepers_end();
}
