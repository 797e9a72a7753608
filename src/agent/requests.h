/* requests - one handler for each kind of request, and the answers that say what failed. */
#ifndef HP_AGENT_REQUESTS_H
#define HP_AGENT_REQUESTS_H

#include "agent/client.h"
#include "live/ask.h"

struct hp_outcome;

/* A request being handled. The handler reads all of `in`, then checks, then does; it returns 0 with its results behind
 * what is in `out`, or a code with err filled, and then nothing was done unless `live`. */
struct hp_exchange {
	struct hp_agent *agent;
	struct hp_client *client;
	struct hp_asker asker; /* the client: what has not happened when it goes does not happen */
	struct hp_cursor in;
	struct hp_wire *out;
	struct hp_err err;
	bool live;               /* of a failure: the change holds all the same */
	struct hp_wire blockers; /* of a failure: as they stand in the answer */
	uint32_t n_blockers;
};

/* Answers the frame in client->in into client->out. */
void hp_request_answer(struct hp_agent *agent, struct hp_client *client);

/* HOTPATCH_EINVAL unless all of the body was read, and was there. */
int hp_request_read(struct hp_exchange *x) HP_MUST_CHECK;

/* Writes the threads in the way, naming them but no addresses: those are the command's to name. function: for those
 * that know no better; may be NULL. Returns how many. */
uint32_t hp_request_put_blockers(struct hp_wire *wire, const struct hp_outcome *outcome, const char *function);

/* Handlers that have files of their own. */
int hp_images_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_symbols_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_region_reserve_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_region_write_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_region_seal_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_region_register_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_region_release_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_apply_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_revert_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_switch_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_forget_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_patches_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_changes_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_status_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_client_wait_handle(struct hp_exchange *x) HP_MUST_CHECK;
int hp_record_notes_handle(struct hp_exchange *x) HP_MUST_CHECK;

#endif
