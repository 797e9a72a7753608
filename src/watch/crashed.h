/* crashed - what is told of a thread that crashed in reloaded code, and of what becomes of it.
 *
 *     14:02:11 crash: draw_sky at src/draw.c:31, of reload 3, in thread 4711 'app': SIGSEGV, nothing is mapped at 0x10
 *       #0           draw_sky at src/draw.c:31 (reload 3)
 *       #1           main at src/main.c:88
 *       held         who calls what reload 3 changed waits; there are 3 other threads
 *       now          save a change, or u, and they go on with that; d ends the process, with a core
 *
 * The agent keeps the thread and holds the calls (agent/crashes.h).
 */
#ifndef HP_WATCH_CRASHED_H
#define HP_WATCH_CRASHED_H

#include "watch/report.h"

struct hp_crashed {
	size_t n;     /* threads that have crashed, and that was said */
	bool is_held; /* calls wait for what becomes of the last one */
};

/* Asks the agent when something may have happened, and says what has. False: there is no answer. */
bool hp_crashed_look(struct hp_crashed *crashed, struct hp_report *report, struct hp_lines *lines,
                     struct hp_watched *watched);

/* The process ends by its crash; says so where there is none. */
void hp_crashed_let_die(const struct hp_crashed *crashed, struct hp_report *report, struct hp_watched *watched);

#endif
