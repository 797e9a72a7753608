/* cut - an agent that loses its connection, preloaded beside the runtime. Of the requests to apply a patch
 * (doc/protocol.md), the first of which is a dry run, the HP_CUT-th is not seen ("request"), or is carried out and its
 * answer not sent
 * ("answer"), as HP_CUT_WHAT says. */
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KIND = 4, APPLY = 11, REPLY = 0x8000 };

static int kind_of(const void *bytes, ssize_t n)
{
	const uint8_t *at = bytes;
	return n >= 12 ? at[KIND] | at[KIND + 1] << 8 : 0;
}

static int is_time(const char *what)
{
	static int count;
	const char *wanted = getenv("HP_CUT_WHAT"), *number = getenv("HP_CUT");
	return wanted && number && strcmp(wanted, what) == 0 && ++count == atoi(number);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	ssize_t (*next)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");
	if (kind_of(bytes, (ssize_t)n) == (APPLY | REPLY) && is_time("answer")) {
		shutdown(fd, SHUT_RDWR);
		errno = EPIPE;
		return -1;
	}
	return next(fd, bytes, n, flags);
}

ssize_t recv(int fd, void *bytes, size_t n, int flags)
{
	ssize_t (*next)(int, void *, size_t, int) = dlsym(RTLD_NEXT, "recv");
	ssize_t got = next(fd, bytes, n, flags);
	if (kind_of(bytes, got) == APPLY && is_time("request")) {
		shutdown(fd, SHUT_RDWR);
		return 0;
	}
	return got;
}
