/* session - a call of the public interface that may change something, the list of what is in force, and the locks.
 *
 * Locks, in this order:
 *     turn      one operation at a time, with a deadline; held across the transition, so across waiting for callers
 *     unloading libraries are being closed: fork waits for it
 *     registry  sites, definitions, images, the plugin: held for moments, never while callers are held
 *     layers    transition.h: what is stacked on sites
 * A caller held at the gate may own none but the last, which the transition therefore only tries.
 */
#ifndef HP_LIVE_SESSION_H
#define HP_LIVE_SESSION_H

#include "live/transition.h"

struct hp_session {
	struct hp_request request;
	bool unchecked, unprepared; /* of the options */
	int cancel_state;
	int saved_errno; /* the program's is left as it was */
	bool has_turn;
	struct hp_definition *discarded; /* to be destroyed when the turn is given back, chained by next */
	struct hp_outcome *outcome;      /* not on the stack, which is about to be searched for return addresses */
	struct hp_err err;
};

/* Every begin is followed by an end, which reports what failed and returns `code`, whether or not begin succeeded.
 * frame: __builtin_frame_address(0) of the function that the program called, or of one below it. */
int hp_session_begin(struct hp_session *session, const struct hotpatch_options *options,
                     const void *frame) HP_MUST_CHECK;
/* The same for somebody who may go away: then nothing is waited for any more. asker: NULL, or until the end. */
int hp_session_begin_for(struct hp_session *session, const struct hotpatch_options *options, const void *frame,
                         const struct hp_asker *asker) HP_MUST_CHECK;
int hp_session_end(struct hp_session *session, int code);
/* The same without the report, for who has told what happened in another way. */
void hp_session_close(struct hp_session *session);

/* Whether the thread is between begin and end of a session. Async-signal-safe. */
bool hp_session_is_of(int tid);

/* Of options that are not those of a session. */
bool hp_options_unprepared(const struct hotpatch_options *options);

/* Has the definition destroyed at the end: nobody refers to it, and no thread is in it. */
void hp_session_discard(struct hp_session *session, struct hp_definition *definition);

/* Held while libraries are closed (reclaim.c), and across fork; the child makes it anew. */
void hp_unloading_lock(void);
void hp_unloading_unlock(void);
void hp_unloading_unlock_in_child(void);

/* Locks the registry and brings the list of images up to date. */
int hp_registry_enter(struct hp_err *err) HP_MUST_CHECK;
void hp_registry_leave(void);

/* The same without the list, which may be of yesterday. */
void hp_registry_lock(void);

#endif
