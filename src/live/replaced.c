#include "live/replaced.h"

#include "arch/arch.h"
#include "live/gate.h"

/* -- Code -------------------------------------------------------------------------------------------------------- */

static int add_original(struct hp_codes *codes, const struct hp_site *site, uint32_t owner, struct hp_err *err)
{
	int error = hp_definition_add_code(&site->original, codes, owner, err);
	if (!error && site->plan.guarded)
		error = hp_codes_add_function(codes, site->cell.code + HP_CELL_BODY, site->cell.code + HP_CELL_BODY_END,
		                              false, owner, err);
	if (!error && site->copy)
		error = hp_codes_add_function(codes, site->copy, site->copy + HP_COPY_CODE, false, owner, err);
	return error;
}

const struct hp_definition *hp_replaced_by(const struct hp_change *change)
{
	return change->n_layers ? change->layers[change->n_layers - 1].definition : &change->site->original;
}

/* All that a thread may be in of what the change replaces. Code that the new definition shares is not looked for: a
 * function put in its own place runs on. */
static int add_old_code(struct hp_codes *codes, const struct hp_change *change, uint32_t owner, struct hp_err *err)
{
	const struct hp_site *site = change->site;
	static const struct hp_definition none;
	const struct hp_definition *next = change->look_for_top ? &none : hp_replaced_by(change);
	int error = 0;
	if (!change->keep_original && !hp_definition_same_code(&site->original, next))
		error = add_original(codes, site, owner, err);
	for (size_t i = change->kept; i < site->n_layers && !error; i++) {
		const struct hp_definition *definition = site->layers[i].definition;
		if (!definition->is_original && !hp_definition_same_code(definition, next))
			error = hp_definition_add_code(definition, codes, owner, err);
	}
	for (const struct hp_definition *d = site->lingering; d && !error; d = d->next)
		if (!hp_definition_same_code(d, next))
			error = hp_definition_add_code(d, codes, owner, err);
	return error;
}

static int add_prefix(struct hp_codes *codes, const struct hp_site *site, struct hp_err *err)
{
	uintptr_t at = site->entry + (uintptr_t)(intptr_t)site->plan.prefix_at;
	return hp_codes_add_bytes(codes, at, at + 1, HP_OWNER_GATE, err);
}

static int add_landing(struct hp_codes *codes, const struct hp_site *site, struct hp_err *err)
{
	uintptr_t at = site->cell.code + HP_CELL_LANDING_READ;
	return hp_codes_add_bytes(codes, at, at + 1, HP_OWNER_GATE, err);
}

int hp_replaced_add_unclean(struct hp_codes *codes, struct hp_err *err)
{
	int error = 0;
	for (const struct hp_site *site = hp_sites_unclean(); site && !error; site = site->next_unclean)
		error = add_prefix(codes, site, err);
	return error;
}

int hp_replaced_collect(const struct hp_change *changes, size_t n, struct hp_codes *codes, struct hp_err *err)
{
	int error = hp_gate_add_code(codes, err);
	for (size_t i = 0; i < n && !error; i++) {
		error = add_old_code(codes, &changes[i], (uint32_t)i, err);
		if (!error && HP_CELL_LANDING_READ)
			error = add_landing(codes, changes[i].site, err);
		if (!error && changes[i].n_layers == 0 && changes[i].site->plan.prefix_len > 0)
			error = add_prefix(codes, changes[i].site, err);
	}
	if (!error)
		error = hp_replaced_add_unclean(codes, err);
	hp_codes_sort(codes);
	return error;
}

/* -- Notes ------------------------------------------------------------------------------------------------------- */

/* A site, its layers and definitions, and those of the change. */
static bool is_in_note(const struct hp_change *change, uintptr_t at)
{
	const struct hp_site *site = change->site;
	if (at - (uintptr_t)site < sizeof(*site) ||
	    at - (uintptr_t)site->layers < site->layers_capacity * sizeof(*site->layers) ||
	    at - (uintptr_t)change->layers < change->n_layers * sizeof(*change->layers))
		return true;
	for (size_t i = 0; i < site->n_layers; i++)
		if (at - (uintptr_t)site->layers[i].definition < sizeof(struct hp_definition))
			return true;
	for (const struct hp_definition *d = site->lingering; d; d = d->next)
		if (at - (uintptr_t)d < sizeof(*d))
			return true;
	return change->n_layers && at - (uintptr_t)hp_replaced_by(change) < sizeof(struct hp_definition);
}

/* The original behind the jump is what slots lead to: no call ends there. */
static bool is_target(const struct hp_site *site, uintptr_t value)
{
	return site->original.target - site->entry <= HP_ENTRY_AFTER && value == site->original.target;
}

bool hp_replaced_is_note(const struct hp_change *change, const struct hp_hit *hit)
{
	return is_target(change->site, hit->value) || is_in_note(change, hit->address);
}
