/* watch - a program that changes as its sources are saved.
 *
 *     IDLE       a save                     --> SETTLING; of one file: its compilers begin at once
 *     SETTLING   20 ms without another save --> COMPILING all that is dirty, unless it runs already
 *     COMPILING  a save                     --> SETTLING, and what reads that file begins anew
 *                all of it compiles         --> RELOAD
 *                something does not         --> IDLE: what the compiler says is told; it stays dirty, and nothing is
 *                                               applied before it compiles
 *     RELOAD     applied, or refused        --> IDLE
 *
 * One thread, one poll: files, compilers, the process, signals. Which state holds is not written down anywhere: files
 * are touched (SETTLING), jobs run (COMPILING), units are fresh (RELOAD).
 */
#ifndef HP_WATCH_WATCH_H
#define HP_WATCH_WATCH_H

#include "watch/report.h"
#include "watch/work.h"

struct hp_watch_options {
	const char *database;
	char **program; /* to be started; NULL: pid */
	pid_t pid;
	const char *library; /* libhotpatch.so.0 */
	bool is_polling;
	bool has_parts; /* of large units, what changed is compiled first */
	bool has_keys;  /* standard input is read for keys though it is no terminal */
	bool holds;     /* threads that crash in reloaded code are kept, and calls of it held */
	enum hp_watch_mode mode;
	const char *patch_file; /* the last generation made is kept there; NULL */
};

enum hp_watch_end {
	HP_WATCH_LEFT,   /* somebody wanted to; a program that was found runs on */
	HP_WATCH_ENDED,  /* the program has ended by itself, with status 0 */
	HP_WATCH_GONE,   /* it has ended otherwise, or is none of ours */
	HP_WATCH_FAILED, /* err: it could not begin */
};

/* Until the end. What there is to say is reported. */
enum hp_watch_end hp_watch_run(const struct hp_watch_options *options, struct hp_report *report, struct hp_err *err);

#endif
