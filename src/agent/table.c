#include "agent/table.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
enum { CLOSE_UNSHARE = 2 /* CLOSE_RANGE_UNSHARE */, KEPT_LOW = 1 << 18 };

/* The numbers in a folder of /proc, one after the other; -1 at the end. */
static int next_number(DIR *folder)
{
	for (struct dirent *entry; (entry = readdir(folder));)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9')
			return atoi(entry->d_name);
	return -1;
}

/* All of this thread's but those from `kept` on, and the folder's own. */
static void close_all_below(int kept)
{
	if (syscall(SYS_close_range, 0, kept - 1, 0) == 0)
		return;
	DIR *folder = opendir("/proc/thread-self/fd");
	for (int fd; folder && (fd = next_number(folder)) >= 0;)
		if (fd < kept && fd != dirfd(folder))
			close(fd);
	if (folder)
		closedir(folder);
}

/* What libc or we say on 1 and 2 goes nowhere, and not to a client. */
static void fill_standard(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

bool hp_table_leave(void)
{
	if (syscall(SYS_close_range, 0, ~0u, CLOSE_UNSHARE) != 0) {
		if (unshare(CLONE_FILES) != 0)
			return false;
		close_all_below(1 << 30);
	}
	fill_standard();
	return true;
}

int hp_table_move_up(int fd)
{
	int low = KEPT_LOW, up;
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= KEPT_LOW)
		low = limit.rlim_cur > 64 ? (int)limit.rlim_cur - 32 : 3;
	up = fcntl(fd, F_DUPFD_CLOEXEC, low);
	if (up < 0)
		return fd;
	close(fd);
	return up;
}

void hp_table_borrow(void)
{
	int program = (int)syscall(SYS_pidfd_open, getpid(), 0);
	DIR *folder = opendir("/proc/self/fd"); /* the first thread's: the program's */
	if (program >= 0)
		program = hp_table_move_up(program);
	for (int fd; program >= 0 && folder && (fd = next_number(folder)) >= 0;) {
		int copy = (int)syscall(SYS_pidfd_getfd, program, fd, 0);
		if (copy < 0 || copy == fd)
			continue;
		if (fd != dirfd(folder) && fd != program)
			dup3(copy, fd, O_CLOEXEC);
		close(copy);
	}
	if (folder)
		closedir(folder);
	if (program >= 0)
		close(program);
}

void hp_table_give_back(void)
{
	struct rlimit limit;
	int kept = KEPT_LOW;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= KEPT_LOW)
		kept = limit.rlim_cur > 64 ? (int)limit.rlim_cur - 32 : 3;
	close_all_below(kept);
	fill_standard();
}
