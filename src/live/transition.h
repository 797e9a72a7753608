/* transition - what takes a set of changes from prepared to live: gate, drain, open. transition.c has the states. */
#ifndef HP_LIVE_TRANSITION_H
#define HP_LIVE_TRANSITION_H

#include "live/ask.h"
#include "live/blockers.h"

/* One site gets another current definition. */
struct hp_change {
	struct hp_site *site;
	struct hp_layer *layers; /* of the site once the change is live, lowest first */
	size_t n_layers;
	size_t kept; /* how many of its present layers, from below, are not looked for: they are not being replaced */
	bool keep_original; /* nor is the original */
	bool look_for_top;  /* but what stays current is: it may be about to call what is taken away beneath it */
};

struct hp_request {
	enum hotpatch_mode mode;
	uint64_t deadline;            /* CLOCK_MONOTONIC, ns */
	uint64_t stall;               /* longest a caller is held in one attempt, ns */
	unsigned timeout_ms;          /* for the sentence */
	const struct hp_asker *asker; /* or NULL: for whom it is; once it has gone nothing is changed any more */
	bool scan_memory;             /* for return addresses, once all threads are out: suspended.h */
	uintptr_t frame;              /* of the function that the program called; below it are our own frames */
	void (*commit)(void *arg);    /* or NULL: done with the change, while nobody is in old or new definitions (WAIT,
	                               * TRY), callers are held and this thread takes no signals */
	void *commit_arg;
};

/* Makes the changes live. Returns 0, HOTPATCH_EDEADLK, EBUSY or ETIMEDOUT (nothing changed), HOTPATCH_EINPROGRESS
 * (live, not drained), or why it could not be prepared. The caller has the turn; every site has room for its layers. */
int hp_transition_run(struct hp_change *changes, size_t n, const struct hp_request *request,
                      struct hp_outcome *ret_outcome, struct hp_err *err) HP_MUST_CHECK;

/* Asks every thread once, callers held by nothing, whether it is in the definition. For code that nobody can enter any
 * more. True is a proof that none is; else the obstacles are in *ret_outcome, unless that is NULL. */
bool hp_definition_is_left(const struct hp_definition *definition, struct hp_outcome *ret_outcome);

/* Layers are read (hotpatch_for_each) and written under this lock, which is held for the length of a few stores. */
void hp_layers_lock(void);
void hp_layers_unlock(void);

/* In a child of fork, which has one thread: ends the transition another thread of the parent was in. */
void hp_transition_reset(void);

#endif
