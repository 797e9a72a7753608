/* blockers - who stands in the way: of a transition, or of a survey (survey.h).
 *
 * Obstacles are noted as thread ids and addresses while callers are held, and named afterwards (base/report.h).
 */
#ifndef HP_LIVE_BLOCKERS_H
#define HP_LIVE_BLOCKERS_H

#include "base/report.h"
#include "live/site.h"
#include "live/threads.h"

enum { HP_OBSTACLES_MAX = 32 };

struct hp_outcome {
	bool live;           /* the change holds */
	bool drained;        /* and nobody is in what it replaced, not even in hotpatch_poll */
	size_t n_obstacles;  /* who was in the way, if not */
	char suspended[160]; /* the reason of the one that is no thread */
	struct hp_obstacle obstacles[HP_OBSTACLES_MAX];
	uintptr_t frames[HP_OBSTACLES_MAX][HP_FRAMES_MAX];
};

/* The sites whose code was looked for: an owner of code (stacks.h) is an index into them. */
struct hp_wanted {
	struct hp_site *const *sites;
	size_t n;
};

void hp_blockers_add(struct hp_outcome *outcome, int tid, const char *reason, const struct hp_walk *walk,
                     const struct hp_wanted *wanted);

/* Every thread of the list that is not out. */
void hp_blockers_note(struct hp_outcome *outcome, const struct hp_threads *threads, const struct hp_wanted *wanted);

/* Whether the calling thread is in the codes; its obstacle is noted. frame: as in hp_request. */
bool hp_blockers_self(struct hp_outcome *outcome, const struct hp_codes *codes, uintptr_t frame,
                      const struct hp_wanted *wanted);

#endif
