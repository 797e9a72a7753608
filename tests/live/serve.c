/* serve - hotpatch_serve: the agent is there and answers, in every kind of program, and the program does not notice: no
 * descriptor is taken, waits and sleeps are what they were, a child has its own, and when the first thread has left
 * with pthread_exit the process ends with the last other one.
 *
 * build: variants=gcc-O2,clang-O2,static,archive limit=60
 *
 * Seen to fail: without hp_table_leave (descriptors), without look_for_the_last_thread (the end never comes), with the
 * socket's folder unchecked (refusals).
 */
#include "check.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char folder[] = "/tmp/hp-serve-XXXXXX", path[64];

HOTPATCHABLE int answer(void)
{
	return 1;
}
static int other(void)
{
	return 2;
}

/* Says hello as doc/protocol.md has it; the code that is answered, or 1. */
static int hello(const char *where)
{
	static const unsigned char request[] = {10, 0, 0, 0, 1, 0, 0, 0,   9,   0,   0,
	                                        0,  1, 0, 0, 0, 4, 0, 't', 'e', 's', 't'};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	unsigned char reply[16];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), code = 1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(fd, request, sizeof(request), MSG_NOSIGNAL) == sizeof(request) &&
	    recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply))
		memcpy(&code, reply + 12, sizeof(code));
	close(fd);
	return code;
}

static int lowest_descriptor(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(fd);
	return fd;
}

static void refusals(void)
{
	char open_folder[128], link[160], long_path[300];
	snprintf(open_folder, sizeof(open_folder), "%s/open", folder);
	CHECK(mkdir(open_folder, 0777) == 0 && chmod(open_folder, 0777) == 0);
	snprintf(path, sizeof(path), "%s/open/s", folder);
	CHECK_CODE(hotpatch_serve(.path = path), HOTPATCH_ESYSTEM);
	CHECK_SAYS("others may write");
	snprintf(link, sizeof(link), "%s/link", folder);
	CHECK(symlink("/tmp", link) == 0);
	snprintf(path, sizeof(path), "%s/link/s", folder);
	CHECK_CODE(hotpatch_serve(.path = path), HOTPATCH_ESYSTEM);
	CHECK_SAYS("symbolic link");
	CHECK_CODE(hotpatch_serve(.path = link), HOTPATCH_ESYSTEM); /* something else stands there */
	CHECK_CODE(hotpatch_serve(.path = "/no/such/folder/s"), HOTPATCH_ESYSTEM);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	CHECK_CODE(hotpatch_serve(.path = long_path), HOTPATCH_EINVAL);
	CHECK_CODE(hotpatch_serve_with(&(struct hotpatch_serve_options){.size = 3}), HOTPATCH_EINVAL);
	unlink(link);
	rmdir(open_folder);
}

static void starts(void)
{
	struct stat status;
	int before = lowest_descriptor();
	snprintf(path, sizeof(path), "%s/s", folder);
	CHECK_OK(hotpatch_serve(.path = path));
	CHECK_OK(hotpatch_serve(.path = path));
	CHECK_CODE(hotpatch_serve(), HOTPATCH_ESTATE);
	CHECK(lstat(path, &status) == 0 && S_ISSOCK(status.st_mode));
	CHECK_INT(status.st_mode & 0777, 0600);
	CHECK_INT(lowest_descriptor(), before);
	CHECK_INT(hello(path), 0);
}

static void works_beside_it(void)
{
	CHECK_INT(answer(), 1);
	for (int i = 0; i < 100; i++) {
		CHECK_OK(hotpatch_fn(answer, other));
		CHECK_INT(answer(), 2);
		CHECK_OK(hotpatch_restore(answer));
		CHECK_INT(answer(), 1);
	}
	CHECK_INT(hello(path), 0);
	CHECK(setresuid(getuid(), getuid(), getuid()) == 0);
	int status;
	CHECK_INT(waitpid(-1, &status, WNOHANG), -1); /* no child was made */
}

/* The child of a program that chose the place has no agent; nor does it take the parent's. */
static void child_leaves_it_alone(void)
{
	pid_t child = fork();
	if (child == 0)
		exit(0); /* with exit handlers */
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	CHECK_INT(hello(path), 0);
}

static void *last(void *arg)
{
	nap(200);
	CHECK_INT(hello(path), 0);
	if (unlink(path) != 0 || rmdir(folder) != 0)
		FAIL("the folder cannot be removed: %s", strerror(errno));
	return arg;
}

int main(void)
{
	deadline(50);
	CHECK(mkdtemp(folder) != NULL);
	refusals();
	starts();
	works_beside_it();
	child_leaves_it_alone();
	CHECK(pthread_detach(thread_start(last, NULL)) == 0);
	pthread_exit(NULL);
}
