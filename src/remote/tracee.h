/* tracee - one thread of another process, stopped for a moment and made to call functions (ptrace(2)).
 *
 *     stop:     PTRACE_SEIZE, PTRACE_INTERRUPT: no signal is sent, no parent sees a stop; the other threads run on
 *     call:     registers set, PTRACE_SYSCALL until the thread comes to the system call instruction it returns to
 *     let go:   registers, vector state and signal mask as they were; a system call that was interrupted is made again
 *
 * Functions run on a stack of their own, so nothing of the thread's is written. Its signals are blocked meanwhile.
 */
#ifndef HP_REMOTE_TRACEE_H
#define HP_REMOTE_TRACEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "base/err.h"

struct hp_tracee {
	pid_t pid, tid;
	struct user_regs_struct regs; /* as it was found */
	uint8_t *vector;              /* XSAVE area, as it was found */
	size_t vector_size;
	uint64_t mask;        /* of signals, as it was found */
	uint64_t syscall_at;  /* a system call instruction */
	uint64_t area, size;  /* memory of ours in the process: text at its beginning, the stack at its end */
	bool changed, masked; /* its registers, its mask are not what they were */
	uint64_t deadline;    /* CLOCK_MONOTONIC, ms */
};

/* Stops the thread and reads its state. HOTPATCH_ESYSTEM with the reason, EGONE, ETIMEDOUT. */
int hp_tracee_stop(pid_t pid, pid_t tid, uint64_t deadline, struct hp_tracee *ret_tracee,
                   struct hp_err *err) HP_MUST_CHECK;

/* Gives everything back and lets it go on. */
void hp_tracee_release(struct hp_tracee *tracee);

/* Gets ready for calls: finds a system call instruction, blocks signals, maps the area. */
int hp_tracee_prepare(struct hp_tracee *tracee, struct hp_err *err) HP_MUST_CHECK;

/* n bytes of the process's memory. */
bool hp_tracee_read(const struct hp_tracee *tracee, uint64_t address, void *buffer, size_t n);
bool hp_tracee_write(const struct hp_tracee *tracee, uint64_t address, const void *bytes, size_t n);
/* A string, cut where the buffer ends. */
void hp_tracee_read_string(const struct hp_tracee *tracee, uint64_t address, char *buffer, size_t size);

/* A function of the process, and a system call (-errno on failure). ETIMEDOUT when it has not returned by the deadline:
 * the thread is put back all the same. */
int hp_tracee_call(struct hp_tracee *tracee, uint64_t function, uint64_t a, uint64_t b, uint64_t *ret_result,
                   struct hp_err *err) HP_MUST_CHECK;
int hp_tracee_syscall(struct hp_tracee *tracee, long number, const uint64_t args[6], int64_t *ret_result,
                      struct hp_err *err) HP_MUST_CHECK;

uint64_t hp_now_ms(void); /* CLOCK_MONOTONIC */

#endif
