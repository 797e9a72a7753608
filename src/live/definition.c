#include "live/definition.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "base/inspector.h"
#include "base/mapped.h"
#include "code/near.h"
#include "code/unprepared.h"
#include "live/registry.h"
#include "live/site.h"
#include "code/text.h"

#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlclose
#pragma weak dladdr

/* Set by a closure's landing on its way to the body; initial-exec, so that its distance from the thread pointer is the
 * same in every thread. */
static __thread void *current_context __attribute__((tls_model("initial-exec")));

void *hotpatch_context(void)
{
	return current_context;
}

/* -- From a pointer to a function -------------------------------------------------------------------------------- */

/* The search for the function that a linkage table's stub will lead to once the dynamic linker has resolved it. */
struct lookup {
	const char *name;
	const struct hp_mapped *from; /* the image that has the stub */
	uintptr_t found;
};

static int look_into(const struct hp_mapped *image, void *arg)
{
	struct lookup *lookup = arg;
	bool skip = image == lookup->from || image->is_program || image->linked;
	void *handle = skip ? NULL : dlopen(image->path, RTLD_LAZY | RTLD_NOLOAD);
	uintptr_t address = handle ? (uintptr_t)dlsym(handle, lookup->name) : 0;
	if (handle)
		dlclose(handle);
	if (address < image->low || address >= image->high)
		return 0; /* found in what it depends on */
	lookup->found = address;
	return 1;
}

static uintptr_t resolve_stub(uintptr_t stub, const struct hp_mapped *from)
{
	Dl_info info;
	if (hp_mapped_is_static() || !dladdr((void *)stub, &info) || (uintptr_t)info.dli_saddr != stub ||
	    !info.dli_sname)
		return stub;
	struct lookup lookup = {info.dli_sname, from, stub};
	hp_mapped_each(look_into, &lookup);
	return lookup.found;
}

/* A non-PIE program takes the address of its own linkage table stub for a library's function. Before the first call the
 * stub's word leads back into the table. */
static uintptr_t follow_linkage(uintptr_t address)
{
	uint8_t code[16];
	uintptr_t word, to;
	for (int hops = 0; hops < 4; hops++) {
		if (!hp_text_read(address, code, sizeof(code)) || !(word = hp_arch_plt_word(code, address)) ||
		    !hp_memory_read(word, &to, sizeof(to)))
			break;
		const struct hp_mapped *from = hp_mapped_find(address), *image = hp_mapped_find(to);
		if (from && image == from)
			return resolve_stub(address, from);
		if (!image || !hp_mapped_is_code(image, to))
			break;
		address = to;
	}
	return address;
}

static int refuse_address(uintptr_t address, const char *name, struct hp_err *err)
{
	const struct hp_mapped *image = hp_mapped_find(address);
	if (!image)
		return hp_err_set(
			err, HOTPATCH_ENOTFUNC,
			"'%s' (%#lx) lies in no loaded image: it is no function of this program; give a function's "
			"name",
			name, (unsigned long)address);
	return hp_err_set(err, HOTPATCH_ENOTFUNC, "'%s' (%#lx) is data of %s, not code; give a function's name", name,
	                  (unsigned long)address, image->name);
}

int hp_function_entry(hotpatch_any fn, const char *name, uintptr_t *ret_entry, struct hp_err *err)
{
	struct hp_fde fde;
	struct hp_place place;
	if (!fn)
		return hp_err_set(err, HOTPATCH_EINVAL, "'%s' is NULL, not a function", name);
	if (hp_site_at((uintptr_t)fn)) {
		*ret_entry = (uintptr_t)fn;
		return 0;
	}
	uintptr_t entry = follow_linkage((uintptr_t)fn);
	const struct hp_mapped *image = hp_mapped_find(entry);
	if (!image || !hp_mapped_is_code(image, entry))
		return refuse_address(entry, name, err);
	if (!hp_cfi_find(&image->cfi, entry, &fde))
		return hp_err_set(
			err, HOTPATCH_ENOTFUNC,
			"'%s' (%#lx in %s) has no entry in .eh_frame, so where it begins and ends is not known; compile "
			"it with -fasynchronous-unwind-tables",
			name, (unsigned long)entry, image->name);
	if (fde.begin != entry) {
		hp_place_of(entry, true, &place);
		return hp_err_set(err, HOTPATCH_ENOTFUNC,
		                  "'%s' (%#lx in %s) lies inside a function, %zu bytes behind the entry%s%s", name,
		                  (unsigned long)entry, image->name, (size_t)(entry - fde.begin),
		                  *place.function ? " of " : "", place.function);
	}
	*ret_entry = entry;
	return 0;
}

/* -- All its code ------------------------------------------------------------------------------------------------ */

static bool between(uintptr_t address, const char *low, const char *high)
{
	return low && address >= (uintptr_t)low && address < (uintptr_t)high;
}

/* Compilers split no function that lies in a section of its own naming. */
static bool is_whole(uintptr_t entry, const struct hp_fde *fde, const struct hotpatch_marks *marks)
{
	if (marks &&
	    (between(entry, marks->patchable, marks->patchable_end) || between(entry, marks->patch, marks->patch_end)))
		return true;
	return !fde->has_lsda && !hp_arch_may_jump_out((const uint8_t *)fde->begin, fde->end - fde->begin);
}

/* From the symbol table; and where there is none, from the code. */
static int find_extents(const struct hp_fde *fde, const char *name, struct hp_range *ret, size_t *ret_n,
                        struct hp_err *err)
{
	const struct hp_inspector *inspector;
	struct hp_extent extents[HP_PARTS_MAX - 1];
	const struct hp_mapped *image = hp_mapped_find(fde->begin);
	struct hp_module module = hp_module_of(image);
	struct hp_err ignored;
	int error = hp_inspector_load(&inspector, err);
	if (!error)
		error = inspector->parts(&module, fde->begin - image->bias, extents, HP_PARTS_MAX - 1, ret_n, err);
	struct hp_range own = {fde->begin, fde->end};
	struct hp_function function = {fde->begin, name, &own, 1, hp_site_undo_writes};
	if (error == HOTPATCH_ENOSYM && !fde->has_lsda &&
	    hp_unprepared_exits(&function, ret, HP_PARTS_MAX - 1, ret_n, &ignored) == 0)
		return 0;
	for (size_t i = 0; !error && i < *ret_n; i++)
		ret[i] = (struct hp_range){extents[i].begin + image->bias, extents[i].end + image->bias};
	return error;
}

static int find_cold_parts(const struct hp_fde *fde, const char *name, struct hp_parts *parts, struct hp_err *err)
{
	struct hp_range found[HP_PARTS_MAX - 1];
	struct hp_err cause;
	size_t n = 0;
	int error = find_extents(fde, name, found, &n, &cause);
	if (error)
		return hp_err_set(
			err, error,
			"parts of '%s' may lie elsewhere, and where cannot be found out (%s); mark it HOTPATCHABLE or "
			"HOTPATCH, or compile with -fno-reorder-blocks-and-partition",
			name, cause.text);
	for (size_t i = 0; i < n; i++) {
		parts->v[parts->n].low = found[i].low;
		parts->v[parts->n++].high = found[i].high;
	}
	return 0;
}

int hp_function_parts(uintptr_t entry, const char *name, const struct hotpatch_marks *marks, struct hp_parts *ret_parts,
                      struct hp_err *err)
{
	struct hp_fde fde;
	if (!hp_mapped_function(entry, &fde))
		return hp_err_set(err, HOTPATCH_ENOTFUNC, "'%s' has no entry in .eh_frame", name);
	ret_parts->v[0].low = fde.begin;
	ret_parts->v[0].high = fde.end;
	ret_parts->n = 1;
	return is_whole(entry, &fde, marks) ? 0 : find_cold_parts(&fde, name, ret_parts, err);
}

/* -- Definitions ------------------------------------------------------------------------------------------------- */

/* All there are, but for originals. Protected by all_lock, which is innermost. */
static struct hp_definition *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

void hp_definitions_lock(void)
{
	pthread_mutex_lock(&all_lock);
}

void hp_definitions_unlock(void)
{
	pthread_mutex_unlock(&all_lock);
}

static void enlist(struct hp_definition *definition)
{
	pthread_mutex_lock(&all_lock);
	definition->after = all;
	if (all)
		all->before = definition;
	all = definition;
	pthread_mutex_unlock(&all_lock);
}

static void delist(const struct hp_definition *definition)
{
	pthread_mutex_lock(&all_lock);
	if (definition->before)
		definition->before->after = definition->after;
	else if (all == definition)
		all = definition->after;
	if (definition->after)
		definition->after->before = definition->before;
	pthread_mutex_unlock(&all_lock);
}

bool hp_definition_uses(uintptr_t entry)
{
	bool uses = false;
	pthread_mutex_lock(&all_lock);
	for (const struct hp_definition *d = all; d && !uses; d = d->after)
		uses = d->body == entry;
	pthread_mutex_unlock(&all_lock);
	return uses;
}

int hp_definition_new(hotpatch_any body, const struct hp_named *named, struct hp_definition **ret_definition,
                      struct hp_err *err)
{
	const char *name = named->name;
	uintptr_t entry;
	struct hp_definition *definition = calloc(1, sizeof(*definition));
	int error = definition ? 0 : hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a definition of '%s'", name);
	if (!error)
		error = hp_function_entry(body, name, &entry, err);
	if (!error)
		error = hp_function_parts(entry, name, named->marks, &definition->parts, err);
	if (!error) /* the function's own code, even if its entry is, or will be, redirected */
		error = hp_site_own_code(entry, named, &definition->target, err);
	if (!error && !(definition->name = strdup(name)))
		error = hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the name of '%s'", name);
	if (error) {
		hp_definition_free(definition);
		return error;
	}
	hp_mapped_pin(entry);
	definition->body = entry;
	definition->refs = 1;
	enlist(definition);
	*ret_definition = definition;
	return 0;
}

int hp_definition_new_known(uintptr_t body, const char *name, const struct hp_parts *parts,
                            struct hp_definition **ret_definition, struct hp_err *err)
{
	struct hp_definition *definition = calloc(1, sizeof(*definition));
	if (!definition || !(definition->name = strdup(name))) {
		hp_definition_free(definition);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a definition of '%s'", name);
	}
	definition->target = definition->body = body;
	definition->parts = *parts;
	definition->refs = 1;
	enlist(definition);
	*ret_definition = definition;
	return 0;
}

int hp_definition_new_closure(hotpatch_any body, const struct hp_named *named, void *context, void (*destroy)(void *),
                              struct hp_definition **ret_definition, struct hp_err *err)
{
	struct hp_definition *definition;
	int error = hp_definition_new(body, named, &definition, err);
	if (error)
		return error;
	error = hp_landing_new((uintptr_t)context, definition->target, hp_arch_tls_offset(&current_context),
	                       &definition->landing, err);
	if (error) {
		hp_definition_free(definition);
		return error;
	}
	definition->context = context;
	definition->destroy = destroy;
	definition->target = definition->landing;
	*ret_definition = definition;
	return 0;
}

int hp_definition_add_code(const struct hp_definition *definition, struct hp_codes *codes, uint32_t owner,
                           struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < definition->parts.n && !error; i++)
		error = hp_codes_add_function(codes, definition->parts.v[i].low, definition->parts.v[i].high,
		                              definition->is_original && i == 0, owner, err);
	if (!error && definition->landing)
		error = hp_codes_add_function(codes, definition->landing, definition->landing + HP_CLOSURE_CODE, false,
		                              owner, err);
	return error;
}

bool hp_definition_same_code(const struct hp_definition *old, const struct hp_definition *next)
{
	return old->body == next->body && !old->landing && !next->landing;
}

void hp_definition_free(struct hp_definition *definition)
{
	if (!definition)
		return;
	delist(definition);
	hp_landing_free(definition->landing);
	free(definition->name);
	free(definition);
}

/* -- What lies beneath ------------------------------------------------------------------------------------------- */

/* The definition beneath the one whose code holds `caller`; the original if none does. */
static uintptr_t beneath(const struct hp_site *site, uintptr_t caller)
{
	uint32_t version;
	uintptr_t target;
	do { /* even and unchanged: what was read in between belongs together */
		version = atomic_load(&site->version);
		target = site->original.target;
		for (size_t i = __atomic_load_n(&site->n_layers, __ATOMIC_RELAXED); i-- > 0;) {
			const struct hp_layer *layer = &__atomic_load_n(&site->layers, __ATOMIC_RELAXED)[i];
			if (caller > layer->low && caller <= layer->high) {
				target = i ? layer[-1].target : site->original.target;
				break;
			}
		}
		atomic_thread_fence(memory_order_acquire);
	} while (version & 1 || version != atomic_load(&site->version));
	return target;
}

__attribute__((noinline)) hotpatch_any hotpatch_original_at(hotpatch_any fn)
{
	uintptr_t caller = (uintptr_t)__builtin_return_address(0), entry;
	struct hp_site *site = hp_site_at((uintptr_t)fn);
	struct hp_err err;
	if (!site && hp_function_entry(fn, "", &entry, &err) == 0) /* perhaps a linkage table's stub */
		site = hp_site_at(entry);
	return site ? (hotpatch_any)beneath(site, caller) : fn;
}
