/* faults - every call of the runtime that can fail, made to fail by its number.
 *
 * The program is linked with libhotpatch.a, and the linker's --wrap leads each call below through here. The calls of
 * the armed thread are counted; number `fail_at` fails as the system lets it fail. Once (a moment without memory), or,
 * if lasting, with every later call of its kind (a policy).
 *
 * What cannot fail (gettid, getpid, a futex that is woken, a signal mask) is not counted.
 */
#ifndef TESTS_LIVE_FAULTS_H
#define TESTS_LIVE_FAULTS_H

#include "check.h"

#include <dlfcn.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>

static struct {
	long calls, fail_at; /* fail_at -1: none */
	bool lasting, fired;
	const char *kind; /* that fired */
	long held;        /* allocations less frees */
} faults = {.fail_at = -1};

static __thread bool armed;

static bool fault(const char *kind)
{
	if (!armed)
		return false;
	if (faults.calls++ == faults.fail_at) {
		faults.fired = true;
		faults.kind = kind;
		return true;
	}
	return faults.lasting && faults.fired && strcmp(faults.kind, kind) == 0;
}

/* WRAP(type, name, errno, failed, parameters, arguments) */
#define WRAP(type, name, error, failed, parameters, arguments)                                                         \
	type __real_##name parameters;                                                                                 \
	type __wrap_##name parameters;                                                                                 \
	type __wrap_##name parameters                                                                                  \
	{                                                                                                              \
		if (!fault(#name))                                                                                     \
			return __real_##name arguments;                                                                \
		errno = (error);                                                                                       \
		return (failed);                                                                                       \
	}

/* The same, of what gives memory that is freed. */
#define WRAP_MEMORY(name, parameters, arguments)                                                                       \
	void *__real_##name parameters;                                                                                \
	void *__wrap_##name parameters;                                                                                \
	void *__wrap_##name parameters                                                                                 \
	{                                                                                                              \
		void *got = fault(#name) ? NULL : __real_##name arguments;                                             \
		if (got == NULL)                                                                                       \
			errno = ENOMEM;                                                                                \
		faults.held += got != NULL;                                                                            \
		return got;                                                                                            \
	}

WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(strdup, (const char *text), (text))
WRAP_MEMORY(realpath, (const char *path, char *resolved), (path, resolved))

void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size)
{
	void *got = fault("realloc") ? NULL : __real_realloc(memory, size);

	faults.held += got != NULL && memory == NULL;
	return got;
}

void __real_free(void *memory);
void __wrap_free(void *memory);
void __wrap_free(void *memory)
{
	faults.held -= memory != NULL;
	__real_free(memory);
}

WRAP(FILE *, fopen64, EMFILE, NULL, (const char *path, const char *mode), (path, mode))
WRAP(ssize_t, pread64, EIO, -1, (int fd, void *buffer, size_t n, off64_t at), (fd, buffer, n, at))
WRAP(ssize_t, pwrite64, EIO, -1, (int fd, const void *buffer, size_t n, off64_t at), (fd, buffer, n, at))
WRAP(ssize_t, read, EIO, -1, (int fd, void *buffer, size_t n), (fd, buffer, n))
WRAP(ssize_t, write, ENOSPC, -1, (int fd, const void *buffer, size_t n), (fd, buffer, n))
WRAP(int, fstat64, EIO, -1, (int fd, struct stat64 *status), (fd, status))
WRAP(int, stat64, EACCES, -1, (const char *path, struct stat64 *status), (path, status))
WRAP(int, memfd_create, EMFILE, -1, (const char *name, unsigned flags), (name, flags))
WRAP(void *, mmap64, ENOMEM, MAP_FAILED, (void *at, size_t size, int prot, int flags, int fd, off64_t offset),
     (at, size, prot, flags, fd, offset))
WRAP(int, mprotect, ENOMEM, -1, (void *at, size_t size, int prot), (at, size, prot))
WRAP(int, sigaction, EPERM, -1, (int signo, const struct sigaction *action, struct sigaction *old),
     (signo, action, old))
WRAP(int, pthread_mutex_trylock, EBUSY, EBUSY, (pthread_mutex_t * mutex), (mutex))
WRAP(int, pthread_setspecific, ENOMEM, ENOMEM, (pthread_key_t key, const void *value), (key, value))
WRAP(void *, dlopen, ENOMEM, NULL, (const char *path, int flags), (path, flags))

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) /* the runtime creates no file: no mode */
{
	if (!fault("open64"))
		return __real_open64(path, flags);
	errno = EMFILE;
	return -1;
}

/* Raw system calls: how each can fail, 0 for those that cannot. */
static long raw_failure(long number, long b, const char **ret_kind)
{
#define RAW(name, error)                                                                                               \
	case SYS_##name:                                                                                               \
		*ret_kind = "raw " #name;                                                                              \
		return -(error)
	switch (number) {
		RAW(membarrier, ENOSYS);
		RAW(rt_tgsigqueueinfo, EAGAIN);
		RAW(process_vm_readv, EPERM);
		RAW(getdents64, ENOMEM);
		RAW(openat, EMFILE);
		RAW(read, EIO);
		RAW(clock_gettime, EPERM);
		RAW(get_robust_list, EPERM);
		RAW(sched_getaffinity, EPERM);
		RAW(rt_sigaction, EPERM);
		RAW(nanosleep, EINTR);
	case SYS_futex:
		*ret_kind = "raw futex";
		return (b & FUTEX_CMD_MASK) == FUTEX_WAIT ? -EINTR : 0;
	default:
		return 0;
	}
#undef RAW
}

long __real_hp_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_hp_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_hp_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	const char *kind = "";
	long failed = armed ? raw_failure(number, b, &kind) : 0;

	return failed != 0 && fault(kind) ? failed : __real_hp_syscall(number, a, b, c, d, e, f);
}

#endif
