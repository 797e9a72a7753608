/* link - one patch into one process, in two steps.
 *
 *     prepare   view, match, resolve, lay out, reserve, relocate, write, seal, register, ask the agent for a dry run
 *     commit    one request, whose transition changes all functions at one instant
 *
 * Prepare leaves nothing behind when it fails, and nothing that runs when it succeeds: a patch over several processes
 * is prepared in all of them before it is committed in any. What is prepared belongs to the connection, and is gone
 * with it unless it was committed.
 */
#ifndef HP_REMOTE_LINK_H
#define HP_REMOTE_LINK_H

#include "elf/patchfile.h"
#include "remote/client.h"

struct hp_link_options {
	enum hotpatch_mode mode;
	uint32_t timeout_ms, stall_ms; /* 0: defaults */
	bool aside;                    /* what it replaces may be put back: hp_remote_switch */
	bool check;                    /* prepare writes nothing into the process, and there is no commit */
	bool later;       /* what is of images that are not loaded is left out; nothing else there: nothing to commit */
	uint64_t instead; /* a patch, by id, that it takes the place of at the same instant; 0: none */
};

struct hp_link;

/* file and remote live longer. */
int hp_link_prepare(struct hp_remote *remote, const struct hp_patchfile *file, const struct hp_link_options *options,
                    struct hp_link **ret_link, struct hp_remote_result *ret_result, struct hp_err *err) HP_MUST_CHECK;

/* How it is to be committed, where that is not what it was prepared for. */
void hp_link_set_mode(struct hp_link *link, enum hotpatch_mode mode, uint32_t timeout_ms);

/* ret_result is to be freed also after failure, after which it may be tried again. */
int hp_link_commit(struct hp_link *link, struct hp_remote_result *ret_result, struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_link_free(struct hp_link *link);

/* What is to be told of it. */
struct hp_link_report {
	size_t n_functions;
	uint64_t address; /* of its memory, of the first part; 0: none yet */
	uint64_t size;    /* of all parts */
	size_t n_replaced;
	size_t n_absent;    /* changes that were left out */
	const char *absent; /* the function of the first of them, "" */
};

void hp_link_tell(const struct hp_link *link, struct hp_link_report *ret_report);

/* What debuggers are told of one part (link/symfile.h), as long as the link lives; false: there are not so many. */
bool hp_link_symfile(const struct hp_link *link, size_t part, const uint8_t **ret_bytes, size_t *ret_size);

#endif
