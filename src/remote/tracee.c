#include "remote/tracee.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"

#ifndef PTRACE_EVENT_STOP
#define PTRACE_EVENT_STOP 128
#endif
#ifndef PTRACE_GETSIGMASK
#define PTRACE_GETSIGMASK 0x420a
#define PTRACE_SETSIGMASK 0x420b
#endif
enum { AREA = 512 * 1024, VECTOR_MAX = 16384, SYSCALL_STOP = SIGTRAP | 0x80 };

uint64_t hp_now_ms(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* -- Stopping ------------------------------------------------------------------------------------------------------ */

static int gone(const struct hp_tracee *tracee, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_EGONE, "thread %d of process %d is gone", (int)tracee->tid, (int)tracee->pid);
}

/* The next stop of the thread. */
static int wait_for_stop(const struct hp_tracee *tracee, uint64_t deadline, int *ret_status, struct hp_err *err)
{
	struct timespec pause = {0, 20000};
	for (unsigned i = 0;; i++) {
		pid_t got = waitpid(tracee->tid, ret_status, __WALL | WNOHANG);
		if (got == tracee->tid)
			return WIFSTOPPED(*ret_status) ? 0 : gone(tracee, err);
		if (got < 0 && errno != EINTR)
			return gone(tracee, err);
		if (hp_now_ms() >= deadline)
			return hp_err_set(err, HOTPATCH_ETIMEDOUT,
			                  "thread %d of process %d has not come to a stop in time", (int)tracee->tid,
			                  (int)tracee->pid);
		if (i > 100) /* most stops come at once, and there are hundreds of them */
			nanosleep(&pause, NULL);
	}
}

static int get_regs(const struct hp_tracee *tracee, struct user_regs_struct *ret_regs, struct hp_err *err)
{
	struct iovec piece = {ret_regs, sizeof(*ret_regs)};
	return ptrace(PTRACE_GETREGSET, tracee->tid, NT_PRSTATUS, &piece) == 0 ? 0 : gone(tracee, err);
}

static int set_regs(struct hp_tracee *tracee, const struct user_regs_struct *regs, struct hp_err *err)
{
	struct iovec piece = {(void *)(uintptr_t)regs, sizeof(*regs)};
	tracee->changed = true;
	return ptrace(PTRACE_SETREGSET, tracee->tid, NT_PRSTATUS, &piece) == 0 ? 0 : gone(tracee, err);
}

static int read_state(struct hp_tracee *tracee, struct hp_err *err)
{
	struct iovec vector = {malloc(VECTOR_MAX), VECTOR_MAX};
	int error = get_regs(tracee, &tracee->regs, err);
	if (!error && !vector.iov_base)
		error = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the registers of a thread");
	if (!error && ptrace(PTRACE_GETREGSET, tracee->tid, NT_X86_XSTATE, &vector) != 0)
		error = hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the vector registers of thread %d",
		                      (int)tracee->tid);
	if (!error && ptrace(PTRACE_GETSIGMASK, tracee->tid, sizeof(tracee->mask), &tracee->mask) != 0)
		error = hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the signal mask of thread %d", (int)tracee->tid);
	if (error) {
		free(vector.iov_base);
		return error;
	}
	tracee->vector = vector.iov_base;
	tracee->vector_size = vector.iov_len;
	return 0;
}

int hp_tracee_stop(pid_t pid, pid_t tid, uint64_t deadline, struct hp_tracee *ret_tracee, struct hp_err *err)
{
	struct hp_tracee tracee = {.pid = pid, .tid = tid, .deadline = deadline};
	int status;
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) != 0)
		return errno == ESRCH ? gone(&tracee, err)
		                      : hp_err_system(err, HOTPATCH_ESYSTEM, errno,
		                                      "thread %d of process %d cannot be traced", (int)tid, (int)pid);
	int error = ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0 ? 0 : gone(&tracee, err);
	while (!error && (error = wait_for_stop(&tracee, deadline, &status, err)) == 0 &&
	       status >> 16 != PTRACE_EVENT_STOP) /* a signal came first: it is the thread's */
		ptrace(PTRACE_CONT, tid, 0, status >> 16 ? 0 : WSTOPSIG(status));
	if (!error && WSTOPSIG(status) != SIGTRAP) /* stopped by a job control signal meanwhile */
		error = hp_err_set(err, HOTPATCH_ESYSTEM, "process %d is stopped; continue it first (kill -CONT)",
		                   (int)pid);
	if (!error)
		error = read_state(&tracee, err);
	if (error)
		ptrace(PTRACE_DETACH, tid, 0, 0);
	else
		*ret_tracee = tracee;
	return error;
}

/* -- Letting go ---------------------------------------------------------------------------------------------------- */

/* Signals that wait for the thread, and that it would take: an EINTR may be theirs. */
static bool has_pending(const struct hp_tracee *tracee)
{
	char path[64], line[256];
	uint64_t pending = 0, set;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)tracee->pid, (int)tracee->tid);
	FILE *file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SigPnd:\t%lx", &set) == 1 || sscanf(line, "ShdPnd:\t%lx", &set) == 1)
			pending |= set;
	if (file)
		fclose(file);
	return pending & ~tracee->mask;
}

static void unmap_area(struct hp_tracee *tracee)
{
	if (tracee->area) {
		struct hp_err ignored;
		int64_t result;
		uint64_t args[6] = {tracee->area, tracee->size};
		(void)!hp_tracee_syscall(tracee, SYS_munmap, args, &result, &ignored);
	}
	tracee->area = 0;
}

/* To where the first stop was: the kernel is about to deliver signals, and sees to system calls that it interrupted. */
static void stop_at_signals(struct hp_tracee *tracee)
{
	struct hp_err ignored;
	int status;
	ptrace(PTRACE_INTERRUPT, tracee->tid, 0, 0);
	ptrace(PTRACE_CONT, tracee->tid, 0, 0);
	while (wait_for_stop(tracee, hp_now_ms() + 1000, &status, &ignored) == 0 && status >> 16 != PTRACE_EVENT_STOP)
		ptrace(PTRACE_CONT, tracee->tid, 0, 0);
}

void hp_tracee_release(struct hp_tracee *tracee)
{
	struct hp_err ignored;
	struct user_regs_struct regs = tracee->regs;
	struct iovec vector = {tracee->vector, tracee->vector_size};
	bool called = tracee->changed;
	tracee->deadline = hp_now_ms() + 1000;
	unmap_area(tracee);
	if (called) {
		stop_at_signals(tracee);
		ptrace(PTRACE_SETREGSET, tracee->tid, NT_X86_XSTATE, &vector);
	}
	if (tracee->masked)
		ptrace(PTRACE_SETSIGMASK, tracee->tid, sizeof(tracee->mask), &tracee->mask);
	bool again = !has_pending(tracee) && hp_arch_syscall_again(&regs);
	if (called || again)
		(void)!set_regs(tracee, &regs, &ignored);
	ptrace(PTRACE_DETACH, tracee->tid, 0, 0);
	free(tracee->vector);
	tracee->vector = NULL;
}

/* -- Memory -------------------------------------------------------------------------------------------------------- */

bool hp_tracee_read(const struct hp_tracee *tracee, uint64_t address, void *buffer, size_t n)
{
	struct iovec local = {buffer, n}, remote = {(void *)(uintptr_t)address, n};
	return process_vm_readv(tracee->tid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

bool hp_tracee_write(const struct hp_tracee *tracee, uint64_t address, const void *bytes, size_t n)
{
	struct iovec local = {(void *)(uintptr_t)bytes, n}, remote = {(void *)(uintptr_t)address, n};
	return process_vm_writev(tracee->tid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

void hp_tracee_read_string(const struct hp_tracee *tracee, uint64_t address, char *buffer, size_t size)
{
	size_t n = 0;
	while (n + 1 < size && hp_tracee_read(tracee, address + n, buffer + n, 1) && buffer[n])
		n++;
	buffer[n] = 0;
}

/* -- Calls --------------------------------------------------------------------------------------------------------- */

/* Goes on until the thread enters or leaves a system call. Signals that nobody can block, and faults, end it. */
static int run_to_syscall_stop(struct hp_tracee *tracee, struct hp_err *err)
{
	int status;
	if (ptrace(PTRACE_SYSCALL, tracee->tid, 0, 0) != 0)
		return gone(tracee, err);
	for (;;) {
		int error = wait_for_stop(tracee, tracee->deadline, &status, err);
		if (error)
			return error;
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		if (status >> 16 == 0 && (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGBUS ||
		                          WSTOPSIG(status) == SIGILL || WSTOPSIG(status) == SIGTRAP))
			return hp_err_set(err, HOTPATCH_ESYSTEM, "what thread %d was made to call ended with signal %d",
			                  (int)tracee->tid, WSTOPSIG(status));
		if (ptrace(PTRACE_SYSCALL, tracee->tid, 0, 0) != 0)
			return gone(tracee, err);
	}
}

/* A call that does not return: the thread is stopped where it is, so that it can be put back. */
static void stop_where_it_is(struct hp_tracee *tracee)
{
	struct hp_err ignored;
	int status;
	ptrace(PTRACE_INTERRUPT, tracee->tid, 0, 0);
	(void)!wait_for_stop(tracee, hp_now_ms() + 1000, &status, &ignored);
}

/* The stop before the system call is executed; then it is skipped. */
static int skip_entered(struct hp_tracee *tracee, struct user_regs_struct *regs, struct hp_err *err)
{
	hp_arch_syscall_skip(regs);
	int error = set_regs(tracee, regs, err);
	return error ? error : run_to_syscall_stop(tracee, err);
}

int hp_tracee_call(struct hp_tracee *tracee, uint64_t function, uint64_t a, uint64_t b, uint64_t *ret_result,
                   struct hp_err *err)
{
	struct user_regs_struct regs = tracee->regs;
	uint64_t args[HP_ARCH_CALL_ARGS] = {a, b}, at, top = tracee->area + tracee->size - 64;
	hp_arch_call_set(&regs, function, args, top, tracee->syscall_at, &at);
	if (at && !hp_tracee_write(tracee, at, &tracee->syscall_at, sizeof(tracee->syscall_at)))
		return hp_err_set(err, HOTPATCH_ESYSTEM, "the stack for a call in process %d cannot be written",
		                  (int)tracee->pid);
	int error = set_regs(tracee, &regs, err);
	do {
		if (!error)
			error = run_to_syscall_stop(tracee, err);
		if (!error)
			error = get_regs(tracee, &regs, err);
	} while (!error && !hp_arch_call_returned(&regs, top, tracee->syscall_at));
	if (error == HOTPATCH_ETIMEDOUT)
		stop_where_it_is(tracee);
	if (error)
		return error;
	*ret_result = hp_arch_call_result(&regs);
	return skip_entered(tracee, &regs, err);
}

int hp_tracee_syscall(struct hp_tracee *tracee, long number, const uint64_t args[6], int64_t *ret_result,
                      struct hp_err *err)
{
	struct user_regs_struct regs = tracee->regs;
	hp_arch_syscall_set(&regs, (uint64_t)number, args, tracee->syscall_at);
	int error = set_regs(tracee, &regs, err);
	for (int stop = 0; stop < 2 && !error; stop++) /* entered, left */
		error = run_to_syscall_stop(tracee, err);
	if (!error)
		error = get_regs(tracee, &regs, err);
	if (!error)
		*ret_result = hp_arch_syscall_result(&regs);
	return error;
}

/* -- Getting ready ------------------------------------------------------------------------------------------------- */

/* The kernel's own image in every process has one: for what it cannot answer itself. */
static int find_syscall(struct hp_tracee *tracee, struct hp_err *err)
{
	char path[64], line[512], name[64];
	unsigned long low, high;
	uint8_t code[16384];
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)tracee->pid);
	FILE *maps = fopen(path, "re");
	while (maps && !tracee->syscall_at && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &low, &high, name) != 3 || strcmp(name, "[vdso]") != 0)
			continue;
		size_t n = high - low;
		if (n > sizeof(code))
			n = sizeof(code);
		size_t at = hp_tracee_read(tracee, low, code, n) ? hp_arch_find_syscall(code, n) : n;
		tracee->syscall_at = at < n ? low + at : 0;
	}
	if (maps)
		fclose(maps);
	return tracee->syscall_at ? 0
	                          : hp_err_set(err, HOTPATCH_ENOTSUP,
	                                       "process %d has no vdso to make system calls with", (int)tracee->pid);
}

/* A fault must stay what it is for the program: were its signal blocked, the kernel would take its handler away. */
static int block_signals(struct hp_tracee *tracee, struct hp_err *err)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
	uint64_t all = UINT64_MAX;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		all &= ~(UINT64_C(1) << (faults[i] - 1));
	all |= tracee->mask;
	tracee->masked = true;
	return ptrace(PTRACE_SETSIGMASK, tracee->tid, sizeof(all), &all) == 0 ? 0 : gone(tracee, err);
}

int hp_tracee_prepare(struct hp_tracee *tracee, struct hp_err *err)
{
	int64_t area = 0;
	int error = find_syscall(tracee, err);
	if (!error)
		error = block_signals(tracee, err);
	if (!error) {
		uint64_t args[6] = {0, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0};
		error = hp_tracee_syscall(tracee, SYS_mmap, args, &area, err);
	}
	if (!error && area < 0 && area > -4096)
		error = hp_err_system(err, HOTPATCH_ENOMEM, (int)-area, "memory in process %d", (int)tracee->pid);
	if (error)
		return error;
	tracee->area = (uint64_t)area;
	tracee->size = AREA;
	return 0;
}
