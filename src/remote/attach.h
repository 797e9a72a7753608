/* attach - puts the runtime into a process that knows nothing of it, and starts its agent.
 *
 *     which thread?   asleep in a wait, called from outside libc: it owns no lock that loading a library takes
 *        |            else, when none is found for a while: running in the program's own code, called by nobody else
 *        v
 *     stopped for some milliseconds; the others run on. It calls dlopen and hotpatch_serve, and is put back as it was.
 *
 * A thread stopped anywhere may hold the lock of malloc or of the dynamic linker, and would wait for itself. Who sleeps
 * in poll, read, nanosleep, a futex ... holds none of them, unless the wait lies beneath a function of libc or of the
 * dynamic linker (a constructor, a handler that interrupted malloc): so its stack is unwound precisely, by libdw.
 */
#ifndef HP_REMOTE_ATTACH_H
#define HP_REMOTE_ATTACH_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct hp_attach_options {
	const char *library; /* path of libhotpatch.so.0 here */
	unsigned timeout_ms; /* to find a thread, and for what it is made to call; 0: 5000 */
};

struct hp_attached {
	bool already;   /* there was an agent */
	bool by_memfd;  /* the process cannot open the library's path: it was given a copy */
	pid_t thread;   /* that was made to load it */
	double stopped; /* for so many ms */
};

/* HOTPATCH_EGONE; ENOTSUP: static, of another kind; ESYSTEM: another user's, traced, stopped, a policy; ETIMEDOUT: no
 * thread was found at a safe place, or one did not come back; ELOAD: what the dynamic linker says. */
int hp_attach(pid_t pid, const struct hp_attach_options *options, struct hp_attached *ret_attached,
              struct hp_err *err) HP_MUST_CHECK;

/* Whether a process can be attached to, as far as that can be seen without stopping it. */
int hp_attach_check(pid_t pid, struct hp_err *err) HP_MUST_CHECK;

#endif
