/* patch - a set of changes, applied and reverted as one. */
#ifndef HP_LIVE_PATCH_H
#define HP_LIVE_PATCH_H

#include "live/session.h"

struct hp_item {
	struct hp_site *site;
	struct hp_definition *definition; /* one reference is the item's */
};

struct hp_listener {
	enum hotpatch_event event;
	hotpatch_callback callback;
	void *arg;
};

struct hotpatch {
	char *name;
	struct hp_item *items;
	size_t n, capacity;
	struct hp_listener *listeners;
	size_t n_listeners;
	bool applied;
	bool leaving;   /* its layers go, in the operation at hand */
	char veto[200]; /* what a callback that refuses has given as the reason */
};

/* What shall become of one site: the layers of patches that are leaving go, `put` comes on top. */
struct hp_wish {
	struct hp_site *site;
	bool drops_direct;         /* the layer of hotpatch_fn and its like goes too */
	struct hp_definition *put; /* NULL: nothing */
	struct hotpatch *owner;    /* of put */
};

/* Fulfils wishes, at most one for a site, in one transition, within a session. */
int hp_wishes_fulfil(const struct hp_wish *wishes, size_t n, struct hp_session *session) HP_MUST_CHECK;

/* Calls the callbacks for the event; err NULL: their answers do not matter. */
int hp_patch_call_listeners(struct hotpatch *patch, enum hotpatch_event event, struct hp_err *err);

/* Adds a change; the patch takes the definition's reference, also on failure. HOTPATCH_EINVAL: it has one. */
int hp_patch_add(struct hotpatch *patch, struct hp_site *site, struct hp_definition *definition,
                 struct hp_err *err) HP_MUST_CHECK;

/* Within a session. */
int hp_patch_apply(struct hotpatch *patch, struct hp_session *session) HP_MUST_CHECK;
int hp_patch_revert(struct hotpatch *patch, struct hp_session *session) HP_MUST_CHECK;
void hp_patch_destroy(struct hotpatch *patch, struct hp_session *session);

/* Makes the definition the site's direct one (hotpatch_fn and its like); takes its reference, also on failure. */
int hp_patch_direct(struct hp_site *site, struct hp_definition *definition, struct hp_session *session) HP_MUST_CHECK;

#endif
