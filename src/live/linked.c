#include "live/linked.h"

#include <stdlib.h>

#include "live/registry.h"

/* -- One transition for several patches --------------------------------------------------------------------------- */

struct wishes {
	struct hp_wish *v;
	size_t n;
};

static int check_states(const struct hotpatch *in, struct hotpatch *const *out, size_t n_out, struct hp_err *err)
{
	if (in && in->applied)
		return hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is applied already", in->name);
	for (size_t i = 0; i < n_out; i++)
		if (!out[i]->applied)
			return hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is not applied", out[i]->name);
	return 0;
}

/* Marked sites have a wish already. */
static int wish_for(const struct hotpatch *patch, bool put, struct wishes *wishes, struct hp_err *err)
{
	for (size_t i = 0; i < patch->n; i++) {
		const struct hp_item *item = &patch->items[i];
		if (item->site->mark && put)
			return hp_err_set(err, HOTPATCH_EINVAL,
			                  "patch '%s' replaces '%s' twice; one set changes a function once",
			                  patch->name, item->site->name);
		if (item->site->mark)
			continue;
		item->site->mark = 1;
		wishes->v[wishes->n++] = (struct hp_wish){
			.site = item->site,
			.put = put ? item->definition : NULL,
			.owner = (struct hotpatch *)(uintptr_t)patch,
		};
	}
	return 0;
}

static int make_wishes(const struct hotpatch *in, struct hotpatch *const *out, size_t n_out, struct wishes *wishes,
                       struct hp_err *err)
{
	size_t n = in ? in->n : 0;
	for (size_t i = 0; i < n_out; i++)
		n += out[i]->n;
	if (n == 0)
		return hp_err_set(err, HOTPATCH_EINVAL, "patch '%s' is empty", in ? in->name : "");
	wishes->v = calloc(n, sizeof(*wishes->v));
	if (!wishes->v)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu changes", n);
	int error = in ? wish_for(in, true, wishes, err) : 0;
	for (size_t i = 0; i < n_out && !error; i++)
		error = wish_for(out[i], false, wishes, err);
	for (size_t i = 0; i < wishes->n; i++)
		wishes->v[i].site->mark = 0;
	return error;
}

static void set_leaving(struct hotpatch *const *out, size_t n_out, bool leaving)
{
	for (size_t i = 0; i < n_out; i++)
		out[i]->leaving = leaving;
}

static int ask_listeners(struct hotpatch *in, struct hotpatch *const *out, size_t n_out, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < n_out && !error; i++)
		error = hp_patch_call_listeners(out[i], HOTPATCH_PRE_REVERT, err);
	return !error && in ? hp_patch_call_listeners(in, HOTPATCH_PRE_APPLY, err) : error;
}

static void tell_listeners(struct hotpatch *in, struct hotpatch *const *out, size_t n_out)
{
	for (size_t i = 0; i < n_out; i++) {
		out[i]->applied = false;
		hp_patch_call_listeners(out[i], HOTPATCH_POST_REVERT, NULL);
	}
	if (in) {
		in->applied = true;
		hp_patch_call_listeners(in, HOTPATCH_POST_APPLY, NULL);
	}
}

int hp_patch_switch(struct hotpatch *in, struct hotpatch *const *out, size_t n_out, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	struct wishes wishes = {0};
	int error = check_states(in, out, n_out, err);
	if (!error)
		error = make_wishes(in, out, n_out, &wishes, err);
	if (!error)
		error = ask_listeners(in, out, n_out, err);
	if (!error) {
		set_leaving(out, n_out, true);
		error = hp_wishes_fulfil(wishes.v, wishes.n, session);
		set_leaving(out, n_out, false);
	}
	if (session->outcome->live)
		tell_listeners(in, out, n_out);
	free(wishes.v);
	return error;
}

/* cppcheck-suppress constParameter; hp_sites_each calls it */
static int has_layer(struct hp_site *site, void *patch)
{
	for (size_t i = 0; i < site->n_layers; i++)
		if (site->layers[i].patch == patch)
			return 1;
	return 0;
}

bool hp_patch_is_live(const struct hotpatch *patch)
{
	return hp_sites_each(has_layer, (void *)(uintptr_t)patch) != 0;
}

/* -- The program as it was ---------------------------------------------------------------------------------------- */

struct copy {
	uintptr_t address;
	uint8_t *bytes;
	size_t size;
};

static void put_back(const struct copy *copy, uintptr_t at, const uint8_t *old, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (at + i >= copy->address && at + i - copy->address < copy->size)
			copy->bytes[at + i - copy->address] = old[i];
}

static void mask_site(const struct hp_site *site, const struct copy *copy)
{
	const struct hp_entry *plan = &site->plan;
	if (site->prefix_set)
		put_back(copy, site->entry + (uintptr_t)(intptr_t)plan->prefix_at, plan->old_prefix, plan->prefix_len);
	if (site->redirected || site->trapping || site->tail_set)
		put_back(copy, hp_site_jump(site), plan->old_jump, plan->jump_len);
}

void hp_sites_mask(uintptr_t address, uint8_t *bytes, size_t size)
{
	const struct copy copy = {address, bytes, size};
	for (uintptr_t entry = address - HP_ENTRY_AFTER; entry != address + size + HP_ENTRY_BEFORE; entry++) {
		const struct hp_site *site = hp_site_at(entry);
		if (site)
			mask_site(site, &copy);
	}
}
