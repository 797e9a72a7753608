/* socket - where the agent listens, and who may come in.
 *
 *     $XDG_RUNTIME_DIR/hotpatch/PID.sock     where that is set and the process's own
 *     /run/hotpatch/PID.sock                 where that can be made or is there for us: for root
 *     /tmp/hotpatch-UID/PID.sock             else
 *
 * The folder must be a directory (no symbolic link) of our own or of root, which nobody else may write to: then nobody
 * else can put something in the place of the socket. The socket has mode 0600 from its first moment on. A client is of
 * the same user or root (SO_PEERCRED).
 */
#ifndef HP_AGENT_SOCKET_H
#define HP_AGENT_SOCKET_H

#include <stddef.h>

#include "base/err.h"

/* A socket that listens, not blocking; path of `size` bytes. `given`: "" for the above. */
int hp_socket_listen(const char *given, char *ret_path, size_t size, int *ret_fd, struct hp_err *err) HP_MUST_CHECK;

/* The next client, or -1 with errno: EACCES for one that may not come in. */
int hp_socket_accept(int listener);

#endif
