/* worked - beside watched.c: two threads that call a function all the time, which is changed from outside, and one that
 * holds values in registers and never sleeps. A call that returns what no definition returns, or a register that is
 * another, ends the program. WORKED_POLICY forbids the process something, as a system may.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

/* In step.c. */
int step(int n);
double step_double(double a, double b);

static int gentle; /* leave the processors to the others now and then */

static void *call(void *arg)
{
	unsigned n = 0;
	for (;;) {
		int got = step((int)n), old = (int)n + 1, new = (int)n + 2;
		double product = step_double(n, 0.5);
		if ((got != old && got != new) || (product != n * 0.5 && product != n * 0.5 + 1)) {
			printf("wrong: step(%u) is %d, step_double is %f\n", n, got, product);
			fflush(stdout);
			_exit(1);
		}
		n = (n + 1) % 1000;
		if (n == 0 && gentle)
			usleep(1000);
	}
	return arg;
}

/* Vector registers, the x87 stack, and control words, held over a loop without a call. */
static void *hold(void *arg)
{
	static const double numbers[4] = {1.5, -2.25, 3.125, 1e300};
	double kept[3], x87;
	unsigned mxcsr, held_mxcsr = 0x1f80 | 0x6000; /* round to zero */
	unsigned short control, held_control = 0x0c7f;
	for (;;) {
		unsigned spins = 20000, standard = 0x1f80;
		__asm__ volatile(
			"ldmxcsr %[held]\n\tfninit\n\tfldcw %[word]\n\tfldl 24(%[in])\n\t"
			"movsd (%[in]), %%xmm3\n\tmovsd 8(%[in]), %%xmm9\n\tmovsd 16(%[in]), %%xmm15\n"
			"1:\tdec %[spins]\n\tjnz 1b\n\t"
			"movsd %%xmm3, (%[out])\n\tmovsd %%xmm9, 8(%[out])\n\tmovsd %%xmm15, 16(%[out])\n\t"
			"fstpl %[x87]\n\tfnstcw %[control]\n\tstmxcsr %[mxcsr]\n\tfninit\n\tldmxcsr %[standard]"
			: [spins] "+r"(spins), [x87] "=m"(x87), [control] "=m"(control), [mxcsr] "=m"(mxcsr)
			: [in] "r"(numbers), [out] "r"(kept), [held] "m"(held_mxcsr), [word] "m"(held_control),
			  [standard] "m"(standard)
			: "xmm3", "xmm9", "xmm15", "memory", "cc");
		if (memcmp(kept, numbers, sizeof(kept)) != 0 || x87 != numbers[3] || control != held_control ||
		    (mxcsr & 0xffc0) != held_mxcsr) {
			printf("wrong: registers of a thread that runs\n");
			fflush(stdout);
			_exit(1);
		}
	}
	return arg;
}

/* -- What a system may forbid; all threads, the agent's too, which was there before ----------------------------------
 */

/* The call is refused, if bits only when its third argument has one of them. */
static int forbid(unsigned number, unsigned bits)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | (bits ? BPF_JSET : BPF_JGE) | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 13 /* EACCES */),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

static int no_address_space(void)
{
	struct rlimit limit = {4096, RLIM_INFINITY};
	return setrlimit(RLIMIT_AS, &limit);
}

static int obey(const char *policy)
{
	if (strcmp(policy, "mprotect") == 0)
		return forbid(SYS_mprotect, PROT_EXEC);
	if (strcmp(policy, "mmap") == 0) /* of anything executable */
		return forbid(SYS_mmap, PROT_EXEC);
	if (strcmp(policy, "memfd") == 0)
		return forbid(SYS_memfd_create, 0);
	if (strcmp(policy, "open") == 0)
		return forbid(SYS_openat, 0);
	if (strcmp(policy, "membarrier") == 0)
		return forbid(SYS_membarrier, 0);
	if (strcmp(policy, "signal") == 0)
		return forbid(SYS_rt_tgsigqueueinfo, 0);
	if (strcmp(policy, "mdwe") == 0)
		return prctl(PR_SET_MDWE, 1, 0, 0, 0);
	if (strcmp(policy, "dumpable") == 0)
		return prctl(PR_SET_DUMPABLE, 0);
	if (strcmp(policy, "memory") == 0)
		return no_address_space();
	return strcmp(policy, "none");
}

__attribute__((constructor)) static void begin(void)
{
	const char *policy = getenv("WORKED_POLICY");
	pthread_t thread;
	gentle = policy != NULL;
	for (int i = 0; i < (gentle ? 2 : 3); i++)
		if (pthread_create(&thread, NULL, i < 2 ? call : hold, NULL) != 0)
			abort();
	if (policy && obey(policy) != 0) {
		printf("not ready: the policy '%s' cannot be had here\n", policy);
		fflush(stdout);
		_exit(77);
	}
}
