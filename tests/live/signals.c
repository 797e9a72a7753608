/* signals - B22: the program's own signals.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-static quick=clang-O0,gcc-O2-static
 *
 * Its handlers for SIGTRAP, SIGSEGV, SIGUSR1, SIGUSR2 and real-time signals keep working while functions change under
 * running threads, which is when hotpatch needs a signal, and every disposition is afterwards what it was. The signal
 * can be chosen; one that the program uses is a clash, found before anything is changed.
 *
 * Seen to fail: with the signal's disposition not looked at.
 */
#include "check.h"

#include <setjmp.h>
#include <sys/wait.h>

enum { OLD = 1, NEW = 2 };

static volatile int old = OLD;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static void change(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		CHECK_OK(hotpatch_fn(patched, fresh, .timeout_ms = 20000));
		CHECK_INT(patched(0), NEW);
		CHECK_OK(hotpatch_restore(patched, .timeout_ms = 20000));
		CHECK_INT(patched(0), OLD);
	}
}

/* A thread that never enters the kernel, so that it must be asked with a signal. */
static atomic_bool stop;
static atomic_int spinning;

static void *spins(void *arg)
{
	atomic_store(&spinning, thread_id());
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		;
	return arg;
}

static pthread_t spin_up(void)
{
	pthread_t thread;

	atomic_store(&stop, false);
	atomic_store(&spinning, 0);
	thread = thread_start(spins, NULL);
	AWAIT(spinning != 0);
	return thread;
}

static void spin_down(pthread_t thread)
{
	atomic_store(&stop, true);
	thread_join(thread);
}

/* -- The program's handlers ---------------------------------------------------------------------------------- */

static atomic_int handled[65];

static void handle(int signo)
{
	atomic_fetch_add(&handled[signo], 1);
}

static sigjmp_buf after_fault;

static void handle_fault(int signo)
{
	atomic_fetch_add(&handled[signo], 1);
	siglongjmp(after_fault, 1);
}

static int *volatile nowhere;

static void fault(void)
{
	if (sigsetjmp(after_fault, 1) == 0)
		*nowhere = 1;
}

static void trap(void)
{
#if defined(__x86_64__)
	__asm__ volatile("int3");
#else
	raise(SIGTRAP); /* a breakpoint's handler would have to step over it */
#endif
}

static void own_signals(int default_signal)
{
	pthread_t thread;
	int n = 0;

	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		if (signo != default_signal)
			signal(signo, handle);
	signal(SIGUSR1, handle);
	signal(SIGUSR2, handle);
	signal(SIGTRAP, handle);
	signal(SIGSEGV, handle_fault);
	thread = spin_up();
	for (; n < 40; n++) {
		change(1);
		fault();
		trap();
		raise(SIGUSR1);
		raise(SIGUSR2);
		/* Real-time signals queue, so that none may be missing. */
		for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
			if (signo != default_signal)
				CHECK_INT(pthread_kill(thread, signo), 0);
		change(1);
	}
	for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
		if (signo != default_signal)
			AWAIT(handled[signo] == n);
	CHECK(handled[SIGUSR1] == n && handled[SIGUSR2] == n && handled[SIGTRAP] == n && handled[SIGSEGV] == n);
	spin_down(thread);
}

/* -- Dispositions -------------------------------------------------------------------------------------------- */

struct dispositions {
	struct sigaction of[65];
};

static void read_dispositions(struct dispositions *dispositions)
{
	memset(dispositions, 0, sizeof(*dispositions));
	for (int signo = 1; signo <= 64; signo++)
		sigaction(signo, NULL, &dispositions->of[signo]);
}

/* Not by memcmp: libc copies a whole sigset_t, of which the kernel has set 8 bytes. */
static bool same_disposition(const struct sigaction *a, const struct sigaction *b)
{
	for (int signo = 1; signo <= 64; signo++)
		if (sigismember(&a->sa_mask, signo) != sigismember(&b->sa_mask, signo))
			return false;
	return a->sa_handler == b->sa_handler && a->sa_flags == b->sa_flags;
}

/* The handler for hotpatch's own signal may stay. */
static void check_dispositions(const struct dispositions *before, int own)
{
	struct dispositions after;

	read_dispositions(&after);
	for (int signo = 1; signo <= 64; signo++)
		if (signo != own && !same_disposition(&before->of[signo], &after.of[signo]))
			FAIL("the disposition of signal %d is not what it was", signo);
}

static void unchanged(int own)
{
	struct dispositions *before = malloc(sizeof(*before));
	sigset_t mask_before, mask_after;
	pthread_t thread = spin_up();

	CHECK(before != NULL);
	read_dispositions(before);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_before);
	change(20);
	check_dispositions(before, own);
	pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
	for (int signo = 1; signo <= 64; signo++)
		CHECK(sigismember(&mask_before, signo) == sigismember(&mask_after, signo));
	spin_down(thread);
	free(before);
}

/* -- Each in a process of its own, where hotpatch has not chosen a signal yet --------------------------------- */

static void in_child(void (*run)(void))
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		deadline(30);
		run();
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK_INT(status, 0);
}

static void by_default(void)
{
	unchanged(SIGRTMAX - 2);
	own_signals(SIGRTMAX - 2);
	unchanged(SIGRTMAX - 2);
}

static void chosen(void)
{
	CHECK_OK(hotpatch_set_signal(SIGRTMIN + 3));
	unchanged(SIGRTMIN + 3);
	own_signals(SIGRTMIN + 3);
}

static void absurd(void)
{
	CHECK_CODE(hotpatch_set_signal(0), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_set_signal(-1), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_set_signal(SIGUSR1), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_set_signal(SIGRTMAX + 1), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_set_signal(SIGRTMIN - 1), HOTPATCH_EINVAL);
	signal(SIGRTMIN + 5, handle);
	CHECK_CODE(hotpatch_set_signal(SIGRTMIN + 5), HOTPATCH_ESIGNAL);
	unchanged(SIGRTMAX - 2);
}

/* The program has taken the signal that hotpatch uses unless told. */
static void clash(void)
{
	struct dispositions *before = malloc(sizeof(*before));
	pthread_t thread;

	CHECK(before != NULL);
	signal(SIGRTMAX - 2, handle);
	read_dispositions(before);
	thread = spin_up();
	CHECK_CODE(hotpatch_fn(patched, fresh, .timeout_ms = 2000), HOTPATCH_ESIGNAL);
	CHECK_SAYS("hotpatch_set_signal");
	CHECK_INT(patched(0), OLD);
	check_dispositions(before, 0);
	raise(SIGRTMAX - 2);
	CHECK_INT(handled[SIGRTMAX - 2], 1);
	CHECK_OK(hotpatch_set_signal(SIGRTMAX - 3));
	change(10);
	check_dispositions(before, SIGRTMAX - 3);
	spin_down(thread);
	free(before);
}

/* The program takes it only after hotpatch did: its handler stays and is not called for what it did not send. */
static void late_clash(void)
{
	pthread_t thread = spin_up();
	struct sigaction now;
	int r;

	change(5);
	signal(SIGRTMAX - 2, handle);
	r = hotpatch_fn(patched, fresh, .timeout_ms = 2000);
	CHECK_CODE(r, HOTPATCH_ESIGNAL);
	CHECK_INT(patched(0), OLD);
	CHECK_INT(handled[SIGRTMAX - 2], 0);
	sigaction(SIGRTMAX - 2, NULL, &now);
	CHECK(now.sa_handler == handle);
	spin_down(thread);
}

int main(void)
{
	deadline(60);
	in_child(by_default);
	in_child(chosen);
	in_child(absurd);
	in_child(clash);
	in_child(late_clash);
	return 0;
}
