#include "agent/leftovers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/crashes.h"
#include "agent/records.h"
#include "agent/regions.h"
#include "arch/arch.h"
#include "code/text.h"
#include "live/proof.h"

enum { FEW = 8, SEARCH_MS = 2000 };

static struct hp_region *region_of(const struct hp_agent *agent, const struct hp_record *record, size_t i)
{
	return hp_region_find(agent, record->regions[i]);
}

/* -- What needs no search ---------------------------------------------------------------------------------------- */

static const struct hp_record *find_user(const struct hp_agent *agent, const struct hp_record *record)
{
	for (const struct hp_record *other = agent->records; other; other = other->next)
		for (size_t i = 0; other != record && i < other->n_used; i++)
			for (size_t k = 0; k < record->n_regions; k++)
				if (other->used[i] == record->regions[k])
					return other;
	return NULL;
}

/* The word that kept it last time keeps it still. */
static bool is_kept_as_before(const struct hp_agent *agent, const struct hp_record *record)
{
	uintptr_t value = 0;
	if (!record->left.address || !hp_memory_read(record->left.address, &value, sizeof(value)) ||
	    value != record->left.target)
		return false;
	const struct hp_region *region = hp_region_at(agent, value);
	for (size_t i = 0; i < record->n_regions; i++)
		if (region && record->regions[i] == region->id)
			return true;
	return false;
}

static bool is_candidate(const struct hp_agent *agent, struct hp_record *record)
{
	const struct hp_record *user = record->patch || record->aside ? NULL : find_user(agent, record);
	if (record->patch || record->aside)
		return false;
	if (user) {
		record->left = (struct hp_left){.reason = ""};
		snprintf(record->left.reason, sizeof(record->left.reason), "the patch '%.200s' refers to it",
		         user->name);
		return false;
	}
	return !is_kept_as_before(agent, record);
}

/* -- The search -------------------------------------------------------------------------------------------------- */

struct tidy {
	struct hp_proof proof;
	struct hp_record *records[HP_CANDIDATES_MAX]; /* by candidate */
};

/* [low, high) but for the pieces that unwinders and debuggers alone refer to. */
static void aim(struct hp_proof *proof, struct hp_candidate *candidate, struct hp_span at,
                const struct hp_region *region)
{
	const struct hp_span pieces[] = {{(uintptr_t)region->linked.eh_frame, (uintptr_t)region->linked.eh_frame_end},
	                                 region->symfile};
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		const struct hp_span *piece = &pieces[i];
		if (piece->low >= piece->high || piece->high <= at.low || piece->low >= at.high)
			continue;
		if (piece->low > at.low)
			aim(proof, candidate, (struct hp_span){at.low, piece->low}, region);
		if (piece->high < at.high)
			aim(proof, candidate, (struct hp_span){piece->high, at.high}, region);
		return;
	}
	hp_proof_aim(proof, candidate, at);
}

/* What we keep of a region ourselves is no need for it. */
static void add_region(struct hp_proof *proof, struct hp_candidate *candidate, struct hp_region *region)
{
	for (size_t i = 0; i < region->linked.n_segments; i++)
		aim(proof, candidate, (struct hp_span){region->linked.segments[i].low, region->linked.segments[i].high},
		    region);
	hp_proof_skip(proof, region, sizeof(*region));
	hp_proof_skip(proof, region->linked.eh_frame, (size_t)(region->linked.eh_frame_end - region->linked.eh_frame));
	hp_proof_skip(proof, (const void *)region->symfile.low, region->symfile.high - region->symfile.low);
	hp_proof_skip(proof, region->linked.names, region->linked.n_names * sizeof(*region->linked.names));
	if (!hp_region_hide(region))
		hp_proof_keep(candidate, "there was no memory to look at it");
}

static void collect(struct hp_agent *agent, struct tidy *tidy)
{
	struct hp_proof *proof = &tidy->proof;
	for (struct hp_record *record = agent->records; record && proof->n < HP_CANDIDATES_MAX; record = record->next) {
		if (!is_candidate(agent, record))
			continue;
		tidy->records[proof->n] = record;
		struct hp_candidate *candidate = hp_proof_add(proof, NULL, record->name);
		hp_proof_skip(proof, record, sizeof(*record));
		hp_proof_skip(proof, record->notes, record->notes_size);
		for (size_t i = 0; i < record->n_regions; i++)
			add_region(proof, candidate, region_of(agent, record, i));
	}
}

/* -- What becomes of them ---------------------------------------------------------------------------------------- */

static void keep(const struct hp_agent *agent, struct hp_record *record, const struct hp_kept *why)
{
	struct hp_left *left = &record->left;
	*left = (struct hp_left){.address = why->address, .target = why->target};
	memcpy(left->reason, why->reason, sizeof(left->reason));
	memcpy(left->place, why->place, sizeof(left->place));
	for (size_t i = 0; i < record->n_regions; i++)
		hp_region_show(region_of(agent, record, i));
}

static void let_go(struct hp_agent *agent, struct hp_record *record)
{
	for (size_t i = 0; i < record->n_regions; i++)
		hp_region_drop(agent, region_of(agent, record, i));
	hp_record_remove(agent, record);
	agent->n_left--;
}

static void settle(struct hp_agent *agent, const struct tidy *tidy)
{
	for (size_t i = 0; i < tidy->proof.n; i++)
		if (tidy->proof.v[i].kept)
			keep(agent, tidy->records[i], &tidy->proof.v[i].why);
		else
			let_go(agent, tidy->records[i]);
}

static int search(struct hp_agent *agent, struct tidy *tidy, const struct hp_saved_regs *saved,
                  struct hp_session *session)
{
	struct hp_proof *proof = &tidy->proof;
	/* NOLINTNEXTLINE(-Wanalyzer-possible-null-dereference): look_at_all has seen that it is there */
	proof->frame = session->request.frame - 6 * sizeof(uintptr_t);
	collect(agent, tidy);
	if (!proof->n)
		return 0;
	hp_proof_skip(proof, tidy, sizeof(*tidy));
	int error = hp_registry_enter(&session->err);
	if (!error) {
		hp_proof_skip_ours(proof, session);
		hp_registry_leave();
		error = hp_proof_run(proof, saved, &session->request, &session->err);
	}
	if (error)
		hp_proof_keep_all(proof, session->err.text);
	settle(agent, tidy);
	return error;
}

/* Two sessions: what the first one lets go of is destroyed at its end. */
static int look_at_all(struct hp_agent *agent, const struct hp_saved_regs *saved, const void *frame)
{
	const struct hotpatch_options options = {.size = sizeof(options),
	                                         .mode = HOTPATCH_TRY,
	                                         .timeout_ms = SEARCH_MS};
	struct hp_session session;
	struct tidy *tidy = calloc(1, sizeof(*tidy));
	int error = hp_session_begin(&session, &options, frame);
	if (!error)
		error = hp_reclaim_definitions(&session);
	hp_session_close(&session);
	if (!error && tidy) {
		error = hp_session_begin(&session, &options, frame);
		if (!error)
			(void)search(agent, tidy, saved, &session);
		hp_session_close(&session);
	}
	hp_memory_forget(tidy, sizeof(*tidy));
	return error;
}

__attribute__((noinline)) void hp_leftovers_tidy(struct hp_agent *agent)
{
	struct hp_saved_regs saved;
	if (agent->n_left < (agent->left_limit ? agent->left_limit : FEW))
		return;
	hp_crashes_learn(agent); /* not of what may go */
	hp_arch_regs_save(&saved);
	int error = look_at_all(agent, &saved, __builtin_frame_address(0));
	if (error != HOTPATCH_EBUSY) /* the program itself is applying something: the next time */
		agent->left_limit = agent->n_left < FEW / 2 ? FEW : 2 * agent->n_left;
}
