#include "agent/records.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/crashes.h"
#include "agent/regions.h"
#include "agent/requests.h"
#include "agent/table.h"
#include "agent/order.h"
#include "base/mapped.h"
#include "base/memory.h"
#include "live/threads.h"

/* -- The list ---------------------------------------------------------------------------------------------------- */

struct hp_record *hp_record_find(const struct hp_agent *agent, uint64_t id)
{
	struct hp_record *record = agent->records;
	while (record && record->id != id)
		record = record->next;
	return record;
}

/* The one in force of that name. */
struct hp_record *hp_record_named(const struct hp_agent *agent, const char *name)
{
	struct hp_record *record = agent->records;
	while (record && !(record->patch && strcmp(record->name, name) == 0))
		record = record->next;
	return record;
}

static void record_add(struct hp_agent *agent, struct hp_record *record)
{
	struct hp_record **at = &agent->records;
	pthread_mutex_lock(&agent->lists);
	record->id = ++agent->last_id;
	while (*at)
		at = &(*at)->next;
	*at = record;
	pthread_mutex_unlock(&agent->lists);
}

static void record_unlink(struct hp_agent *agent, const struct hp_record *record)
{
	pthread_mutex_lock(&agent->lists);
	for (struct hp_record **at = &agent->records; *at; at = &(*at)->next)
		if (*at == record) {
			*at = record->next;
			break;
		}
	pthread_mutex_unlock(&agent->lists);
}

static void record_free(struct hp_record *record)
{
	if (!record)
		return;
	free(record->name);
	hp_memory_forget(record->notes, record->notes_size);
	hp_memory_forget(record, sizeof(*record));
}

void hp_record_remove(struct hp_agent *agent, struct hp_record *record)
{
	record_unlink(agent, record);
	record_free(record);
}

void hp_records_mend(struct hp_agent *agent)
{
	struct hp_record *next;
	for (struct hp_record *record = agent->records; record; record = next) {
		next = record->next;
		if (!record->patch)
			continue;
		record->patch->leaving = false;
		if (record->patch->n)
			record->patch->applied = hp_patch_is_live(record->patch);
		if (!record->patch->applied) /* what it consists of is lost, which is little */
			record->patch = NULL;
	}
}

/* -- From a request to a patch ------------------------------------------------------------------------------------- */

static int add_change(struct hotpatch *patch, const struct hp_order *order, const struct hp_order_change *change,
                      struct hp_err *err)
{
	struct hp_site *site;
	struct hp_definition *definition;
	struct hp_named named = {change->name, NULL, true, change->old.n ? &change->old : NULL};
	int error = hp_order_check_change(order, change, err);
	if (!error)
		error = hp_site_get(change->entry, &named, &site, err);
	if (error || !change->code)
		return error;
	error = hp_definition_new_known(change->code, change->name, &change->parts, &definition, err);
	return error ? error : hp_patch_add(patch, site, definition, err);
}

static int add_listener(struct hotpatch *patch, unsigned event, uintptr_t address, struct hp_err *err)
{
	size_t size = patch->n_listeners * sizeof(struct hp_listener);
	struct hp_listener *grown = hp_memory_grow(patch->listeners, size, size + sizeof(*grown));
	if (!grown)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a callback of patch '%s'", patch->name);
	patch->listeners = grown;
	patch->listeners[patch->n_listeners++] =
		(struct hp_listener){(enum hotpatch_event)event, (hotpatch_callback)address, NULL};
	return 0;
}

static int fill_patch(struct hotpatch *patch, struct hp_exchange *x, struct hp_order *order, struct hp_err *err)
{
	int error = hp_registry_enter(err);
	if (error)
		return error;
	error = hp_order_check(x, order, err);
	for (uint32_t i = 0; i < order->n_changes && !error; i++)
		error = add_change(patch, order, &order->changes[i], err);
	hp_registry_leave();
	for (uint32_t i = 0; i < order->n_callbacks && !error; i++)
		if (order->callbacks[i].event < HP_WIRE_MIGRATE)
			error = add_listener(patch, order->callbacks[i].event, order->callbacks[i].address, err);
	return error;
}

static struct hp_record *record_new(const struct hp_order *order, struct hp_err *err)
{
	struct hp_record *record = calloc(1, sizeof(*record));
	if (record && (record->name = strdup(order->name)) && (record->notes = malloc(order->notes_size + 1))) {
		memcpy(record->notes, order->notes ? order->notes : (const uint8_t *)"", order->notes_size);
		record->notes_size = order->notes_size;
		record->n_changes = order->n_changes;
		record->is_ground = order->is_ground;
		memcpy(record->regions, order->regions, order->n_regions * sizeof(*record->regions));
		record->n_regions = order->n_regions;
		memcpy(record->used, order->used, order->n_used * sizeof(*record->used));
		record->n_used = order->n_used;
		clock_gettime(CLOCK_REALTIME, &record->since);
		return record;
	}
	record_free(record);
	(void)hp_err_set(err, HOTPATCH_ENOMEM, "no memory for patch '%s'", order->name);
	return NULL;
}

/* -- Commit ------------------------------------------------------------------------------------------------------ */

/* One transition: `in` becomes live as `order` says, `out` is reverted. */
struct switching {
	const struct hp_order *order; /* NULL with `in`: nothing becomes live */
	struct hp_record *in, *out[HP_WIRE_REGIONS_MAX];
	size_t n_out;
};

static void take_migrations(struct hp_record *record, const struct hp_order *order)
{
	for (uint32_t i = 0; i < order->n_callbacks; i++) {
		uintptr_t address = order->callbacks[i].address;
		if (order->callbacks[i].event == HP_WIRE_MIGRATE)
			record->migrations[record->n_migrations++].forward = (void (*)(void))address;
		else if (order->callbacks[i].event == HP_WIRE_MIGRATE_BACK)
			record->migrations[record->n_migrations - 1].back = (void (*)(void))address;
	}
}

static bool is_out(const struct switching *s, const struct hp_record *record)
{
	for (size_t i = 0; i < s->n_out; i++)
		if (s->out[i] == record)
			return true;
	return false;
}

/* Code of patches that came later was compiled for the types and layouts of what it stands on. A patch that takes its
 * own place brings them again. */
static int check_ground(const struct switching *s, struct hp_err *err)
{
	for (size_t i = 0; i < s->n_out; i++) {
		const struct hp_record *out = s->out[i];
		if (!out->is_ground || (s->in && strcmp(s->in->name, out->name) == 0))
			continue;
		for (const struct hp_record *later = out->next; later; later = later->next)
			if (later->patch && later != s->in && !is_out(s, later))
				return hp_err_set(
					err, HOTPATCH_ESTATE,
					"patch '%s' has changed types or layouts, on which '%s', which was applied after "
					"it, may count; revert that first",
					out->name, later->name);
	}
	return 0;
}

/* Objects change while no code is running that knows them: old and new must never run beside each other. */
static int check_migrations(const struct switching *s, enum hotpatch_mode mode, struct hp_err *err)
{
	const struct hp_record *migrating = s->in && s->in->n_migrations ? s->in : NULL;
	for (size_t i = 0; i < s->n_out; i++)
		for (size_t k = 0; k < s->out[i]->n_migrations; k++) {
			migrating = s->out[i];
			if (!migrating->migrations[k].back)
				return hp_err_set(
					err, HOTPATCH_ESTATE,
					"patch '%s' has given live objects another layout, and its HOTPATCH_MIGRATE "
					"names no function that gives the old one back",
					migrating->name);
		}
	if (!migrating || mode == HOTPATCH_WAIT || mode == HOTPATCH_TRY)
		return 0;
	return hp_err_set(
		err, HOTPATCH_EINVAL,
		"patch '%s' gives live objects another layout: old and new code must not run at once; use the "
		"mode wait or try",
		migrating->name);
}

/* While callers are held: what leaves gives objects their old layout, data is written, and what comes gives its own.
 * Memory that has gone since it was checked is passed over, not stumbled over. */
static void commit(void *arg)
{
	const struct switching *s = arg;
	for (size_t i = s->n_out; i-- > 0;)
		for (size_t k = s->out[i]->n_migrations; k-- > 0;)
			s->out[i]->migrations[k].back();
	for (uint32_t i = 0; s->order && i < s->order->n_writes; i++) {
		struct iovec from = {(void *)(uintptr_t)s->order->writes[i].bytes, s->order->writes[i].n};
		struct iovec to = {(void *)s->order->writes[i].address, s->order->writes[i].n};
		hp_syscall(SYS_process_vm_writev, hp_thread_self(), (long)&from, 1, (long)&to, 1, 0);
	}
	for (size_t i = 0; s->in && i < s->in->n_migrations; i++)
		s->in->migrations[i].forward();
}

/* What a transition has to say beyond the code. */
static void note_outcome(struct hp_exchange *x, struct hp_session *session, int error)
{
	const struct hp_outcome *outcome = session->outcome;
	x->live = outcome && outcome->live;
	if (error)
		x->err = session->err;
	if (error && outcome)
		x->n_blockers = hp_request_put_blockers(&x->blockers, outcome, NULL);
}

/* aside: what is not in force any more may be put back. */
static void retire_records(struct hp_agent *agent, bool aside, struct hp_session *session)
{
	for (struct hp_record *record = agent->records; record; record = record->next) {
		struct hotpatch *patch = record->patch;
		if (!patch || patch->applied)
			continue;
		pthread_mutex_lock(&agent->lists);
		record->patch = NULL;
		record->aside = aside ? patch : NULL;
		agent->n_left += !aside;
		pthread_mutex_unlock(&agent->lists);
		if (!aside)
			hp_patch_destroy(patch, session);
	}
}

static void own_regions(struct hp_agent *agent, const struct hp_record *record)
{
	pthread_mutex_lock(&agent->lists);
	for (size_t i = 0; i < record->n_regions; i++)
		hp_region_find(agent, record->regions[i])->client = 0;
	pthread_mutex_unlock(&agent->lists);
}

/* What became of those that hp_patch_switch has not seen, too. */
static void note_switched(const struct switching *s)
{
	for (size_t i = 0; i < s->n_out; i++)
		s->out[i]->patch->applied = false;
	if (s->in)
		s->in->patch->applied = true;
}

/* Those with no code of their own, which only have the place of others, take part in no transition. Descriptors are
 * lent for callbacks before and after; what runs while callers are held has the agent's own. */
static int switch_patches(struct hp_agent *agent, struct switching *s, struct hp_session *session)
{
	struct hotpatch *in = s->in && s->in->patch->n ? s->in->patch : NULL, *out[HP_WIRE_REGIONS_MAX];
	bool calls = in && in->n_listeners;
	size_t n_out = 0;
	int error = check_ground(s, &session->err);
	if (!error)
		error = check_migrations(s, session->request.mode, &session->err);
	if (error)
		return error;
	for (size_t i = 0; i < s->n_out; i++) {
		if (s->out[i]->patch->n)
			out[n_out++] = s->out[i]->patch;
		calls |= s->out[i]->patch->n_listeners > 0;
	}
	session->request.commit = commit;
	session->request.commit_arg = s;
	if (calls)
		hp_table_borrow();
	if (in || n_out || !s->n_out)
		error = hp_patch_switch(in, out, n_out, session);
	else
		session->outcome->live = session->outcome->drained = true;
	if (calls)
		hp_table_give_back();
	if (session->outcome->live) {
		note_switched(s);
		hp_crashes_go_on(agent);
	}
	return error;
}

static void find_out(const struct hp_agent *agent, const struct hp_order *order, struct switching *s)
{
	for (uint32_t i = 0; i < order->n_replaced; i++)
		s->out[s->n_out++] = hp_record_find(agent, order->replaced_ids[i]);
}

/* The record goes again if the patch did not become live. */
static int apply_patch(struct hp_exchange *x, struct hp_order *order, struct hp_record *record,
                       struct hp_session *session)
{
	struct hp_agent *agent = x->agent;
	struct switching s = {.order = order, .in = record};
	find_out(agent, order, &s);
	record_add(agent, record);
	hp_crashes_learn(agent); /* the first call of its code may crash */
	int error = switch_patches(agent, &s, session);
	if (!session->outcome->live) {
		record_unlink(agent, record);
		hp_crashes_learn(agent);
		return error;
	}
	own_regions(agent, record);
	retire_records(agent, order->aside, session);
	return error;
}

/* All checks of what would be done, but for callbacks, which may have effects. */
static int try_patch(const struct hp_exchange *x, const struct hp_order *order, struct hp_record *record,
                     struct hp_session *session)
{
	struct switching s = {.order = order, .in = record};
	find_out(x->agent, order, &s);
	int error = check_ground(&s, &session->err);
	return error ? error : check_migrations(&s, session->request.mode, &session->err);
}

static int apply(struct hp_exchange *x, struct hp_order *order, struct hp_session *session, uint64_t *ret_id)
{
	struct hp_err *err = &session->err;
	struct hp_record *record = record_new(order, err);
	struct hotpatch *patch = record ? hotpatch_new(order->name) : NULL;
	*ret_id = 0;
	if (!patch) {
		record_free(record);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for patch '%s'", order->name);
	}
	record->patch = patch;
	int error = fill_patch(patch, x, order, err);
	take_migrations(record, order);
	if (!error)
		error = order->dry ? try_patch(x, order, record, session) : apply_patch(x, order, record, session);
	if (session->outcome->live) {
		*ret_id = record->id;
		return error;
	}
	hp_patch_destroy(patch, session);
	record_free(record);
	return error;
}

int hp_record_apply_handle(struct hp_exchange *x)
{
	struct hp_session session;
	uint64_t began = hp_now(), id = 0;
	struct hp_order *order = calloc(1, sizeof(*order));
	int error = order ? hp_order_take(x, order) : hp_err_set(&x->err, HOTPATCH_ENOMEM, "no memory for the request");
	if (!error) {
		error = hp_session_begin_for(&session, &order->options, __builtin_frame_address(0), &x->asker);
		if (!error)
			/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the record has its notes */
			error = apply(x, order, &session, &id);
		note_outcome(x, &session, error);
		hp_session_close(&session);
	}
	hp_order_free(order);
	hp_put(x->out, id, 8);
	hp_put(x->out, hp_now() - began, 8);
	return error;
}

/* -- Revert ------------------------------------------------------------------------------------------------------ */

static int revert(struct hp_exchange *x, uint64_t id, const char *name, struct hp_session *session)
{
	struct hp_agent *agent = x->agent;
	struct hp_record *record = id ? hp_record_find(agent, id) : hp_record_named(agent, name);
	if (!record || !record->patch)
		return hp_err_set(&session->err, HOTPATCH_ESTATE, "no patch '%s' that came from outside is in force",
		                  record ? record->name : name);
	struct switching s = {.out = {record}, .n_out = 1};
	int error = switch_patches(agent, &s, session);
	retire_records(agent, false, session);
	return error;
}

int hp_record_revert_handle(struct hp_exchange *x)
{
	char name[HP_WIRE_STR_MAX + 1];
	struct hotpatch_options options;
	struct hp_session session;
	uint64_t began = hp_now(), id = hp_take(&x->in, 8);
	hp_take_str(&x->in, name, sizeof(name));
	hp_order_take_options(&x->in, NULL, &options);
	int error = hp_request_read(x);
	if (error)
		return error;
	error = hp_session_begin_for(&session, &options, __builtin_frame_address(0), &x->asker);
	if (!error)
		error = revert(x, id, name, &session);
	note_outcome(x, &session, error);
	hp_session_close(&session);
	hp_put(x->out, hp_now() - began, 8);
	return error;
}

/* -- Putting back ------------------------------------------------------------------------------------------------ */

struct wanted {
	uint64_t in, out[HP_WIRE_REGIONS_MAX]; /* ids; in 0: nothing */
	uint32_t n_out;
	bool aside;
};

static int find_wanted(const struct hp_agent *agent, const struct wanted *wanted, struct switching *s,
                       struct hp_err *err)
{
	s->in = wanted->in ? hp_record_find(agent, wanted->in) : NULL;
	if (wanted->in && (!s->in || !s->in->aside))
		return hp_err_set(err, HOTPATCH_ESTATE, "there is no patch %llu that was set aside",
		                  (unsigned long long)wanted->in);
	for (uint32_t i = 0; i < wanted->n_out; i++) {
		struct hp_record *record = hp_record_find(agent, wanted->out[i]);
		for (size_t k = 0; k < s->n_out; k++)
			if (s->out[k] == record)
				record = NULL;
		if (!record || !record->patch)
			return hp_err_set(err, HOTPATCH_ESTATE, "patch %llu, which is to be replaced, is not in force",
			                  (unsigned long long)wanted->out[i]);
		s->out[s->n_out++] = record;
	}
	if (!s->in && !s->n_out)
		return hp_err_set(err, HOTPATCH_EINVAL, "nothing is to be put back and nothing to be taken out");
	const struct hp_record *same = s->in ? hp_record_named(agent, s->in->name) : NULL;
	for (size_t i = 0; same && i < s->n_out; i++)
		if (s->out[i] == same)
			return 0;
	return same ? hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is in force already", same->name) : 0;
}

static void set_in(struct hp_agent *agent, struct hp_record *record, bool in)
{
	struct hotpatch *patch = in ? record->aside : record->patch;
	pthread_mutex_lock(&agent->lists);
	record->patch = in ? patch : NULL;
	record->aside = in ? NULL : patch;
	pthread_mutex_unlock(&agent->lists);
}

static int switch_to(struct hp_agent *agent, const struct wanted *wanted, struct hp_session *session)
{
	struct switching s = {0};
	int error = find_wanted(agent, wanted, &s, &session->err);
	if (error)
		return error;
	if (s.in)
		set_in(agent, s.in, true);
	error = switch_patches(agent, &s, session);
	if (s.in && !session->outcome->live)
		set_in(agent, s.in, false);
	if (session->outcome->live)
		retire_records(agent, wanted->aside, session);
	return error;
}

int hp_record_switch_handle(struct hp_exchange *x)
{
	struct wanted wanted = {.in = hp_take(&x->in, 8)};
	struct hotpatch_options options;
	struct hp_session session;
	uint64_t began = hp_now();
	wanted.n_out = hp_take_count(&x->in, 4, HP_WIRE_REGIONS_MAX, 8);
	for (uint32_t i = 0; i < wanted.n_out; i++)
		wanted.out[i] = hp_take(&x->in, 8);
	wanted.aside = hp_take(&x->in, 1) & 1;
	hp_order_take_options(&x->in, NULL, &options);
	int error = hp_request_read(x);
	if (error)
		return error;
	error = hp_session_begin_for(&session, &options, __builtin_frame_address(0), &x->asker);
	if (!error)
		error = switch_to(x->agent, &wanted, &session);
	note_outcome(x, &session, error);
	hp_session_close(&session);
	hp_put(x->out, hp_now() - began, 8);
	return error;
}

static int forget(struct hp_agent *agent, uint64_t id, struct hp_session *session)
{
	struct hp_record *record = hp_record_find(agent, id);
	if (!record || !record->aside)
		return hp_err_set(&session->err, HOTPATCH_ESTATE, "there is no patch %llu that was set aside",
		                  (unsigned long long)id);
	struct hotpatch *patch = record->aside;
	pthread_mutex_lock(&agent->lists);
	record->aside = NULL;
	agent->n_left++;
	pthread_mutex_unlock(&agent->lists);
	hp_patch_destroy(patch, session);
	return 0;
}

int hp_record_forget_handle(struct hp_exchange *x)
{
	struct hp_session session;
	uint64_t id = hp_take(&x->in, 8);
	int error = hp_request_read(x);
	if (error)
		return error;
	error = hp_session_begin(&session, NULL, __builtin_frame_address(0));
	if (!error)
		error = forget(x->agent, id, &session);
	if (error)
		x->err = session.err;
	hp_session_close(&session);
	return error;
}
