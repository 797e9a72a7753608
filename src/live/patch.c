#include "live/patch.h"
#include "live/registry.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- Definitions that leave a site ------------------------------------------------------------------------------- */

static void unlinger(struct hp_site *site, const struct hp_definition *definition)
{
	for (struct hp_definition **at = &site->lingering; *at; at = &(*at)->next)
		if (*at == definition) {
			*at = definition->next;
			return;
		}
}

static bool lingers_already(const struct hp_site *site, const struct hp_definition *definition)
{
	for (const struct hp_definition *d = site->lingering; d; d = d->next)
		if (d == definition || (d->body == definition->body && !definition->landing))
			return true;
	return false;
}

/* The layer's reference is given up. A definition that some thread may still be in is kept in mind by its site; a
 * second one with the same code needs no place of its own. */
static void drop_definition(struct hp_session *session, struct hp_site *site, struct hp_definition *definition,
                            bool left)
{
	if (definition->is_original)
		return;
	bool unused = --definition->refs == 0;
	if (!left && !lingers_already(site, definition)) {
		definition->next = site->lingering;
		site->lingering = definition;
	} else if (unused) {
		hp_session_discard(session, definition);
	}
}

/* After a drained transition nobody is in what lingered, unless it has the code of what is current now. */
static void forget_lingering(struct hp_session *session, struct hp_site *site)
{
	const struct hp_definition *current =
		site->n_layers ? site->layers[site->n_layers - 1].definition : &site->original;
	for (struct hp_definition **at = &site->lingering; *at;) {
		struct hp_definition *definition = *at;
		if (hp_definition_same_code(definition, current)) {
			at = &definition->next;
			continue;
		}
		*at = definition->next;
		definition->next = NULL;
		if (definition->refs == 0)
			hp_session_discard(session, definition);
	}
}

/* -- From a wish to changes -------------------------------------------------------------------------------------- */

static bool is_dropped(const struct hp_wish *wish, const struct hp_layer *layer)
{
	return layer->patch ? layer->patch->leaving : wish->drops_direct;
}

/* Layers of the original that hotpatch_restore put above patches mean nothing once those are gone. */
static size_t strip_bottom(struct hp_layer *layers, size_t n)
{
	size_t skip = 0;
	while (skip < n && layers[skip].definition->is_original)
		skip++;
	memmove(layers, layers + skip, (n - skip) * sizeof(*layers));
	return n - skip;
}

static int plan(const struct hp_wish *wish, struct hp_change *change, struct hp_err *err)
{
	struct hp_site *site = wish->site;
	struct hp_layer *layers = calloc(site->n_layers + 1, sizeof(*layers));
	size_t n = 0, first_dropped = site->n_layers;
	bool frees = false;
	if (!layers)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the layers of '%s'", site->name);
	for (size_t i = 0; i < site->n_layers; i++) {
		if (!is_dropped(wish, &site->layers[i])) {
			layers[n++] = site->layers[i];
			continue;
		}
		if (first_dropped == site->n_layers)
			first_dropped = i;
		frees |= site->layers[i].definition->landing != 0;
	}
	bool top_stays = first_dropped < site->n_layers && !is_dropped(wish, &site->layers[site->n_layers - 1]);
	if (wish->put) {
		layers[n] = (struct hp_layer){
			.definition = wish->put,
			.patch = wish->owner,
			.patch_name = wish->owner ? wish->owner->name : "",
		};
		clock_gettime(CLOCK_REALTIME, &layers[n++].since);
	}
	n = strip_bottom(layers, n);
	*change = (struct hp_change){
		.site = site,
		.layers = layers,
		.n_layers = n,
		.kept = wish->put ? 0 : first_dropped,
		.keep_original = !wish->put,
		.look_for_top = top_stays && frees && !wish->put,
	};
	return hp_site_reserve_layers(site, n, err);
}

/* The references that layers gain are counted before, those they lose after. */
static void settle(struct hp_session *session, const struct hp_wish *wish, const struct hp_layer *old, size_t n_old)
{
	if (wish->put && !wish->put->is_original) {
		wish->put->refs++;
		unlinger(wish->site, wish->put);
	}
	for (size_t i = 0; i < n_old; i++)
		if (is_dropped(wish, &old[i]))
			drop_definition(session, wish->site, old[i].definition, session->outcome->drained);
	if (session->outcome->drained)
		forget_lingering(session, wish->site);
}

static void free_changes(struct hp_change *changes, size_t n)
{
	for (size_t i = 0; changes && i < n; i++)
		hp_memory_forget(changes[i].layers, changes[i].n_layers * sizeof(struct hp_layer));
	free(changes);
}

/* The layers before the transition, since it writes over them. */
struct past {
	struct hp_layer *layers;
	size_t n;
};

static int remember(const struct hp_wish *wishes, size_t n, struct past *past, struct hp_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct hp_site *site = wishes[i].site;
		past[i].n = site->n_layers;
		past[i].layers = calloc(site->n_layers + 1, sizeof(struct hp_layer));
		if (!past[i].layers)
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu changes", n);
		if (site->n_layers)
			memcpy(past[i].layers, site->layers, site->n_layers * sizeof(struct hp_layer));
	}
	return 0;
}

int hp_wishes_fulfil(const struct hp_wish *wishes, size_t n, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	struct hp_change *changes = calloc(n, sizeof(*changes));
	struct past *past = calloc(n, sizeof(*past));
	int error = changes && past ? 0 : hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu changes", n);
	if (!error && (error = hp_registry_enter(err)) == 0) {
		for (size_t i = 0; i < n && !error; i++)
			error = plan(&wishes[i], &changes[i], err);
		if (!error)
			error = remember(wishes, n, past, err);
		hp_registry_leave();
	}
	if (!error)
		error = hp_transition_run(changes, n, &session->request, session->outcome, err);
	for (size_t i = 0; past && i < n && session->outcome->live; i++)
		settle(session, &wishes[i], past[i].layers, past[i].n);
	for (size_t i = 0; past && i < n; i++)
		hp_memory_forget(past[i].layers, past[i].n * sizeof(struct hp_layer));
	free(past);
	free_changes(changes, n);
	return error;
}

/* -- Patches ----------------------------------------------------------------------------------------------------- */

static void *grow(void *array, size_t n, size_t *capacity, size_t size)
{
	if (n < *capacity)
		return array;
	size_t more = *capacity ? 2 * *capacity : 8;
	void *grown = realloc(array, more * size);
	if (grown)
		*capacity = more;
	return grown;
}

static void release(struct hp_definition *definition, struct hp_session *session)
{
	if (definition && --definition->refs == 0)
		hp_session_discard(session, definition);
}

/* A reference that never reached a layer: the caller keeps the context, so no destructor runs. */
static void release_unused(struct hp_definition *definition)
{
	if (definition && --definition->refs == 0)
		hp_definition_free(definition);
}

int hp_patch_add(struct hotpatch *patch, struct hp_site *site, struct hp_definition *definition, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < patch->n && !error && patch->n < 64; i++) /* larger sets are checked when applied */
		if (patch->items[i].site == site)
			error = hp_err_set(err, HOTPATCH_EINVAL,
			                   "patch '%s' replaces '%s' already; one set changes a function once",
			                   patch->name, site->name);
	struct hp_item *items = error ? NULL : grow(patch->items, patch->n, &patch->capacity, sizeof(*items));
	if (!error && !items)
		error = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for another change in patch '%s'", patch->name);
	if (error) {
		release_unused(definition);
		return error;
	}
	patch->items = items;
	patch->items[patch->n++] = (struct hp_item){site, definition};
	return 0;
}

int hp_patch_call_listeners(struct hotpatch *patch, enum hotpatch_event event, struct hp_err *err)
{
	patch->veto[0] = '\0';
	for (size_t i = 0; i < patch->n_listeners; i++) {
		const struct hp_listener *listener = &patch->listeners[i];
		int answer = listener->event == event ? listener->callback(patch, event, listener->arg) : 0;
		if (!answer || !err)
			continue;
		if (*patch->veto)
			return hp_err_set(err, HOTPATCH_EVETO, "a callback of patch '%s' refused: %s", patch->name,
			                  patch->veto);
		return hp_err_set(err, HOTPATCH_EVETO, "a callback of patch '%s' refused with %d", patch->name, answer);
	}
	return 0;
}

/* Marks each site of the patch; a site that has the mark already is in it twice. */
static int check_twice(const struct hotpatch *patch, struct hp_err *err)
{
	const struct hp_site *twice = NULL;
	for (size_t i = 0; i < patch->n; i++) {
		if (patch->items[i].site->mark)
			twice = patch->items[i].site;
		patch->items[i].site->mark = 1;
	}
	for (size_t i = 0; i < patch->n; i++)
		patch->items[i].site->mark = 0;
	return twice ? hp_err_set(err, HOTPATCH_EINVAL,
	                          "patch '%s' replaces '%s' twice; one set changes a function once", patch->name,
	                          twice->name)
	             : 0;
}

static int fulfil_for_all(struct hotpatch *patch, bool apply, struct hp_session *session)
{
	struct hp_wish *wishes = calloc(patch->n, sizeof(*wishes));
	if (!wishes)
		return hp_err_set(&session->err, HOTPATCH_ENOMEM, "no memory for %zu changes", patch->n);
	for (size_t i = 0; i < patch->n; i++)
		wishes[i] = (struct hp_wish){
			.site = patch->items[i].site,
			.put = apply ? patch->items[i].definition : NULL,
			.owner = patch,
		};
	patch->leaving = !apply;
	int error = hp_wishes_fulfil(wishes, patch->n, session);
	patch->leaving = false;
	free(wishes);
	return error;
}

int hp_patch_apply(struct hotpatch *patch, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	if (patch->applied)
		return hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is applied already", patch->name);
	if (patch->n == 0)
		return hp_err_set(err, HOTPATCH_EINVAL, "patch '%s' is empty; add changes with hotpatch_replace",
		                  patch->name);
	size_t n = patch->n;
	int error = check_twice(patch, err);
	if (!error)
		error = hp_patch_call_listeners(patch, HOTPATCH_PRE_APPLY, err);
	if (!error && patch->n > n) /* callbacks may add to it */
		error = check_twice(patch, err);
	if (!error)
		error = fulfil_for_all(patch, true, session);
	patch->applied = session->outcome->live;
	if (patch->applied)
		hp_patch_call_listeners(patch, HOTPATCH_POST_APPLY, NULL);
	return error;
}

int hp_patch_revert(struct hotpatch *patch, struct hp_session *session)
{
	struct hp_err *err = &session->err;
	if (!patch->applied)
		return hp_err_set(err, HOTPATCH_ESTATE, "patch '%s' is not applied", patch->name);
	int error = hp_patch_call_listeners(patch, HOTPATCH_PRE_REVERT, err);
	if (!error)
		error = fulfil_for_all(patch, false, session);
	patch->applied = !session->outcome->live;
	if (!patch->applied)
		hp_patch_call_listeners(patch, HOTPATCH_POST_REVERT, NULL);
	return error;
}

/* A definition that lingers on its site outlives its patch. */
static bool lingers(const struct hp_item *item)
{
	for (const struct hp_definition *d = item->site->lingering; d; d = d->next)
		if (d == item->definition)
			return true;
	return false;
}

void hp_patch_destroy(struct hotpatch *patch, struct hp_session *session)
{
	for (size_t i = 0; i < patch->n; i++) {
		if (lingers(&patch->items[i]))
			patch->items[i].definition->refs--;
		else
			release(patch->items[i].definition, session);
	}
	free(patch->items);
	hp_memory_forget(patch->listeners, patch->n_listeners * sizeof(*patch->listeners));
	free(patch->name);
	free(patch);
}

int hp_patch_direct(struct hp_site *site, struct hp_definition *definition, struct hp_session *session)
{
	struct hp_wish wish = {.site = site, .drops_direct = true, .put = definition};
	int error = hp_wishes_fulfil(&wish, 1, session);
	release_unused(definition); /* of two references if a layer has taken one */
	return error;
}

/* -- The public interface ---------------------------------------------------------------------------------------- */

struct hotpatch *hotpatch_new(const char *name)
{
	struct hp_err err;
	struct hotpatch *patch = name ? calloc(1, sizeof(*patch)) : NULL;
	if (patch && (patch->name = strdup(name)))
		return patch;
	free(patch);
	if (name)
		hp_report(hp_err_set(&err, HOTPATCH_ENOMEM, "no memory for patch '%s'", name), &err);
	else
		hp_report(hp_err_set(&err, HOTPATCH_EINVAL, "a patch must have a name"), &err);
	return NULL;
}

static int require_patch(const struct hotpatch *patch, struct hp_err *err)
{
	return patch ? 0 : hp_err_set(err, HOTPATCH_EINVAL, "the patch is NULL; make one with hotpatch_new");
}

int hotpatch_free(struct hotpatch *patch)
{
	struct hp_session session;
	if (!patch)
		return 0;
	int error = hp_session_begin(&session, NULL, __builtin_frame_address(0));
	if (!error && patch->applied)
		error = hp_err_set(&session.err, HOTPATCH_ESTATE, "patch '%s' is applied; revert it first",
		                   patch->name);
	if (!error)
		hp_patch_destroy(patch, &session);
	return hp_session_end(&session, error);
}

int hotpatch_veto(struct hotpatch *patch, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	if (patch)
		vsnprintf(patch->veto, sizeof(patch->veto), format, args);
	va_end(args);
	return 1;
}

int hotpatch_on(struct hotpatch *patch, enum hotpatch_event event, hotpatch_callback callback, void *arg)
{
	struct hp_err err;
	int error = require_patch(patch, &err);
	if (!error && (!callback || (unsigned)event > HOTPATCH_POST_REVERT))
		error = hp_err_set(&err, HOTPATCH_EINVAL, "patch '%s': %s", patch->name,
		                   callback ? "there is no such event" : "the callback is NULL");
	if (error)
		return hp_report(error, &err);
	struct hp_listener *grown = realloc(patch->listeners, (patch->n_listeners + 1) * sizeof(*grown));
	if (!grown)
		return hp_report(hp_err_set(&err, HOTPATCH_ENOMEM, "no memory for a callback of patch '%s'",
		                            patch->name),
		                 &err);
	patch->listeners = grown;
	patch->listeners[patch->n_listeners++] = (struct hp_listener){event, callback, arg};
	return 0;
}

static int find_site(const struct hp_named *named, hotpatch_any fn, struct hp_site **ret_site, struct hp_err *err)
{
	uintptr_t entry;
	int error = hp_function_entry(fn, named->name, &entry, err);
	return error ? error : hp_site_get(entry, named, ret_site, err);
}

/* What takes the place of a function, as the interface gives it. */
struct body {
	hotpatch_any function;
	bool is_closure;
	void *context;
	void (*destroy)(void *);
};

static int define(const struct body *body, const struct hotpatch_marks *marks, const struct hp_site *site,
                  struct hp_definition **ret_definition, struct hp_err *err)
{
	struct hp_definition *definition;
	struct hp_named named = {"the new body", marks, false, NULL};
	int error = body->is_closure ? hp_definition_new_closure(body->function, &named, body->context, body->destroy,
	                                                         &definition, err)
	                             : hp_definition_new(body->function, &named, &definition, err);
	if (error)
		return error;
	if (definition->body == site->entry) {
		hp_definition_free(definition);
		return hp_err_set(err, HOTPATCH_EINVAL,
		                  "'%s' cannot replace itself; hotpatch_restore gives it its original body",
		                  site->name);
	}
	*ret_definition = definition;
	return 0;
}

static int prepare_pair(const struct hp_named *named, hotpatch_any fn, const struct body *body,
                        struct hp_site **ret_site, struct hp_definition **ret_definition, struct hp_err *err)
{
	int error =
		named->name ? hp_registry_enter(err) : hp_err_set(err, HOTPATCH_EINVAL, "the function's name is NULL");
	if (error)
		return error;
	error = find_site(named, fn, ret_site, err);
	if (!error)
		error = define(body, named->marks, *ret_site, ret_definition, err);
	hp_registry_leave();
	return error;
}

static int put(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, const struct body *body,
               const struct hotpatch_options *options)
{
	struct hp_session session;
	struct hp_site *site;
	struct hp_definition *definition;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = prepare_pair(&(struct hp_named){name, marks, session.unprepared, NULL}, fn, body, &site,
		                     &definition, &session.err);
	if (!error)
		error = hp_patch_direct(site, definition, &session);
	return hp_session_end(&session, error);
}

int hotpatch_fn_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, hotpatch_any body,
                   const struct hotpatch_options *options)
{
	return put(marks, name, fn, &(struct body){.function = body}, options);
}

int hotpatch_closure_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, hotpatch_any body,
                        void *context, void (*destroy)(void *), const struct hotpatch_options *options)
{
	return put(marks, name, fn, &(struct body){body, true, context, destroy}, options);
}

static int add(struct hotpatch *patch, const struct hp_named *named, hotpatch_any fn, const struct body *body)
{
	struct hp_err err;
	struct hp_site *site;
	struct hp_definition *definition;
	int saved = errno, error = require_patch(patch, &err);
	if (!error && patch->applied)
		error = hp_err_set(&err, HOTPATCH_ESTATE, "patch '%s' is applied; revert it before it is changed",
		                   patch->name);
	if (!error)
		error = prepare_pair(named, fn, body, &site, &definition, &err);
	if (!error)
		error = hp_patch_add(patch, site, definition, &err);
	errno = saved;
	return hp_report(error, &err);
}

int hotpatch_replace_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *name, hotpatch_any fn,
                        hotpatch_any body, const struct hotpatch_options *options)
{
	return add(patch, &(struct hp_named){name, marks, hp_options_unprepared(options), NULL}, fn,
	           &(struct body){.function = body});
}

int hotpatch_replace_closure_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *name,
                                hotpatch_any fn, hotpatch_any body, void *context, void (*destroy)(void *),
                                const struct hotpatch_options *options)
{
	return add(patch, &(struct hp_named){name, marks, hp_options_unprepared(options), NULL}, fn,
	           &(struct body){body, true, context, destroy});
}

static int run_set(struct hotpatch *patch, const struct hotpatch_options *options,
                   int (*operate)(struct hotpatch *, struct hp_session *))
{
	struct hp_session session;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = require_patch(patch, &session.err);
	if (!error)
		error = operate(patch, &session);
	return hp_session_end(&session, error);
}

int hotpatch_apply_with(struct hotpatch *patch, const struct hotpatch_options *options)
{
	return run_set(patch, options, hp_patch_apply);
}

int hotpatch_revert_with(struct hotpatch *patch, const struct hotpatch_options *options)
{
	return run_set(patch, options, hp_patch_revert);
}

/* With patches beneath, the original comes on top of them; without, the direct layer goes. */
static int restore(struct hp_site *site, struct hp_session *session)
{
	struct hp_wish wish = {.site = site, .drops_direct = true};
	if (site->n_layers == 0 || site->layers[site->n_layers - 1].definition->is_original)
		return 0;
	for (size_t i = 0; i < site->n_layers; i++)
		if (site->layers[i].patch)
			wish.put = &site->original;
	return hp_wishes_fulfil(&wish, 1, session);
}

int hotpatch_restore_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn,
                        const struct hotpatch_options *options)
{
	struct hp_session session;
	struct hp_site *site;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = hp_registry_enter(&session.err);
	if (!error) {
		error = find_site(&(struct hp_named){name ? name : "", marks, session.unprepared, NULL}, fn, &site,
		                  &session.err);
		hp_registry_leave();
	}
	if (!error)
		error = restore(site, &session);
	return hp_session_end(&session, error);
}
