#include "code/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/mapped.h"
#include "code/emulated.h"

/* -- Writing ----------------------------------------------------------------------------------------------------- */

void hp_text_open(struct hp_text *text)
{
	*text = (struct hp_text){.fd = -1};
}

void hp_text_close(struct hp_text *text)
{
	if (text->fd >= 0)
		close(text->fd);
	hp_text_open(text);
}

/* The protection of the mapping at address, from /proc/thread-self/maps; false where it cannot be found out. */
static bool find_protection(uintptr_t address, int *ret_protection)
{
	/* Emulators show the program's mappings by this name only. */
	FILE *maps = fopen(hp_emulated() ? "/proc/self/maps" : "/proc/thread-self/maps", "re");
	char line[512], flags[5];
	unsigned long low, high;
	bool found = false;
	while (maps && !found && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %4s", &low, &high, flags) == 3 && address >= low && address < high) {
			*ret_protection = (flags[0] == 'r' ? PROT_READ : 0) | (flags[1] == 'w' ? PROT_WRITE : 0) |
			                  (flags[2] == 'x' ? PROT_EXEC : 0);
			found = true;
		}
	if (maps) {
		fclose(maps);
		errno = EFAULT; /* if it was not found: nothing is mapped there */
	}
	return found;
}

/* An aligned word at once: it may be an instruction that is executed meanwhile. (ThreadSanitizer keeps no shadow of
 * text.) */
__attribute__((no_sanitize("thread"))) static void store(uintptr_t address, const uint8_t *bytes, size_t n)
{
	uint32_t word;
	if (n == sizeof(word) && address % sizeof(word) == 0) {
		memcpy(&word, bytes, sizeof(word));
		*(volatile uint32_t *)address = word;
		return;
	}
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)address)[i] = bytes[i];
}

/* Never without PROT_EXEC: other threads execute the page. */
static int write_page(uintptr_t address, const uint8_t *bytes, size_t n, struct hp_err *err)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE), page = address & ~(page_size - 1);
	int protection;
	if (!find_protection(address, &protection))
		return hp_err_system(err, HOTPATCH_ETEXT, errno,
		                     "program text cannot be written: /proc/thread-self/mem is refused, and without "
		                     "/proc/thread-self/maps the protection of %#lx is not known",
		                     (unsigned long)page);
	if (mprotect((void *)page, page_size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
		return hp_err_system(
			err, HOTPATCH_ETEXT, errno,
			"program text cannot be written: both /proc/thread-self/mem (proc_mem.force_override, a "
			"non-dumpable process) and mprotect (seccomp, SELinux, PR_SET_MDWE) are refused");
	store(address, bytes, n);
	__builtin___clear_cache((char *)address, (char *)address + n);
	if (mprotect((void *)page, page_size, protection) != 0)
		return hp_err_system(err, HOTPATCH_ETEXT, errno,
		                     "the protection of a page of text cannot be given back");
	return 0;
}

static int write_by_mprotect(uintptr_t address, const uint8_t *bytes, size_t n, struct hp_err *err)
{
	uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	int error = 0;
	while (n > 0 && error == 0) {
		size_t part = page_size - (address & (page_size - 1));
		if (part > n)
			part = n;
		error = write_page(address, bytes, part, err);
		address += part;
		bytes += part;
		n -= part;
	}
	return error;
}

int hp_text_write(struct hp_text *text, uintptr_t address, const void *bytes, size_t n, struct hp_err *err)
{
	int saved = errno, error = 0;
	if (!text->opened && !hp_emulated())
		text->fd = open("/proc/thread-self/mem", O_RDWR | O_CLOEXEC);
	text->opened = true;
	if (text->fd < 0 || pwrite(text->fd, bytes, n, (off_t)address) != (ssize_t)n)
		error = write_by_mprotect(address, bytes, n, err);
	errno = saved;
	return error;
}

/* -- Reading ----------------------------------------------------------------------------------------------------- */

/* Where process_vm_readv is not known. */
static size_t read_through_file(const struct iovec *pieces, size_t n, uint8_t *buffer)
{
	long fd = hp_syscall(SYS_openat, AT_FDCWD, (long)"/proc/thread-self/mem", O_RDONLY | O_CLOEXEC, 0, 0, 0);
	size_t total = 0;
	for (size_t i = 0; i < n && fd >= 0; i++) {
		long size = (long)pieces[i].iov_len, at = (long)pieces[i].iov_base;
		long got = hp_syscall(SYS_pread64, fd, (long)buffer + (long)total, size, at, 0, 0);
		total += got > 0 ? (size_t)got : 0;
		if (got != size)
			break;
	}
	if (fd >= 0)
		hp_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	return total;
}

size_t hp_memory_read_pieces(const struct iovec *pieces, size_t n, void *buffer)
{
	struct iovec local = {buffer, 0};
	for (size_t i = 0; i < n; i++)
		local.iov_len += pieces[i].iov_len;
	long self = hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
	long got = hp_syscall(SYS_process_vm_readv, self, (long)&local, 1, (long)pieces, (long)n, 0);
	if (got == -ENOSYS)
		return read_through_file(pieces, n, buffer);
	return got > 0 ? (size_t)got : 0;
}

size_t hp_memory_read_some(uintptr_t address, void *buffer, size_t n)
{
	struct iovec piece = {(void *)address, n};
	return hp_memory_read_pieces(&piece, 1, buffer);
}

bool hp_memory_read(uintptr_t address, void *buffer, size_t n)
{
	return hp_memory_read_some(address, buffer, n) == n;
}

bool hp_text_read(uintptr_t address, void *buffer, size_t n)
{
	if (!hp_mapped_is_text(address, n))
		return hp_memory_read(address, buffer, n);
	memcpy(buffer, (const void *)address, n);
	return true;
}

/* -- The kernel's barrier ---------------------------------------------------------------------------------------- */

/* Registering is cheap while the process has one thread and takes an RCU grace period later: so when we are loaded. */
__attribute__((constructor)) static void register_barrier(void)
{
	hp_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
}

bool hp_text_barrier(void)
{
	long result = hp_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
	if (result == -EPERM) { /* not registered: a child of fork, or a kernel that forgot at exec */
		register_barrier();
		result = hp_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0);
	}
	return result == 0;
}
