/* process - processes as /proc shows them: one, and those that are meant by a name or a build-id. */
#ifndef HP_REMOTE_PROCESS_H
#define HP_REMOTE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct hp_process {
	pid_t pid, inner; /* inner: as the process itself sees it, in its namespace */
	uid_t uid;        /* effective */
	char name[64];    /* of the program's file; the thread's name where that is hidden */
	char state;       /* letter of proc(5) */
	pid_t tracer;     /* 0: none */
	int seccomp;      /* 0: none, 1: strict, 2: a filter */
	unsigned threads;
};

/* False: there is none, or it is gone. */
bool hp_process_read(pid_t pid, struct hp_process *ret_process);

struct hp_pids {
	pid_t *v; /* ascending */
	size_t n;
};

/* All processes of that name (the program's file's, or as ps shows it) but our own. HOTPATCH_EGONE where there is none.
 */
int hp_pids_by_name(const char *name, struct hp_pids *ret_pids, struct hp_err *err) HP_MUST_CHECK;

/* All that have a file of that build-id mapped. HOTPATCH_EGONE where there is none. */
int hp_pids_by_build_id(const uint8_t *build_id, size_t size, struct hp_pids *ret_pids,
                        struct hp_err *err) HP_MUST_CHECK;

/* All in which an agent runs; maybe none. */
int hp_pids_with_agent(struct hp_pids *ret_pids, struct hp_err *err) HP_MUST_CHECK;

void hp_pids_free(struct hp_pids *pids);

/* In the environment of who is about to become the program (execvp): the library is preloaded, and its agent told to
 * start. AddressSanitizer's library wants to be first, and is put before it where the program needs it.
 * HOTPATCH_ENOMEM. */
int hp_process_preload(const char *program, const char *library, bool children, struct hp_err *err) HP_MUST_CHECK;

#endif
