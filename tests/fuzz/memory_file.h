/* memory_file - the input of a target as a file, for readers that want a path. */
#ifndef TESTS_FUZZ_MEMORY_FILE_H
#define TESTS_FUZZ_MEMORY_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY_FILE_PATH = 64 };

/* Its descriptor, to be closed; the path is good until then. */
static inline int memory_file(const void *bytes, size_t size, char ret_path[MEMORY_FILE_PATH])
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		abort();
	snprintf(ret_path, MEMORY_FILE_PATH, "/proc/self/fd/%d", fd);
	return fd;
}

#endif
