#include "live/library.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/inspector.h"
#include "base/loaded.h"
#include "base/mapped.h"

/* A shared object on its way in: checked, matched, loaded. */
struct library {
	char *path;       /* absolute */
	const char *name; /* as the caller gave it */
	struct hp_module module;
	const struct hp_inspector *inspector;
	struct hp_loaded *loaded; /* last */
	struct hp_pairs pairs;
};

/* How a caller wants it done. */
struct manner {
	const struct hotpatch_marks *marks;
	bool unchecked, unprepared;
};

/* What hotpatch_load has applied, and not reverted yet: the newest first. Protected by the turn. */
struct applied {
	struct applied *next;
	char *path; /* absolute */
	struct hotpatch *patch;
};

static struct applied *all_applied;

/* -- Opening ----------------------------------------------------------------------------------------------------- */

static int library_open(struct library *library, const char *path, struct hp_err *err)
{
	*library = (struct library){.name = path};
	if (!path)
		return hp_err_set(err, HOTPATCH_EINVAL, "the library's path is NULL");
	if (hp_mapped_is_static())
		return hp_err_set(err, HOTPATCH_ENOTSUP, "'%s': a static executable cannot load libraries", path);
	library->path = realpath(path, NULL);
	if (!library->path)
		return hp_err_system(err, HOTPATCH_ENOFILE, errno, "library '%s' cannot be opened", path);
	library->module = (struct hp_module){.path = library->path, .name = path};
	int error = hp_inspector_load(&library->inspector, err);
	return error ? error : library->inspector->check_library(&library->module, err);
}

static void library_close(struct library *library)
{
	free(library->pairs.v);
	free(library->path);
}

/* -- Matching ---------------------------------------------------------------------------------------------------- */

static int pairs_add(struct hp_pairs *pairs, struct hp_site *site, const struct hp_symbol *symbol, struct hp_err *err)
{
	if (pairs->n == pairs->capacity) {
		size_t capacity = pairs->capacity ? 2 * pairs->capacity : 8;
		struct hp_pair *grown = realloc(pairs->v, capacity * sizeof(*grown));
		if (!grown)
			return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu functions", capacity);
		pairs->v = grown;
		pairs->capacity = capacity;
	}
	struct hp_pair *pair = &pairs->v[pairs->n++];
	pair->site = site;
	pair->value = symbol->value;
	memcpy(pair->name, symbol->name, sizeof(pair->name));
	return 0;
}

static const char *spoken(const struct hp_symbol *symbol)
{
	return *symbol->path ? symbol->path : symbol->name;
}

/* Functions found for one name, and how they are told in a sentence that lists them. */
struct candidates {
	struct hp_symbol first;
	size_t n;
	char list[512];
};

static int note_candidate(const struct hp_symbol *symbol, void *arg)
{
	struct candidates *found = arg;
	size_t used = strlen(found->list);
	if (found->n++ == 0)
		found->first = *symbol;
	snprintf(found->list + used, sizeof(found->list) - used, "%s%s at %#llx%s%s", found->n > 1 ? ", " : "",
	         symbol->name, (unsigned long long)symbol->value, *symbol->unit ? " of " : "", symbol->unit);
	return 0;
}

/* The function of the library that goes by the name of the program's function. Marked ones first. */
static int match_in_library(const struct library *library, const struct hp_symbol *wanted, struct hp_symbol *ret_symbol,
                            struct hp_err *err)
{
	struct hp_query query = {.marked = true};
	struct candidates found = {.n = 0};
	if (*wanted->path)
		query.path = wanted->path;
	else
		query.name = wanted->name;
	int error = library->inspector->functions(&library->module, &query, note_candidate, &found, err);
	if (!error && found.n == 0 && query.name) {
		query.marked = false;
		error = library->inspector->functions(&library->module, &query, note_candidate, &found, err);
	}
	if (error)
		return error;
	if (found.n == 0)
		return hp_err_set(err, HOTPATCH_ENOSYM, "library '%s' has no function '%s'%s", library->name,
		                  spoken(wanted), *wanted->path ? "; mark one HOTPATCH_AS that path" : "");
	if (found.n > 1)
		return hp_err_set(err, HOTPATCH_EAMBIGUOUS, "library '%s' has '%s' %zu times: %s; keep one",
		                  library->name, spoken(wanted), found.n, found.list);
	*ret_symbol = found.first;
	return 0;
}

static int compare_types(const struct library *library, const struct hp_site *site, uint64_t value, struct hp_err *err)
{
	const struct hp_mapped *image = hp_mapped_find(site->entry);
	struct hp_module module = hp_module_of(image);
	struct hp_err cause;
	int error = library->inspector->same_type(&module, site->entry - image->bias, &library->module, value, &cause);
	if (error)
		return hp_err_set(err, error, "'%s' cannot be replaced from '%s': %s", site->name, library->name,
		                  cause.text);
	return 0;
}

/* What the program's function is called: its symbol and path; without a symbol, as the macro wrote it. */
static int name_site(const struct library *library, const struct hp_site *site, struct hp_symbol *ret_symbol)
{
	const struct hp_mapped *image = hp_mapped_find(site->entry);
	struct hp_module module = hp_module_of(image);
	struct hp_err ignored;
	int error = library->inspector->function_at(&module, site->entry - image->bias, ret_symbol, &ignored);
	if (error) {
		*ret_symbol = (struct hp_symbol){.value = 0};
		snprintf(ret_symbol->name, sizeof(ret_symbol->name), "%s", site->name);
	}
	return 0;
}

static int pair_one(struct library *library, struct hp_site *site, bool unchecked, struct hp_err *err)
{
	struct hp_symbol wanted, found;
	int error = name_site(library, site, &wanted);
	if (!error)
		error = match_in_library(library, &wanted, &found, err);
	if (!error && !unchecked)
		/* cppcheck-suppress uninitStructMember; it was found */
		error = compare_types(library, site, found.value, err);
	return error ? error : pairs_add(&library->pairs, site, &found, err);
}

/* -- Matching a whole library
 * ------------------------------------------------------------------------------------------ */

/* The search for the program's function that one marked function of the library replaces. */
struct search {
	const struct library *library;
	const struct hp_symbol *wanted;
	const struct hp_mapped *image; /* being searched */
	const struct manner *manner;
	struct hp_site *site;
	size_t n;
	char list[512];
	struct hp_err refusal; /* of a function of that name that cannot be patched */
};

static int try_candidate(const struct hp_symbol *symbol, void *arg)
{
	struct search *s = arg;
	struct hp_site *site;
	size_t used = strlen(s->list);
	if (strcmp(symbol->path, s->wanted->path) != 0)
		return 0;
	struct hp_named named = {symbol->name, s->manner->marks, s->manner->unprepared, NULL};
	if (hp_site_get(symbol->value + s->image->bias, &named, &site, &s->refusal) != 0)
		return 0;
	s->site = site;
	s->n++;
	snprintf(s->list + used, sizeof(s->list) - used, "%s%s%s%s", s->n > 1 ? ", in " : "in ", s->image->name,
	         *symbol->unit ? " of " : "", symbol->unit);
	return 0;
}

static int search_image(const struct hp_mapped *image, void *arg)
{
	struct search *s = arg;
	struct hp_err ignored;
	struct hp_query query = {.name = *s->wanted->path ? NULL : s->wanted->name,
	                         .path = *s->wanted->path ? s->wanted->path : NULL};
	struct hp_module module = hp_module_of(image);
	if (!*image->path || strncmp(image->path, "linux-vdso", 10) == 0 || hp_loaded_is_bias(image->bias))
		return 0;
	s->image = image;
	(void)s->library->inspector->functions(&module, &query, try_candidate, s,
	                                       &ignored); /* unreadable: not the one */
	return 0;
}

static int find_in_program(const struct library *library, const struct hp_symbol *wanted, const struct manner *manner,
                           struct hp_site **ret_site, struct hp_err *err)
{
	struct search search = {.library = library, .wanted = wanted, .manner = manner};
	hp_mapped_each(search_image, &search);
	if (search.n > 1)
		return hp_err_set(err, HOTPATCH_EAMBIGUOUS,
		                  "the program has '%s' %zu times: %s; use hotpatch_lib for one of them",
		                  spoken(wanted), search.n, search.list);
	if (search.n == 1) {
		*ret_site = search.site;
		return 0;
	}
	if (search.refusal.code) {
		*err = search.refusal;
		return err->code;
	}
	return hp_err_set(err, HOTPATCH_ENOSYM, "the program has no function '%s', which library '%s' replaces",
	                  spoken(wanted), library->name);
}

/* The marked functions of the library, collected before the program is searched: the plugin is asked one by one. */
struct marked {
	struct hp_symbol *v;
	size_t n;
};

static int collect(const struct hp_symbol *symbol, void *arg)
{
	struct marked *marked = arg;
	struct hp_symbol *grown = realloc(marked->v, (marked->n + 1) * sizeof(*grown));
	if (!grown)
		return HOTPATCH_ENOMEM;
	marked->v = grown;
	marked->v[marked->n++] = *symbol;
	return 0;
}

static int check_marked(const struct library *library, const struct marked *marked, struct hp_err *err)
{
	if (marked->n == 0)
		return hp_err_set(err, HOTPATCH_ENOSYM, "library '%s' marks no function HOTPATCH", library->name);
	for (size_t i = 0; i < marked->n; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(spoken(&marked->v[i]), spoken(&marked->v[j])) == 0)
				return hp_err_set(err, HOTPATCH_EAMBIGUOUS, "library '%s' has '%s' twice; keep one",
				                  library->name, spoken(&marked->v[i]));
	return 0;
}

static int pair_all(struct library *library, const struct manner *manner, struct hp_err *err)
{
	struct marked marked = {.n = 0};
	struct hp_query query = {.marked = true};
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): library_open has succeeded, and set it */
	int error = library->inspector->functions(&library->module, &query, collect, &marked, err);
	if (error == HOTPATCH_ENOMEM)
		hp_err_set(err, error, "no memory for the functions of '%s'", library->name);
	if (!error)
		error = check_marked(library, &marked, err);
	for (size_t i = 0; i < marked.n && !error; i++) {
		struct hp_site *site;
		error = find_in_program(library, &marked.v[i], manner, &site, err);
		if (!error && !manner->unchecked)
			error = compare_types(library, site, marked.v[i].value, err);
		if (!error)
			error = pairs_add(&library->pairs, site, &marked.v[i], err);
	}
	free(marked.v);
	return error;
}

/* -- Loading ----------------------------------------------------------------------------------------------------- */

static int pair_define(const struct library *library, const struct hp_pair *pair, const struct hotpatch_marks *marks,
                       struct hp_definition **ret_definition, struct hp_err *err)
{
	hotpatch_any body = (hotpatch_any)(library->loaded->images[0].bias + pair->value);
	return hp_definition_new(body, &(struct hp_named){pair->name, marks, false, NULL}, ret_definition, err);
}

/* The library's functions lie in images that the last refresh did not know. */
static int reenter_registry(struct hp_err *err)
{
	hp_registry_leave();
	return hp_registry_enter(err);
}

/* -- Into a set -------------------------------------------------------------------------------------------------- */

static int add_pairs(struct hotpatch *patch, const struct library *library, const struct hotpatch_marks *marks,
                     struct hp_err *err)
{
	size_t before = patch->n;
	int error = 0;
	for (size_t i = 0; i < library->pairs.n && !error; i++) {
		struct hp_definition *definition;
		error = pair_define(library, &library->pairs.v[i], marks, &definition, err);
		if (!error)
			error = hp_patch_add(patch, library->pairs.v[i].site, definition, err);
	}
	while (error && patch->n > before)
		hp_definition_free(patch->items[--patch->n].definition);
	return error;
}

/* Under the registry. */
static int fill(struct hotpatch *patch, struct library *library, const char *path, const struct manner *manner,
                struct hp_err *err)
{
	int error = library_open(library, path, err);
	if (!error)
		error = pair_all(library, manner, err);
	if (!error)
		error = hp_loaded_open(library->path, library->name, &library->loaded, err);
	if (!error)
		error = reenter_registry(err);
	return error ? error : add_pairs(patch, library, manner->marks, err);
}

static int fill_from(struct hotpatch *patch, const char *path, const struct manner *manner, char **ret_absolute,
                     struct hp_err *err)
{
	struct library library = {.path = NULL};
	int error = hp_registry_enter(err);
	if (error)
		return error;
	error = fill(patch, &library, path, manner, err);
	hp_registry_leave();
	if (!error && ret_absolute) {
		*ret_absolute = library.path;
		library.path = NULL;
	}
	library_close(&library);
	return error;
}

/* -- The public interface
 * ---------------------------------------------------------------------------------------------- */

int hotpatch_replace_lib_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *path,
                            const struct hotpatch_options *options)
{
	struct hp_session session;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error && !patch)
		error = hp_err_set(&session.err, HOTPATCH_EINVAL, "the patch is NULL; make one with hotpatch_new");
	if (!error && patch->applied)
		error = hp_err_set(&session.err, HOTPATCH_ESTATE,
		                   "patch '%s' is applied; revert it before it is changed", patch->name);
	if (!error)
		error = fill_from(patch, path, &(struct manner){marks, session.unchecked, session.unprepared}, NULL,
		                  &session.err);
	return hp_session_end(&session, error);
}

/* Under the registry: the site, and its definition from the library. */
static int define_one(struct library *library, const char *path, const struct manner *manner, const char *name,
                      hotpatch_any fn, struct hp_definition **ret_definition, struct hp_err *err)
{
	uintptr_t entry;
	struct hp_site *site;
	int error = library_open(library, path, err);
	if (!error)
		error = hp_function_entry(fn, name, &entry, err);
	if (!error)
		error = hp_site_get(entry, &(struct hp_named){name, manner->marks, manner->unprepared, NULL}, &site,
		                    err);
	if (!error)
		error = pair_one(library, site, manner->unchecked, err);
	if (!error)
		error = hp_loaded_open(library->path, library->name, &library->loaded, err);
	if (!error)
		error = reenter_registry(err);
	return error ? error : pair_define(library, &library->pairs.v[0], manner->marks, ret_definition, err);
}

int hotpatch_lib_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, const char *path,
                    const struct hotpatch_options *options)
{
	struct hp_session session;
	struct library library = {.path = NULL};
	struct hp_definition *definition = NULL;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = hp_registry_enter(&session.err);
	if (!error) {
		struct manner manner = {marks, session.unchecked, session.unprepared};
		error = define_one(&library, path, &manner, name ? name : "", fn, &definition, &session.err);
		hp_registry_leave();
	}
	if (!error)
		error = hp_patch_direct(library.pairs.v[0].site, definition, &session);
	library_close(&library);
	return hp_session_end(&session, error);
}

/* The newest patch from that path. */
static struct applied **find_applied(const char *path)
{
	char *absolute = realpath(path, NULL);
	const char *wanted = absolute ? absolute : path; /* the file may be gone */
	struct applied **at = &all_applied;
	while (*at && strcmp((*at)->path, wanted) != 0 && strcmp((*at)->patch->name, path) != 0)
		at = &(*at)->next;
	free(absolute);
	return at;
}

static void applied_free(struct applied *applied)
{
	if (applied)
		free(applied->path);
	free(applied);
}

static int load_as_patch(const char *path, const struct hotpatch_marks *marks, struct hp_session *session)
{
	struct hotpatch *patch = hotpatch_new(path ? path : "");
	struct applied *applied = calloc(1, sizeof(*applied));
	int error = 0;
	if (!patch || !applied)
		error = hp_err_set(&session->err, HOTPATCH_ENOMEM, "no memory for a patch from '%s'", path);
	if (!error)
		error = fill_from(patch, path, &(struct manner){marks, session->unchecked, session->unprepared},
		                  &applied->path, &session->err);
	if (!error)
		error = hp_patch_apply(patch, session);
	if (applied && patch && patch->applied) {
		applied->patch = patch;
		applied->next = all_applied;
		all_applied = applied;
		return error;
	}
	if (patch)
		hp_patch_destroy(patch, session);
	applied_free(applied);
	return error;
}

int hotpatch_load_at(const struct hotpatch_marks *marks, const char *path, const struct hotpatch_options *options)
{
	struct hp_session session;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error)
		error = load_as_patch(path, marks, &session);
	return hp_session_end(&session, error);
}

int hotpatch_unload_with(const char *path, const struct hotpatch_options *options)
{
	struct hp_session session;
	struct applied **at = NULL, *found = NULL;
	int error = hp_session_begin(&session, options, __builtin_frame_address(0));
	if (!error && !path)
		error = hp_err_set(&session.err, HOTPATCH_EINVAL, "the library's path is NULL");
	if (!error && (at = find_applied(path)))
		found = *at;
	if (!error && !found)
		error = hp_err_set(&session.err, HOTPATCH_ESTATE, "no patch from '%s' is applied", path);
	if (!error)
		error = hp_patch_revert(found->patch, &session);
	if (found && !found->patch->applied) {
		hp_patch_destroy(found->patch, &session);
		*at = found->next;
		applied_free(found);
	}
	return hp_session_end(&session, error);
}
