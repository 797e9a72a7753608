/* report - what a failing call leaves for hotpatch_error(): one sentence, and who was in the way. Per thread. */
#ifndef HP_BASE_REPORT_H
#define HP_BASE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { HP_FRAMES_MAX = 24 }; /* recorded of one stack */

/* A thread in the way, as the transition found it; addresses not named yet. */
struct hp_obstacle {
	int tid;
	bool is_self;
	const char *reason;   /* lives for ever */
	const char *function; /* "" where not known; lives until the report is made */
	const uintptr_t *frames;
	size_t n_frames;
};

/* Of a thread of this process, as the kernel has it; "" where it is gone. */
void hp_report_thread_name(int tid, char *name, size_t size);

/* Makes room for this thread's report; false where there is no memory for it. Then nothing must be begun of which there
 * would be more to say than that nothing was changed. */
bool hp_report_ready(void);

/* Forgets who stood in the way of this thread's last failure: frames hold addresses of code. Its sentence stays. */
void hp_report_forget(void);

/* Records err for this thread, with "; nothing was changed" behind its sentence, and returns code. 0 is passed through
 * and leaves the last failure as it was. Allocates: never while callers are held. */
int hp_report(int code, const struct hp_err *err);

/* The same with obstacles, and with `truth` ("nothing was changed", ...) behind the sentence. */
int hp_report_obstacles(int code, const struct hp_err *err, const char *truth, const struct hp_obstacle *obstacles,
                        size_t n);

#endif
