/* reload - one reload: what became of a save, to be told.
 *
 *     units ---> step: applied or old.o against object      what this save changed, for people
 *           '--> whole: old.o against object, of all units  patch "watch.N", which replaces the one in force
 *
 * A generation is cumulative: the whole difference from the program that was started. So a reload never depends on
 * those before it, and going back to the text of the start is no patch at all.
 */
#ifndef HP_WATCH_RELOAD_H
#define HP_WATCH_RELOAD_H

#include "watch/generations.h"
#include "watch/lines.h"
#include "watch/units.h"
#include "watch/watched.h"

enum hp_reload_kind {
	HP_RELOAD_APPLIED,
	HP_RELOAD_ORIGINAL, /* the sources are as they were at the start, and so is the program again */
	HP_RELOAD_NOTHING,  /* no function differs from what runs */
	HP_RELOAD_REFUSED,  /* err says why */
};

struct hp_names_told {
	char **v;
	size_t n;
};

struct hp_reload {
	enum hp_reload_kind kind;
	unsigned number; /* of the generation */
	struct hp_names_told files, changed, fresh, removed, kept, initialisers;
	struct hp_remote_result result; /* of the commit */
	bool is_part;                   /* of the functions that changed: their whole unit is still being compiled */
	bool is_corrected;              /* the whole, compiled behind its part, which was applied */
	bool is_unkept;                 /* the patch file could not be written */
	struct hp_err err;
	double compare_ms, pack_ms, prepare_ms, commit_ms;
};

struct hp_reload_options {
	unsigned last; /* generation that was made before; 0: none */
	struct hp_patience patience;
	const char *patch_file;            /* the patch is kept there; NULL */
	bool is_correction;                /* nothing was saved since a part was applied: this is its whole */
	struct hp_lines *lines;            /* learn those of the generation */
	const struct hp_names_told *stuck; /* functions that threads were seen to stay in: not waited for again */
};

/* Makes a generation of all units that are fresh, and applies it. Nothing is fresh after APPLIED, ORIGINAL and NOTHING;
 * after REFUSED all stays as it was. */
void hp_reload_run(struct hp_units *units, struct hp_watched *watched, const struct hp_reload_options *options,
                   struct hp_reload *ret_reload);
void hp_reload_free(struct hp_reload *reload);

/* Functions that threads still run as they were. Takes the place of what is in names. */
void hp_reload_stuck(const struct hp_reload *reload, struct hp_names_told *names);
void hp_names_told_free(struct hp_names_told *names);

#endif
