/* watched - a program that looks closely at itself while something is done to it from outside: every wait must end as
 * it should, no sleep early, no register be another afterwards. It prints what was wrong, and "ready" when all threads
 * are at it. On SIGTERM it says how often it looked, and ends with status 1 if anything was wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static atomic_int wrong, looked, ready, ending;

static void complain(const char *what, long a, double seconds)
{
	atomic_fetch_add(&wrong, 1);
	printf("wrong: %s: %ld %s after %.4f s\n", what, a, a < 0 ? strerror(errno) : "", seconds);
	fflush(stdout);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

enum { WAIT_MS = 150 };

static long wait_epoll(void)
{
	struct epoll_event event;
	static int fd = -1;
	if (fd < 0)
		fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_wait(fd, &event, 1, WAIT_MS);
}

static long wait_recv(void)
{
	static int pair[2] = {-1, -1};
	char byte;
	if (pair[0] < 0) {
		struct timeval time = {0, WAIT_MS * 1000};
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
			abort();
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
	}
	ssize_t got = recv(pair[0], &byte, 1, 0);
	return got < 0 && errno == EAGAIN ? 0 : got;
}

static long wait_nanosleep(void)
{
	struct timespec time = {0, WAIT_MS * 1000000};
	return nanosleep(&time, NULL);
}

static long wait_sem(void)
{
	static sem_t semaphore;
	struct timespec time;
	clock_gettime(CLOCK_REALTIME, &time);
	time.tv_nsec += WAIT_MS * 1000000;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	int r = sem_timedwait(&semaphore, &time);
	return r < 0 && errno == ETIMEDOUT ? 0 : r;
}

struct waiter {
	const char *name;
	long (*wait)(void);
};

static const struct waiter waiters[] = {
	{"epoll_wait", wait_epoll},
	{"recv", wait_recv},
	{"nanosleep", wait_nanosleep},
	{"sem_timedwait", wait_sem},
};

/* Registers that a wait must not change: the vector ones a system call leaves alone, and the control words. The wait is
 * made by the bare instruction between writing and reading them. */
static void check_registers(void)
{
	uint64_t in[4] = {0x0123456789abcdef, 0xfedcba9876543210, 0x5555aaaa5555aaaa, 0x1111222233334444}, out[4] = {0};
	struct timespec time = {0, 20000000};
	uint32_t mxcsr_in = 0x1f80 | 0x6000, mxcsr_out, mxcsr_old; /* round to zero */
	uint16_t control_in = 0x0c7f, control_out, control_old;
	long result;
	uint64_t flag_area[2] = {0x7777777777777777, 0x8888888888888888};
	__asm__ volatile("stmxcsr %[old]\n\tldmxcsr %[in]" : [old] "=m"(mxcsr_old) : [in] "m"(mxcsr_in));
	__asm__ volatile("fnstcw %[old]\n\tfldcw %[in]" : [old] "=m"(control_old) : [in] "m"(control_in));
	__asm__ volatile("movq %[a], %%xmm3\n\tmovq %[b], %%xmm12\n\tmovq %[c], %%mm2\n\t"
	                 "pinsrq $1, %[d], %%xmm12\n\t"
	                 "movq %[d], -16(%%rsp)\n\t"     /* in the red zone */
	                 "mov $35, %%eax\n\tsyscall\n\t" /* nanosleep */
	                 "movq -16(%%rsp), %[d]\n\t"
	                 "movq %%xmm3, %[oa]\n\tmovq %%xmm12, %[ob]\n\tmovq %%mm2, %[oc]\n\temms"
	                 : [oa] "=m"(out[0]), [ob] "=m"(out[1]), [oc] "=m"(out[2]), "=&a"(result), [d] "+r"(in[3])
	                 : [a] "m"(in[0]), [b] "m"(in[1]), [c] "m"(in[2]), "D"(&time), "S"(0)
	                 : "rcx", "r11", "memory", "xmm3", "xmm12", "mm2");
	__asm__ volatile("stmxcsr %[out]\n\tldmxcsr %[old]" : [out] "=m"(mxcsr_out) : [old] "m"(mxcsr_old));
	__asm__ volatile("fnstcw %[out]\n\tfldcw %[old]" : [out] "=m"(control_out) : [old] "m"(control_old));
	if (memcmp(in, out, 24) != 0 || in[3] != 0x1111222233334444)
		complain("a vector register or the red zone", 0, 0);
	if ((mxcsr_out & 0xffc0) != (mxcsr_in & 0xffc0) || control_out != control_in)
		complain("mxcsr or the x87 control word", 0, 0);
	if (result != 0 && !atomic_load(&ending))
		complain("a bare nanosleep", result, 0);
	if (flag_area[0] + flag_area[1] != 0xffffffffffffffff)
		complain("memory", 0, 0);
}

/* Runs, and never sleeps: doubles and integers in registers. */
static void *compute(void *arg)
{
	double x = 1;
	uint64_t n = 0;
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&ending)) {
		x = x * 1.0000001;
		if (x > 2)
			x = 1;
		n = n * 6364136223846793005u + 1442695040888963407u;
		if (x < 1 || x > 2.1)
			complain("a sum", (long)x, 0);
	}
	return arg ? arg : (void *)(uintptr_t)n;
}

static void *look(void *arg)
{
	const struct waiter *waiter = arg;
	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&ending)) {
		double from = now();
		errno = 0;
		long got = waiter->wait();
		double took = now() - from;
		if (atomic_load(&ending)) /* by the signal that ends all */
			break;
		if (got != 0 || took < WAIT_MS * 1e-3 - 0.002)
			complain(waiter->name, got, took);
		atomic_fetch_add(&looked, 1);
	}
	return NULL;
}

static void on_term(int signo)
{
	(void)signo;
	atomic_store(&ending, 1);
}

static void on_fault(int signo)
{
	(void)signo;
	static const char text[] = "wrong: a fault\n";
	(void)!write(1, text, sizeof(text) - 1);
	_exit(1);
}

/* watched [NAME|compute|registers]: one of them alone, in the first thread; all without. */
int main(int argc, char **argv)
{
	pthread_t threads[8];
	size_t n = 0;
	struct sigaction before, after;
	signal(SIGTERM, on_term);
	signal(SIGSEGV, on_fault);
	signal(SIGTRAP, on_fault);
	sigaction(SIGSEGV, NULL, &before);
	const char *only = argc > 1 ? argv[1] : NULL;
	printf("ready\n");
	fflush(stdout);
	if (only && strcmp(only, "compute") == 0) {
		compute(NULL);
	} else if (only && strcmp(only, "registers") == 0) {
		while (!atomic_load(&ending)) {
			check_registers();
			atomic_fetch_add(&looked, 1);
		}
	} else if (only) {
		for (size_t i = 0; i < sizeof(waiters) / sizeof(*waiters); i++)
			if (strcmp(only, waiters[i].name) == 0)
				look((void *)(uintptr_t)&waiters[i]);
	} else {
		for (size_t i = 0; i < sizeof(waiters) / sizeof(*waiters); i++) /* not where worked.c left no memory */
			if (pthread_create(&threads[n], NULL, look, (void *)(uintptr_t)&waiters[i]) == 0)
				n++;
			else if (getenv("WORKED_POLICY") == NULL)
				complain("pthread_create", 0, 0);
		while (!atomic_load(&ending)) {
			check_registers();
			atomic_fetch_add(&looked, 1);
		}
		for (size_t i = 0; i < n; i++)
			pthread_join(threads[i], NULL);
	}
	sigaction(SIGSEGV, NULL, &after);
	if (memcmp(&before.sa_handler, &after.sa_handler, sizeof(before.sa_handler)) != 0)
		complain("the handler of SIGSEGV", 0, 0);
	printf("looked %d times, %d wrong\n", atomic_load(&looked), atomic_load(&wrong));
	return atomic_load(&wrong) != 0;
}
