#include "agent/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

/* -- The folder -------------------------------------------------------------------------------------------------- */

static int check_folder(const char *folder, struct hp_err *err)
{
	struct stat status;
	if (lstat(folder, &status) != 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the folder '%s' of the agent's socket", folder);
	if (!S_ISDIR(status.st_mode))
		return hp_err_set(err, HOTPATCH_ESYSTEM, "'%s', where the agent's socket is to lie, is no folder%s",
		                  folder, S_ISLNK(status.st_mode) ? " but a symbolic link" : "");
	if (status.st_uid != geteuid() && status.st_uid != 0)
		return hp_err_set(err, HOTPATCH_ESYSTEM,
		                  "the folder '%s' of the agent's socket belongs to another user (%u)", folder,
		                  (unsigned)status.st_uid);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return hp_err_set(err, HOTPATCH_ESYSTEM,
		                  "others may write to the folder '%s' of the agent's socket (mode %03o); chmod 755 it",
		                  folder, (unsigned)status.st_mode & 0777);
	return 0;
}

/* Makes the folder if it is not there. */
static int ready_folder(const char *folder, struct hp_err *err)
{
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno,
		                     "the folder '%s' for the agent's socket cannot be made", folder);
	int error = check_folder(folder, err);
	if (!error && access(folder, W_OK | X_OK) != 0)
		error = hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the folder '%s' of the agent's socket", folder);
	return error;
}

/* Only where it is the user's own: after sudo it may be somebody else's. */
static const char *runtime_dir(void)
{
	const char *folder = secure_getenv("XDG_RUNTIME_DIR");
	struct stat status;
	bool own = folder && *folder == '/' && lstat(folder, &status) == 0 && S_ISDIR(status.st_mode) &&
	           status.st_uid == geteuid();
	return own ? folder : NULL;
}

static int choose_folder(char *folder, size_t size, struct hp_err *err)
{
	const char *runtime = runtime_dir();
	if (runtime && snprintf(folder, size, "%s/hotpatch", runtime) < (int)size && ready_folder(folder, err) == 0)
		return 0;
	snprintf(folder, size, "/run/hotpatch");
	if (ready_folder(folder, err) == 0)
		return 0;
	snprintf(folder, size, "/tmp/hotpatch-%u", (unsigned)geteuid());
	return ready_folder(folder, err);
}

static int choose_path(const char *given, char *path, size_t size, struct hp_err *err)
{
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(given, '/');
	int n, error;
	if (!*given) {
		error = choose_folder(folder, sizeof(folder), err);
		n = snprintf(path, size, "%s/%d.sock", folder, (int)getpid());
	} else {
		n = snprintf(path, size, "%s", given);
		if (slash && slash > given)
			snprintf(folder, sizeof(folder), "%.*s", (int)(slash - given), given);
		else
			snprintf(folder, sizeof(folder), slash ? "/" : ".");
		error = n < (int)size ? check_folder(folder, err) : 0;
	}
	if (!error && n >= (int)size)
		error = hp_err_set(err, HOTPATCH_EINVAL, "the path of the agent's socket, '%.40s...', is too long",
		                   path);
	return error;
}

/* -- The socket -------------------------------------------------------------------------------------------------- */

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	return address;
}

/* What an earlier process of this number left behind refuses connections. */
static int remove_stale(const char *path, struct hp_err *err)
{
	struct stat status;
	struct sockaddr_un address = address_of(path);
	if (lstat(path, &status) != 0)
		return 0;
	if (!S_ISSOCK(status.st_mode))
		return hp_err_set(err, HOTPATCH_ESYSTEM,
		                  "'%s', where the agent's socket is to lie, is something else%s", path,
		                  S_ISLNK(status.st_mode) ? ": a symbolic link" : "");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive = fd >= 0 && (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN);
	if (fd >= 0)
		close(fd);
	if (alive)
		return hp_err_set(err, HOTPATCH_ESYSTEM, "another process listens at '%s'", path);
	if (unlink(path) != 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the socket '%s' of an earlier process", path);
	return 0;
}

/* bind(2) makes the file with the socket's own mode: no moment in which others could connect, no umask changed. */
static int bind_and_listen(int fd, const char *path, struct hp_err *err)
{
	struct sockaddr_un address = address_of(path);
	if (fchmod(fd, 0600) != 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "no socket can be made at '%s'", path);
	if (listen(fd, BACKLOG) != 0) {
		int error = hp_err_system(err, HOTPATCH_ESYSTEM, errno, "the socket '%s' cannot listen", path);
		unlink(path);
		return error;
	}
	return 0;
}

int hp_socket_listen(const char *given, char *ret_path, size_t size, int *ret_fd, struct hp_err *err)
{
	int error = choose_path(given, ret_path, size, err);
	if (!error)
		error = remove_stale(ret_path, err);
	if (error)
		return error;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "no socket can be had");
	error = bind_and_listen(fd, ret_path, err);
	if (error)
		close(fd);
	else
		*ret_fd = fd;
	return error;
}

int hp_socket_accept(int listener)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == geteuid() || peer.uid == 0))
		return fd;
	close(fd);
	errno = EACCES;
	return -1;
}
