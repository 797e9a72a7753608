#include "agent/crashes.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "agent/records.h"
#include "agent/regions.h"
#include "base/report.h"
#include "live/crash.h"
#include "live/gate.h"

enum {
	TURN_MS = 100, /* for another operation to end */
	AGAIN_MS = 20, /* until the turn is asked for again */
	LOOK_MS = 500, /* a crashed thread knocks; where it can not, it is found */
};

static bool catches;          /* crashes are caught */
static unsigned n_seen;       /* of those that are kept: calls are held for them, if they are to be */
static unsigned n_told;       /* and clients know of them */
static struct hp_site **held; /* whose calls are held; NULL: none */

/* -- What is looked for ------------------------------------------------------------------------------------------- */

static int add_region(struct hp_codes *codes, const struct hp_region *region, uint64_t record, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < region->linked.n_segments && !error; i++) {
		const struct hp_segment *segment = &region->linked.segments[i];
		if (segment->flags & PF_X)
			error = hp_codes_add_function(codes, segment->low, segment->high, false, (uint32_t)record, err);
	}
	return error;
}

/* Not in what was reverted: that is searched for words that refer to it, and these would be some.
 *
 * Without memory it stays as it was: a crash in what came last ends the process, as it would have. */
void hp_crashes_learn(const struct hp_agent *agent)
{
	struct hp_codes codes = {0};
	struct hp_err ignored;
	int error = 0;
	if (!catches)
		return;
	for (const struct hp_record *record = agent->records; record && !error; record = record->next)
		for (size_t i = 0; (record->patch || record->aside) && i < record->n_regions && !error; i++) {
			const struct hp_region *region = hp_region_find(agent, record->regions[i]);
			if (region)
				error = add_region(&codes, region, record->id, &ignored);
		}
	hp_codes_sort(&codes);
	if (error)
		hp_codes_free(&codes);
	else
		(void)!hp_crash_look_for(&codes, &ignored);
}

/* -- Who wants to know -------------------------------------------------------------------------------------------- */

static bool anybody_holds(const struct hp_agent *agent)
{
	const struct hp_client *client = agent->clients;
	while (client && !client->holds)
		client = client->next;
	return client != NULL;
}

static uint64_t begin(const struct hp_agent *agent)
{
	uint64_t signals = hp_crash_catch(hp_agent_knock);
	catches = true;
	n_told = 0; /* who comes knows nothing yet */
	hp_crashes_learn(agent);
	return signals;
}

unsigned hp_crashes_kept(void)
{
	unsigned n = 0;
	while (hp_crash_at(n))
		n++;
	return n;
}

/* Calls that are held would wait for ever. */
static void end(void)
{
	bool waits = held || hp_crashes_kept() > n_seen;
	hp_crash_release();
	catches = false;
	if (waits || hp_crashes_kept() > n_seen) /* one that came just now, too */
		hp_crash_let_go();
}

int hp_crashes_hold_handle(struct hp_exchange *x)
{
	bool wants = hp_take(&x->in, 1) & 1;
	int error = hp_request_read(x);
	if (error)
		return error;
	x->client->holds = wants;
	uint64_t signals = wants ? begin(x->agent) : 0;
	if (!anybody_holds(x->agent) && catches)
		end();
	hp_put(x->out, signals, 8);
	return 0;
}

/* -- A crash ------------------------------------------------------------------------------------------------------- */

/* The patch that the thread crashed in, if it is in force: else nothing needs to be held, since what calls get now is
 * something else. */
static const struct hp_record *culprit(const struct hp_agent *agent, unsigned i)
{
	const struct hp_record *record = hp_record_find(agent, hp_crash_at(i)->walk.owner);
	return record && record->patch && record->patch->applied ? record : NULL;
}

/* Whether calls of the site lead into the patch's code: another may stand above it. */
static bool is_on_top(const struct hp_record *record, const struct hp_site *site)
{
	return site->n_layers && site->layers[site->n_layers - 1].patch == record->patch;
}

/* A site has one patch on top, so none is there twice, unless a patch crashed twice. */
static size_t collect_sites(const struct hp_agent *agent, struct hp_site **sites)
{
	size_t n = 0;
	for (unsigned i = 0; i < n_seen; i++) {
		const struct hp_record *record = culprit(agent, i);
		for (unsigned k = 0; k < i && record; k++)
			if (culprit(agent, k) == record)
				record = NULL;
		for (size_t k = 0; record && k < record->patch->n; k++) {
			struct hp_site *site = record->patch->items[k].site;
			if (!is_on_top(record, site))
				continue;
			if (sites)
				sites[n] = site;
			n++;
		}
	}
	return n;
}

/* What is to be held now, whatever was: within a session. Without memory for the list calls go on, and may crash, too.
 */
static void hold_calls(const struct hp_agent *agent)
{
	struct hp_site **before = held;
	size_t n = catches ? collect_sites(agent, NULL) : 0;
	held = n ? calloc(n, sizeof(struct hp_site *)) : NULL;
	if (held)
		hp_gate_hold(held, collect_sites(agent, held));
	else
		hp_gate_let_on();
	free(before);
}

/* False: another operation is under way. */
static bool see(const struct hp_agent *agent, unsigned n)
{
	struct hotpatch_options options = {.size = sizeof(options), .timeout_ms = TURN_MS};
	struct hp_session session;
	bool done = hp_session_begin(&session, &options, __builtin_frame_address(0)) == 0;
	if (done) {
		for (; n_seen < n; n_seen++)
			hp_crash_note_seen(n_seen);
		hold_calls(agent);
	}
	hp_session_close(&session);
	return done;
}

/* False: one that reads an answer just now is told later. */
static bool tell(const struct hp_agent *agent)
{
	bool all = true;
	for (struct hp_client *client = agent->clients; client; client = client->next)
		if (client->holds)
			all &= hp_client_tell(client, HP_WIRE_CRASHED);
	return all;
}

int hp_crashes_tend(struct hp_agent *agent)
{
	unsigned n = hp_crashes_kept();
	if (catches && !anybody_holds(agent))
		end();
	if (n > n_seen && !see(agent, n))
		return AGAIN_MS;
	if (n > n_told && !tell(agent))
		return AGAIN_MS;
	n_told = n;
	return catches ? LOOK_MS : -1;
}

void hp_crashes_go_on(const struct hp_agent *agent)
{
	hp_crashes_learn(agent);
	if (n_seen == 0)
		return;
	hold_calls(agent);
	n_told = 0; /* that it has become another matter */
}

void hp_crashes_reset(void)
{
	catches = false;
	n_seen = n_told = 0;
	held = NULL; /* its memory is the parent's loss */
}

/* -- Requests ----------------------------------------------------------------------------------------------------- */

static void put_frame(const struct hp_agent *agent, struct hp_wire *out, uintptr_t address)
{
	const struct hp_record *record = agent->records;
	const struct hp_region *region = hp_region_at(agent, address);
	for (; region && record; record = record->next)
		for (size_t i = 0; i < record->n_regions; i++)
			if (record->regions[i] == region->id) {
				hp_put(out, address, 8);
				hp_put_str(out, record->name);
				return;
			}
	hp_put(out, address, 8);
	hp_put_str(out, "");
}

static void put_crash(const struct hp_agent *agent, struct hp_wire *out, unsigned i)
{
	const struct hp_crash *crash = hp_crash_at(i);
	const struct hp_record *record = hp_record_find(agent, crash->walk.owner);
	char name[32];
	hp_report_thread_name(crash->tid, name, sizeof(name));
	hp_put(out, (uint64_t)crash->tid, 4);
	hp_put_str(out, name);
	hp_put(out, (uint64_t)crash->signo, 4);
	hp_put(out, (uint32_t)crash->code, 4);
	hp_put(out, crash->address, 8);
	hp_put_str(out, record ? record->name : "");
	hp_put(out, crash->walk.n_frames, 1);
	for (size_t k = 0; k < crash->walk.n_frames; k++)
		put_frame(agent, out, crash->walk.frames[k]);
}

int hp_crashes_list_handle(struct hp_exchange *x)
{
	int error = hp_request_read(x);
	if (error)
		return error;
	hp_put(x->out, held != NULL, 1);
	hp_put(x->out, n_seen, 4); /* of others it is not known yet whether calls are to be held */
	for (unsigned i = 0; i < n_seen; i++)
		put_crash(x->agent, x->out, i);
	return 0;
}

int hp_crashes_let_die_handle(struct hp_exchange *x)
{
	int error = hp_request_read(x);
	if (!error && hp_crashes_kept() == 0)
		error = hp_err_set(&x->err, HOTPATCH_ESTATE, "no thread of the process has crashed");
	if (!error)
		hp_crash_let_go();
	return error;
}
