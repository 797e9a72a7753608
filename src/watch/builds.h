/* builds - what compiles the units: the base once, the new text as often as it is saved.
 *
 *     dirty unit ---> hp_builds_start ---> jobs: new (in the real tree)          ---> hp_builds_take: object, or failed
 *                                                old, plain (in the base's view)      base ready
 *                '---> text, part (of a large unit, beside new)  ---> hp_builds_take: the part (part.h)
 *     idle       ---> rule (-M)   which headers each unit includes that was not compiled yet
 *
 * Compilers see the real tree for new texts, so what they say names real files.
 */
#ifndef HP_WATCH_BUILDS_H
#define HP_WATCH_BUILDS_H

#include "watch/jobs.h"
#include "watch/texts.h"
#include "watch/units.h"

struct hp_builds {
	struct hp_units *units;
	struct hp_texts *texts;
	struct hp_jobs *jobs;
	bool has_colours; /* of what compilers say */
	unsigned count;   /* of objects that were made */
	bool has_parts;   /* of large units, what changed is compiled first */
};

/* Compiles the unit from what is on disk; what was compiled of it before and is not done is given up. */
int hp_builds_start(struct hp_builds *builds, struct hp_source *unit, struct hp_err *err) HP_MUST_CHECK;

/* Learns which files all units include, of which that is not known; idle: when there is nothing else to do. */
int hp_builds_learn(struct hp_builds *builds, bool is_idle, struct hp_err *err) HP_MUST_CHECK;

/* Whether the unit's new text, or its base, is being compiled. */
bool hp_builds_has(const struct hp_builds *builds, const struct hp_source *unit);

/* Takes a job that is done; false: none is. The unit of a new text or a part is *ret_unit, else that is NULL: then
 * is_failed, or a new object that is fresh, and is_dirty where its text was written to meanwhile. */
bool hp_builds_take(struct hp_builds *builds, struct hp_source **ret_unit, struct hp_err *err);

#endif
