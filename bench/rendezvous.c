#include "rendezvous.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "must.h"
#include "timing.h"

static struct {
	uint32_t n;                  /* who is awaited */
	_Atomic uint32_t here, left; /* how many are in the handler, and have been */
	_Atomic uint32_t complete;   /* number of the rendezvous for which all have come */
	_Atomic uint32_t over;       /* number of the rendezvous that may go on */
	_Atomic uint32_t empty;      /* number of the rendezvous that all have left */
} meeting;

static struct sigaction before;

static int signal_number(void)
{
	return SIGRTMIN + 5;
}

static void wait_while(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load(word) == value)
		syscall(SYS_futex, word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static void set(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT_MAX, NULL, NULL, 0);
}

/* Which rendezvous this is has to be read before this thread is counted: once all are, the number goes up. */
static void attend(int signo)
{
	int saved = errno;
	uint32_t previous = atomic_load(&meeting.over);
	(void)signo;
	if (atomic_fetch_add(&meeting.here, 1) + 1 == meeting.n)
		set(&meeting.complete, previous + 1);
	wait_while(&meeting.over, previous);
	if (atomic_fetch_add(&meeting.left, 1) + 1 == meeting.n)
		set(&meeting.empty, previous + 1);
	errno = saved;
}

void rendezvous_begin(void)
{
	struct sigaction action = {.sa_handler = attend, .sa_flags = SA_RESTART};
	must(sigaction(signal_number(), &action, &before) == 0, "sigaction");
}

void rendezvous_end(void)
{
	must(sigaction(signal_number(), &before, NULL) == 0, "sigaction");
}

double rendezvous_hold(const pid_t *tids, unsigned n)
{
	pid_t process = getpid();
	uint32_t previous = atomic_load(&meeting.over);
	meeting.n = n;
	atomic_store(&meeting.here, 0);
	atomic_store(&meeting.left, 0);

	uint64_t begin = timing_now();
	for (unsigned i = 0; i < n; i++)
		must(syscall(SYS_tgkill, process, tids[i], signal_number()) == 0, "tgkill");
	wait_while(&meeting.complete, previous);
	set(&meeting.over, previous + 1);
	double us = timing_us_since(begin);

	wait_while(&meeting.empty, previous);
	return us;
}
