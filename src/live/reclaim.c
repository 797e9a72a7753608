/* reclaim - frees what was replaced and is not needed any more.
 *
 *     definitions that were left while in use --> nobody is in them --> destroyed
 *     libraries that no definition holds      --> proof.h           --> dlclose
 *
 * What is kept is told, with what refers to it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "arch/arch.h"
#include "base/inspector.h"
#include "base/mapped.h"
#include "base/readers.h"
#include "live/linked.h"
#include "live/proof.h"
#include "live/registry.h"

enum { MS = 1000000 };

struct kept {
	struct hp_kept *v;
	size_t n, capacity;
	size_t lost; /* for which there was no memory */
};

static void kept_add(struct kept *list, const struct hp_kept *kept)
{
	if (list->n == list->capacity) {
		size_t capacity = list->capacity ? 2 * list->capacity : 8;
		struct hp_kept *grown = hp_memory_grow(list->v, list->n * sizeof(*grown), capacity * sizeof(*grown));
		list->lost += !grown;
		if (!grown)
			return;
		list->v = grown;
		list->capacity = capacity;
	}
	list->v[list->n++] = *kept;
}

/* -- Candidates -------------------------------------------------------------------------------------------------- */

static int is_in(struct hp_site *site, void *arg)
{
	const struct hp_loaded *loaded = arg;
	return hp_loaded_at(site->entry) == loaded;
}

static void add_candidate(struct hp_proof *r, struct hp_loaded *loaded)
{
	struct hp_candidate *candidate = hp_proof_add(r, loaded, loaded->path);
	if (!loaded->handle)
		hp_proof_keep(
			candidate,
			"the dynamic linker keeps it mapped: it is marked so (NODELETE, unique symbols), or somebody "
			"else has opened it");
	else if (hp_sites_each(is_in, loaded))
		hp_proof_keep(candidate, "a function in it was changed");
	else if (loaded->has_thread_locals)
		hp_proof_keep(candidate,
		              "it has thread-local variables, and pointers to those of other threads cannot be told");
	for (size_t i = 0; i < loaded->n_images && !candidate->kept; i++)
		hp_proof_aim(r, candidate, loaded->images[i].range);
}

/* Under the registry. What the dynamic linker had kept, and has gone since, is forgotten. */
static void collect(struct hp_proof *r)
{
	for (struct hp_loaded *l = hp_loaded_first(), *next; l; l = next) {
		next = l->next;
		if (atomic_load(&l->holds) > 0)
			continue;
		if (!l->handle && !hp_loaded_is_mapped(l)) {
			hp_loaded_unlist(l);
			hp_loaded_free(l);
		} else if (r->n < HP_CANDIDATES_MAX) {
			add_candidate(r, l);
		}
	}
}

/* -- Unloading --------------------------------------------------------------------------------------------------- */

/* Until nobody reads the list of images that they stood in. */
static bool wait_for_readers(uint64_t deadline)
{
	while (!hp_readers_none()) {
		struct timespec pause = {0, MS / 10};
		if (hp_now() >= deadline)
			return false;
		hp_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
	}
	return true;
}

/* Under the registry: whoever has come to hold one since keeps it. */
static int hide(struct hp_proof *r, struct hp_err *err)
{
	size_t n = 0;
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept && atomic_load(&r->v[i].loaded->holds) > 0)
			hp_proof_keep(&r->v[i], "a definition in it has come into use again");
	hp_proof_spread(r);
	for (size_t i = 0; i < r->n_targets; i++)
		if (!r->v[r->owner[i]].kept)
			r->targets[n++] = r->targets[i];
	r->n_targets = n;
	hp_mapped_hide(r->targets, n);
	struct hp_mapped_list *old;
	int error = hp_mapped_refresh(&old, err);
	if (!error)
		hp_readers_retire(old ? &old->retired : NULL, hp_mapped_free);
	else
		hp_mapped_hide(NULL, 0);
	return error;
}

static const char kept_by_linker[] =
	"the dynamic linker keeps it mapped: it is marked so (NODELETE, unique symbols), or "
	"somebody else has opened it";

static void unload(struct hp_candidate *candidate)
{
	hp_loaded_close(candidate->loaded);
	if (hp_loaded_is_mapped(candidate->loaded))
		hp_proof_keep(candidate, kept_by_linker);
	else
		hp_loaded_reserve(candidate->loaded);
}

/* A child must not be forked while the dynamic linker is at it, or while images are hidden: fork waits for this lock,
 * which is outermost. Recursive, since a destructor may fork. */
static pthread_mutex_t unloading;
static pthread_once_t unloading_once = PTHREAD_ONCE_INIT;

static void make_unloading(void)
{
	pthread_mutexattr_t recursive;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&unloading, &recursive);
	pthread_mutexattr_destroy(&recursive);
}

void hp_unloading_lock(void)
{
	pthread_once(&unloading_once, make_unloading);
	pthread_mutex_lock(&unloading);
}

void hp_unloading_unlock(void)
{
	pthread_mutex_unlock(&unloading);
}

/* As with the inspector's lock: refused, but heard of. */
void hp_unloading_unlock_in_child(void)
{
	pthread_mutex_unlock(&unloading);
	make_unloading();
	hp_mapped_hide(NULL, 0);
}

/* The destructors of the libraries run here, with the turn but no other lock. */
static int unload_all(struct hp_proof *r, uint64_t deadline, struct hp_err *err)
{
	int error = hp_registry_enter(err);
	if (error)
		return error;
	error = hide(r, err);
	hp_registry_leave();
	if (error)
		return error;
	if (!wait_for_readers(deadline))
		hp_proof_keep_all(r, "a thread is still reading the list of images");
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept)
			unload(&r->v[i]);
	hp_registry_lock();
	hp_mapped_hide(NULL, 0);
	for (size_t i = 0; i < r->n; i++)
		if (!r->v[i].kept) {
			hp_loaded_unlist(r->v[i].loaded);
			hp_loaded_free(r->v[i].loaded);
		}
	hp_registry_leave();
	return 0;
}

static int unload_without_fork(struct hp_proof *r, uint64_t deadline, struct hp_err *err)
{
	hp_unloading_lock();
	int error = unload_all(r, deadline, err);
	hp_unloading_unlock();
	return error;
}

static int reclaim(struct hp_proof *r, const struct hp_saved_regs *saved, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	int error = hp_registry_enter(err);
	if (error)
		return error;
	collect(r);
	hp_proof_skip_ours(r, session);
	hp_registry_leave();
	error = hp_proof_run(r, saved, &session->request, err);
	if (!error && hp_proof_any_left(r))
		error = unload_without_fork(r, session->request.deadline, err);
	return error;
}

/* What the caller had in registers is in `saved`, or where the public function pushed it, just below its frame. */
static int reclaim_libraries(struct hp_session *session, const struct hp_saved_regs *saved, struct kept *kept)
{
	struct hp_proof *r = calloc(1, sizeof(*r));
	if (!r)
		return hp_err_set(&session->err, HOTPATCH_ENOMEM, "no memory to look for libraries to unload");
	r->frame = session->request.frame - 6 * sizeof(uintptr_t);
	int error = reclaim(r, saved, session);
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].kept)
			kept_add(kept, &r->v[i].why);
	hp_memory_forget(r, sizeof(*r));
	return error;
}

/* -- Definitions that were replaced while in use ------------------------------------------------------------------ */

struct left {
	struct hp_session *session;
	struct kept *kept;
};

static void keep_definition(struct kept *kept, const struct hp_site *site, const struct hp_definition *definition)
{
	struct hp_kept row = {.target = definition->body};
	if (!kept || (!definition->destroy && !definition->library))
		return;
	snprintf(row.what, sizeof(row.what), "%s", definition->library ? definition->library->path : site->name);
	snprintf(row.reason, sizeof(row.reason), "a thread is in a definition of '%s' that was replaced, or may be",
	         site->name);
	kept_add(kept, &row);
}

static int free_left(struct hp_site *site, void *arg)
{
	struct left *left = arg;
	for (struct hp_definition **at = &site->lingering; *at;) {
		struct hp_definition *definition = *at;
		if (!hp_definition_is_left(definition, NULL)) {
			keep_definition(left->kept, site, definition);
			at = &definition->next;
			continue;
		}
		*at = definition->next;
		definition->next = NULL;
		if (definition->refs == 0)
			hp_session_discard(left->session, definition);
	}
	return 0;
}

/* kept NULL: nobody wants to know. */
static int reclaim_definitions(struct hp_session *session, struct kept *kept)
{
	int error = hp_registry_enter(&session->err);
	if (error)
		return error;
	hp_registry_leave();
	hp_sites_each(free_left, &(struct left){session, kept});
	return 0;
}

int hp_reclaim_definitions(struct hp_session *session)
{
	return reclaim_definitions(session, NULL);
}

/* -- The public interface ---------------------------------------------------------------------------------------- */

/* No lock is held: the callback may call anything. */
static int tell_kept(const struct kept *kept, int (*callback)(const struct hotpatch_kept *kept, void *arg), void *arg)
{
	for (size_t i = 0; i < kept->n && callback; i++) {
		const struct hp_kept *row = &kept->v[i];
		struct hp_place target = {.offset = 0};
		if (row->target)
			hp_place_of(row->target, true, &target);
		struct hotpatch_kept told = {
			.what = row->what,
			.reason = row->reason,
			.place = row->place,
			.address = row->address,
			.target = row->target,
			.function = target.function,
			.offset = target.offset,
			.thread = row->thread,
		};
		if (callback(&told, arg))
			break;
	}
	return (int)(kept->n + kept->lost);
}

/* Two sessions: what the first one frees is freed at its end, and libraries are let go of then. */
__attribute__((noinline)) int hotpatch_reclaim_with(int (*callback)(const struct hotpatch_kept *kept, void *arg),
                                                    void *arg, const struct hotpatch_options *options)
{
	struct hp_saved_regs saved;
	struct hp_session session;
	struct kept kept = {.n = 0};
	hp_arch_regs_save(&saved);
	hp_report_forget();
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = reclaim_definitions(&session, &kept);
	error = hp_session_end(&session, error);
	if (!error) {
		error = hp_session_begin(&session, options, __builtin_frame_address(0));
		if (!error)
			error = reclaim_libraries(&session, &saved, &kept);
		error = hp_session_end(&session, error);
	}
	int n = error ? error : tell_kept(&kept, callback, arg);
	hp_memory_forget(kept.v, kept.n * sizeof(*kept.v));
	return n;
}

int hotpatch_reclaim(void)
{
	return hotpatch_reclaim_with(NULL, NULL, NULL);
}
