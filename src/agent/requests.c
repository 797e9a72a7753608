#include "agent/requests.h"

#include <string.h>
#include <unistd.h>

#include "agent/crashes.h"
#include "arch/arch.h"
#include "base/mapped.h"
#include "base/report.h"
#include "code/text.h"
#include "live/linked.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define VERSION STRING(HOTPATCH_VERSION_MAJOR) "." STRING(HOTPATCH_VERSION_MINOR) "." STRING(HOTPATCH_VERSION_PATCH)

int hp_request_read(struct hp_exchange *x)
{
	return hp_taken_all(&x->in)
	               ? 0
	               : hp_err_set(&x->err, HOTPATCH_EINVAL, "the request's body is not what its kind says");
}

/* -- Simple ones ------------------------------------------------------------------------------------------------- */

static int handle_hello(struct hp_exchange *x)
{
	char client[HP_WIRE_STR_MAX + 1];
	uint32_t version = (uint32_t)hp_take(&x->in, 4);
	hp_take_str(&x->in, client, sizeof(client));
	int error = hp_request_read(x);
	if (!error && version != HP_WIRE_VERSION)
		error = hp_err_set(&x->err, HOTPATCH_ENOTSUP,
		                   "the runtime in the process is " VERSION
		                   " and speaks protocol %d, not %u of '%.64s'",
		                   HP_WIRE_VERSION, version, client);
	if (!error)
		error = hp_registry_enter(&x->err); /* makes the list of images */
	if (error)
		return error;
	hp_registry_leave();
	x->client->greeted = true;
	hp_put(x->out, HP_WIRE_VERSION, 4);
	hp_put_str(x->out, VERSION);
	hp_put(x->out, (uint64_t)getpid(), 4);
	hp_put(x->out, HP_ARCH_MACHINE, 4);
	hp_put(x->out, (uint64_t)sysconf(_SC_PAGESIZE), 4);
	hp_put(x->out, (hp_mapped_is_static() ? 1 : 0) | (x->agent->by_run ? 4 : 0), 4);
	hp_put(x->out, x->agent->started, 8);
	hp_put(x->out, hp_mapped_is_static() ? 0 : hp_arch_tls_code(), 8);
	return 0;
}

static int handle_ifunc(struct hp_exchange *x)
{
	uintptr_t resolver = hp_take(&x->in, 8);
	int error = hp_request_read(x);
	if (!error)
		error = hp_registry_enter(&x->err);
	if (error)
		return error;
	const struct hp_mapped *image = hp_mapped_find(resolver);
	if (!image || !hp_mapped_is_code(image, resolver))
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "%#lx is no code of a loaded image",
		                   (unsigned long)resolver);
	hp_registry_leave();
	if (!error)
		/* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): it is code of an image, so not 0 */
		hp_put(x->out, ((uintptr_t(*)(void))resolver)(), 8);
	return error;
}

/* Straight into the answer. */
static void read_one(struct hp_wire *out, uintptr_t address, uint32_t size, bool original)
{
	size_t at = hp_put_later(out);
	uint8_t *space = hp_put_space(out, size);
	if (!space)
		return;
	size_t got = hp_memory_read_some(address, space, size);
	if (original)
		hp_sites_mask(address, space, got);
	out->n -= size - got;
	hp_put_at(out, at, (uint32_t)got);
}

static int handle_read(struct hp_exchange *x)
{
	struct hp_cursor *in = &x->in;
	bool original = hp_take(in, 1) & 1;
	uint32_t n = hp_take_count(in, 4, HP_WIRE_ITEMS_MAX, 12);
	uint64_t sum = 0;
	struct hp_cursor ranges = *in;
	for (uint32_t i = 0; i < n; i++) {
		hp_take(in, 8);
		sum += hp_take(in, 4);
	}
	int error = hp_request_read(x);
	if (!error && sum > HP_WIRE_READ_MAX)
		error = hp_err_set(&x->err, HOTPATCH_EINVAL, "%llu bytes are more than the %d of one answer",
		                   (unsigned long long)sum, (int)HP_WIRE_READ_MAX);
	if (error)
		return error;
	hp_put(x->out, n, 4);
	for (uint32_t i = 0; i < n; i++) {
		uintptr_t address = hp_take(&ranges, 8);
		read_one(x->out, address, (uint32_t)hp_take(&ranges, 4), original);
	}
	return 0;
}

/* -- Threads in the way ------------------------------------------------------------------------------------------ */

uint32_t hp_request_put_blockers(struct hp_wire *wire, const struct hp_outcome *outcome, const char *function)
{
	for (size_t i = 0; i < outcome->n_obstacles; i++) {
		const struct hp_obstacle *obstacle = &outcome->obstacles[i];
		char name[32];
		hp_report_thread_name(obstacle->tid, name, sizeof(name));
		hp_put(wire, (uint64_t)obstacle->tid, 4);
		hp_put(wire, obstacle->is_self, 1);
		hp_put_str(wire, name);
		hp_put_str(wire, *obstacle->function || !function ? obstacle->function : function);
		hp_put_str(wire, obstacle->reason);
		hp_put(wire, obstacle->n_frames, 1);
		for (size_t k = 0; k < obstacle->n_frames; k++)
			hp_put(wire, obstacle->frames[k], 8);
	}
	return (uint32_t)outcome->n_obstacles;
}

/* -- The table --------------------------------------------------------------------------------------------------- */

static int (*const handlers[HP_WIRE_KINDS])(struct hp_exchange *) = {
	[HP_WIRE_HELLO] = handle_hello,
	[HP_WIRE_IMAGES] = hp_images_handle,
	[HP_WIRE_SYMBOLS] = hp_symbols_handle,
	[HP_WIRE_IFUNC] = handle_ifunc,
	[HP_WIRE_READ] = handle_read,
	[HP_WIRE_RESERVE] = hp_region_reserve_handle,
	[HP_WIRE_WRITE] = hp_region_write_handle,
	[HP_WIRE_SEAL] = hp_region_seal_handle,
	[HP_WIRE_REGISTER] = hp_region_register_handle,
	[HP_WIRE_RELEASE] = hp_region_release_handle,
	[HP_WIRE_APPLY] = hp_record_apply_handle,
	[HP_WIRE_REVERT] = hp_record_revert_handle,
	[HP_WIRE_PATCHES] = hp_record_patches_handle,
	[HP_WIRE_CHANGES] = hp_record_changes_handle,
	[HP_WIRE_STATUS] = hp_record_status_handle,
	[HP_WIRE_NOTES] = hp_record_notes_handle,
	[HP_WIRE_WAIT] = hp_client_wait_handle,
	[HP_WIRE_SWITCH] = hp_record_switch_handle,
	[HP_WIRE_FORGET] = hp_record_forget_handle,
	[HP_WIRE_HOLD] = hp_crashes_hold_handle,
	[HP_WIRE_CRASHES] = hp_crashes_list_handle,
	[HP_WIRE_LET_DIE] = hp_crashes_let_die_handle,
};

static int handle(struct hp_exchange *x, const struct hp_wire_header *header)
{
	if (header->kind == 0 || header->kind >= HP_WIRE_KINDS || !handlers[header->kind])
		return hp_err_set(&x->err, HOTPATCH_ENOTSUP, "there is no request of kind %u in this version (%s)",
		                  header->kind, VERSION);
	if (!x->client->greeted && header->kind != HP_WIRE_HELLO)
		return hp_err_set(&x->err, HOTPATCH_ESTATE, "the first request must be a hello");
	return handlers[header->kind](x);
}

static void answer_failure(struct hp_exchange *x, const struct hp_wire_header *header, int code)
{
	struct hp_wire *out = x->out;
	hp_wire_begin(out, header->kind | HP_WIRE_REPLY, header->serial);
	hp_put(out, (uint32_t)code, 4);
	hp_put(out, x->live, 1);
	hp_put_str(out, x->err.text);
	hp_put(out, x->n_blockers, 4);
	uint8_t *at = hp_put_space(out, x->blockers.n);
	if (at && x->blockers.n)
		memcpy(at, x->blockers.v, x->blockers.n);
}

void hp_request_answer(struct hp_agent *agent, struct hp_client *client)
{
	struct hp_wire_header header;
	struct hp_exchange x = {.agent = agent,
	                        .client = client,
	                        .asker = {hp_client_is_there, client},
	                        .out = &client->out};
	bool sound = hp_wire_header_read(client->in, &header) && !(header.kind & HP_WIRE_REPLY);
	x.in = (struct hp_cursor){client->in + HP_WIRE_HEADER, client->in + client->n_in, false};
	hp_wire_begin(x.out, header.kind | HP_WIRE_REPLY, header.serial);
	hp_put(x.out, 0, 4);
	int code = sound ? handle(&x, &header)
	                 : hp_err_set(&x.err, HOTPATCH_EINVAL, "these bytes begin no frame of the protocol");
	client->closing |= !sound;
	if (!code && !hp_wire_end(x.out))
		code = hp_err_set(&x.err, HOTPATCH_ENOMEM, "the answer is too long, or there is no memory for it");
	if (code)
		answer_failure(&x, &header, code);
	if (!hp_wire_end(x.out)) { /* no memory to say even that */
		hp_wire_free(x.out);
		client->closing = true;
	}
	hp_wire_free(&x.blockers);
}
