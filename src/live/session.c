#include "live/session.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "arch/arch.h"
#include "base/inspector.h"
#include "base/mapped.h"
#include "base/readers.h"
#include "live/announced.h"
#include "live/ask.h"
#include "live/registry.h"
#include "live/shadow.h"
#include "live/threads.h"

/* -- Locks ------------------------------------------------------------------------------------------------------- */

static _Atomic uint32_t turn; /* thread id of the owner; a futex */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;

/* Who is asked for by somebody looks from time to time whether that is still there. */
static void turn_wait(uint32_t owner, uint64_t left, bool looks)
{
	enum { LOOK_NS = 50000000 };
	if (looks && left > LOOK_NS)
		left = LOOK_NS;
	struct timespec timeout = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
	hp_syscall(SYS_futex, (long)&turn, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, owner, (long)&timeout, 0, 0);
}

static int turn_take(const struct hp_request *request, struct hp_err *err)
{
	uint32_t self = (uint32_t)hp_thread_self();
	for (;;) {
		uint32_t owner = 0;
		if (atomic_compare_exchange_strong(&turn, &owner, self))
			return 0;
		if (owner == self)
			return hp_err_set(
				err, HOTPATCH_ESTATE,
				"a callback of a patch cannot apply or revert; do it after the call that runs it");
		uint64_t now = hp_now();
		if (request->mode == HOTPATCH_TRY || now >= request->deadline)
			return hp_err_set(err, HOTPATCH_EBUSY, "thread %u is applying another patch", owner);
		if (hp_asker_has_gone(request->asker))
			return hp_err_set(
				err, HOTPATCH_EBUSY,
				"thread %u was applying another patch until who asked for the change had gone", owner);
		turn_wait(owner, request->deadline - now, request->asker);
	}
}

static void turn_give(void)
{
	atomic_store(&turn, 0);
	hp_syscall(SYS_futex, (long)&turn, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0);
}

bool hp_session_is_of(int tid)
{
	return atomic_load(&turn) == (uint32_t)tid;
}

void hp_registry_lock(void)
{
	pthread_mutex_lock(&registry);
	hp_inspector_lock();
}

int hp_registry_enter(struct hp_err *err)
{
	struct hp_mapped_list *old;
	hp_registry_lock();
	int error = hp_mapped_refresh(&old, err);
	if (error)
		hp_registry_leave();
	else
		hp_readers_retire(old ? &old->retired : NULL, hp_mapped_free);
	return error;
}

void hp_registry_leave(void)
{
	hp_inspector_unlock();
	pthread_mutex_unlock(&registry);
}

/* A child of fork has the forking thread alone: what others of the parent were doing is undone in it. The locks are
 * taken around fork so that what they protect is whole. */
static void before_fork(void)
{
	hp_unloading_lock();
	pthread_mutex_lock(&registry);
	hp_inspector_lock();
	hp_layers_lock();
	hp_definitions_lock();
	hp_landings_lock();
	hp_announced_lock();
	hp_shadows_lock();
}

/* The locks that are innermost, each alone, and that of the layers. */
static void unlock_inner(void)
{
	hp_shadows_unlock();
	hp_announced_unlock();
	hp_landings_unlock();
	hp_definitions_unlock();
	hp_layers_unlock();
}

static void after_fork(void)
{
	unlock_inner();
	hp_registry_leave();
	hp_unloading_unlock();
}

static void after_fork_in_child(void)
{
	unlock_inner();
	hp_inspector_unlock_in_child();
	pthread_mutex_unlock(&registry);
	hp_unloading_unlock_in_child();
	hp_transition_reset();
	atomic_store(&turn, 0);
}

__attribute__((constructor)) static void prepare_process(void)
{
	hp_arch_gate_init();
	pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

/* -- Sessions ---------------------------------------------------------------------------------------------------- */

enum { TIMEOUT_MS = 5000, STALL_MS = 100, TIMEOUT_MAX_MS = 24 * 3600 * 1000 };

static int read_options(struct hp_session *session, const struct hotpatch_options *given)
{
	struct hotpatch_options options = {.size = sizeof(options)};
	struct hp_err *err = &session->err;
	if (given && (given->size < offsetof(struct hotpatch_options, timeout_ms) || given->size > 4096))
		return hp_err_set(err, HOTPATCH_EINVAL, "options of %zu bytes are none: let the macros fill in .size",
		                  given->size);
	if (given)
		memcpy(&options, given, given->size < sizeof(options) ? given->size : sizeof(options));
	if ((unsigned)options.mode > HOTPATCH_FORCE)
		return hp_err_set(err, HOTPATCH_EINVAL, "mode %u is none of HOTPATCH_WAIT, TRY, DRAIN, FORCE",
		                  (unsigned)options.mode);
	if (options.timeout_ms > TIMEOUT_MAX_MS || options.stall_ms > TIMEOUT_MAX_MS)
		return hp_err_set(err, HOTPATCH_EINVAL, "a timeout of %u ms is absurd; the longest is a day (%u ms)",
		                  options.timeout_ms > TIMEOUT_MAX_MS ? options.timeout_ms : options.stall_ms,
		                  (unsigned)TIMEOUT_MAX_MS);
	unsigned timeout = options.timeout_ms ? options.timeout_ms : TIMEOUT_MS;
	session->unchecked = options.unchecked;
	session->unprepared = options.unprepared;
	if (options.scan_memory)
		hp_report_forget(); /* its frames would be found */
	session->request = (struct hp_request){
		.mode = options.mode,
		.deadline = hp_now() + (uint64_t)timeout * 1000000,
		.stall = (uint64_t)(options.stall_ms ? options.stall_ms : STALL_MS) * 1000000,
		.timeout_ms = timeout,
		.scan_memory = options.scan_memory,
	};
	return 0;
}

bool hp_options_unprepared(const struct hotpatch_options *options)
{
	size_t end = offsetof(struct hotpatch_options, unprepared) + sizeof(options->unprepared);
	return options && options->size >= end && options->unprepared;
}

int hp_session_begin_for(struct hp_session *session, const struct hotpatch_options *options, const void *frame,
                         const struct hp_asker *asker)
{
	session->saved_errno = errno;
	session->has_turn = false;
	session->discarded = NULL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &session->cancel_state);
	session->outcome = calloc(1, sizeof(*session->outcome));
	/* What happens is told at the end: the place for that is had while nothing has happened. */
	int error = session->outcome && hp_report_ready()
	                    ? read_options(session, options)
	                    : hp_err_set(&session->err, HOTPATCH_ENOMEM, "no memory to begin with");
	session->request.asker = asker;
	if (!error)
		error = turn_take(&session->request, &session->err);
	session->has_turn = !error;
	session->request.frame = (uintptr_t)frame;
	return error;
}

int hp_session_begin(struct hp_session *session, const struct hotpatch_options *options, const void *frame)
{
	return hp_session_begin_for(session, options, frame, NULL);
}

void hp_session_discard(struct hp_session *session, struct hp_definition *definition)
{
	definition->next = session->discarded;
	session->discarded = definition;
}

/* Runs the program's code, which may call all of ours: without the turn. */
static void destroy_discarded(struct hp_definition *definition)
{
	while (definition) {
		struct hp_definition *next = definition->next;
		if (definition->destroy)
			definition->destroy(definition->context);
		hp_definition_free(definition);
		definition = next;
	}
}

void hp_session_close(struct hp_session *session)
{
	hp_memory_forget(session->outcome, sizeof(*session->outcome));
	if (session->has_turn)
		turn_give();
	destroy_discarded(session->discarded);
	pthread_setcancelstate(session->cancel_state, NULL);
	hp_arch_vectors_clear();
	errno = session->saved_errno;
}

int hp_session_end(struct hp_session *session, int code)
{
	const struct hp_outcome *outcome = session->outcome;
	if (outcome)
		hp_report_obstacles(code, &session->err, outcome->live ? "the change is live" : "nothing was changed",
		                    outcome->obstacles, outcome->n_obstacles);
	else
		hp_report(code, &session->err);
	hp_session_close(session);
	return code;
}

/* -- What is in force
 * -------------------------------------------------------------------------------------------------- */

/* One layer, copied so that the callback may change what it describes. */
struct row {
	char function[128], patch[128];
	struct hotpatch_info info;
	uintptr_t body;
};

struct rows {
	struct row *v;
	size_t n, capacity;
};

static int count_layers(struct hp_site *site, void *arg)
{
	*(size_t *)arg += site->n_layers;
	return 0;
}

static int copy_layers(struct hp_site *site, void *arg)
{
	struct rows *rows = arg;
	for (size_t i = 0; i < site->n_layers && rows->n < rows->capacity; i++) {
		const struct hp_layer *layer = &site->layers[i];
		struct row *row = &rows->v[rows->n++];
		snprintf(row->function, sizeof(row->function), "%s", site->name);
		snprintf(row->patch, sizeof(row->patch), "%s", layer->patch_name);
		row->body = layer->definition->body;
		row->info = (struct hotpatch_info){
			.function = row->function,
			.address = (hotpatch_any)site->entry,
			.body = (hotpatch_any)layer->definition->body,
			.patch = row->patch,
			.since = layer->since,
			.level = (unsigned)i + 1,
			.current = i + 1 == site->n_layers,
		};
	}
	return 0;
}

/* Between the count and the copy more may be applied: then it is done again. */
static int snapshot(struct rows *rows, struct hp_err *err)
{
	for (;;) {
		size_t n = 0;
		hp_layers_lock();
		hp_sites_each(count_layers, &n);
		hp_layers_unlock();
		*rows = (struct rows){calloc(n + 1, sizeof(struct row)), 0, n};
		if (!rows->v)
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a list of %zu changes", n);
		size_t again = 0;
		hp_layers_lock();
		hp_sites_each(copy_layers, rows);
		hp_sites_each(count_layers, &again);
		hp_layers_unlock();
		if (again == n)
			return 0;
		free(rows->v);
	}
}

int hotpatch_for_each(int (*callback)(const struct hotpatch_info *info, void *arg), void *arg)
{
	struct hp_err err;
	struct rows rows;
	struct hp_place place;
	int result = 0;
	if (!callback)
		return hp_report(hp_err_set(&err, HOTPATCH_EINVAL, "the callback is NULL"), &err);
	int error = hp_registry_enter(&err);
	if (error)
		return hp_report(error, &err);
	error = snapshot(&rows, &err);
	hp_registry_leave();
	if (error)
		return hp_report(error, &err);
	for (size_t i = 0; i < rows.n && result == 0; i++) {
		hp_place_of(rows.v[i].body, true, &place);
		rows.v[i].info.definition = place.function;
		result = callback(&rows.v[i].info, arg);
	}
	free(rows.v);
	return result;
}
