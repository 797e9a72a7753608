/* work - what lies between a save and code that runs: which files were touched, what is compiled, what waits to be
 * applied.
 *
 *     touched files --rest--> dirty units --compilers--> fresh units --reload--> the program
 *
 * One file that is saved while nothing else is done is not waited for: its compilers begin at once, and it comes to
 * rest while they run. Nothing is applied or told before that, and what is written meanwhile is compiled anew.
 *
 * watch.h has the states. In the mode manual fresh units wait for hp_work_apply; a reload that was refused waits for
 * the next save, or for it.
 */
#ifndef HP_WATCH_WORK_H
#define HP_WATCH_WORK_H

#include "watch/builds.h"
#include "watch/report.h"
#include "watch/saves.h"
#include "watch/touched.h"

enum hp_watch_mode {
	HP_WATCH_AUTO,       /* at once; who stays in old code goes on with it */
	HP_WATCH_MANUAL,     /* when it is asked for */
	HP_WATCH_SAFE_POINT, /* when nobody is in old code, or all that are, are in hotpatch_poll */
	HP_WATCH_MODES,
};

struct hp_work {
	struct hp_report *report;
	struct hp_watched *watched;
	enum hp_watch_mode mode;
	const char *patch_file; /* the generation is kept there; NULL */
	struct hp_units units;
	struct hp_texts texts;
	struct hp_saves *saves;
	struct hp_jobs *jobs;
	struct hp_builds builds;
	struct hp_lines *lines;
	size_t n_adopted; /* files that are watched */
	struct hp_touched touched;
	double saved_at;               /* first save of what is being worked on; 0: nothing is */
	double settled_at;             /* its compilers were started */
	const struct hp_source *taken; /* its compiler has ended just now: what was saved since may have been read */
	double waits_since;            /* they are done, and files are not at rest; 0: no */
	bool has_failed;               /* units have, and it was said */
	bool is_wanted;                /* a reload, whatever the mode */
	bool is_by_key;                /* saved_at is when it was asked for: the save is long ago */
	bool is_correction;            /* the whole of what was applied in part: nothing was saved since */
	bool are_calls_held;           /* behind a crash: who waits may be in old code, and come to no safe point */
	bool was_polling;              /* and it was said */
	unsigned generation;           /* the last one made */
	struct hp_names_told stuck;    /* functions that threads stay in */
};

/* Reads the database, keeps the sources as they are, and watches them. HOTPATCH_EBUILD, HOTPATCH_ENOFILE,
 * HOTPATCH_ENOMEM. */
int hp_work_begin(struct hp_work *work, const char *database, bool is_polling, struct hp_err *err) HP_MUST_CHECK;
void hp_work_end(struct hp_work *work); /* one that was not begun is fine */

/* Learns in idle time which headers each unit includes. */
void hp_work_learn(struct hp_work *work);

/* Sees what was saved, starts compilers, takes what they made, applies it: as far as that goes without waiting. */
void hp_work_go_on(struct hp_work *work);

/* How many milliseconds until hp_work_go_on is to be called although nothing happened; -1: never. */
int hp_work_timeout(const struct hp_work *work);

/* Applies what waits, and tries again what failed or was refused; false: there is nothing. */
bool hp_work_apply(struct hp_work *work);

/* Whether nobody may be in old code when another takes its place. */
bool hp_work_is_strict(const struct hp_work *work);

/* What is said of a failure outside of a reload. */
void hp_work_say_failure(struct hp_work *work, const struct hp_err *err);

#endif
