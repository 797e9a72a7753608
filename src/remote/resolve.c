#include "remote/resolve.h"

#include <stdlib.h>
#include <string.h>

struct resolver {
	struct hp_view *view;
	const struct hp_patchfile *file;
	const struct hp_match *match;
	struct hp_resolved *symbols;
	struct hp_remote_symbol *asked; /* of the agent, by binding; name NULL: not asked */
	struct hp_err *err;
};

static const struct hp_remote_image *image_of(const struct resolver *r, size_t image)
{
	return &r->view->images.v[image];
}

static struct hp_resolved *resolved_of(const struct resolver *r, size_t binding)
{
	return &r->symbols[r->file->bindings[binding].symbol];
}

/* -- From a name that an image defines --------------------------------------------------------------------------- */

static bool may_mean(const struct hp_patch_binding *binding, const struct hp_name *name)
{
	if (!name->is_defined)
		return false;
	if (binding->kind == HP_PATCH_THREAD_LOCAL)
		return name->type == STT_TLS;
	if (binding->kind == HP_PATCH_FUNCTION || binding->kind == HP_PATCH_IFUNC)
		return name->type == STT_FUNC || name->type == STT_GNU_IFUNC || name->type == STT_NOTYPE;
	if (binding->kind == HP_PATCH_VARIABLE)
		return name->type == STT_OBJECT || name->type == STT_NOTYPE || name->type == STT_COMMON;
	return true;
}

static int refuse_size(const struct resolver *r, const struct hp_patch_binding *binding, uint64_t size)
{
	return hp_err_set(r->err, HOTPATCH_EREFUSED,
	                  "'%s' has %llu bytes in process %d, and %llu in '%s': the size of a live variable cannot be "
	                  "changed",
	                  binding->name, (unsigned long long)size, (int)r->view->pid, (unsigned long long)binding->size,
	                  r->file->path);
}

static int take_name(struct resolver *r, size_t i, size_t image, const struct hp_name *name)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];
	const struct hp_remote_image *in = image_of(r, image);
	struct hp_resolved *to = resolved_of(r, i);

	if (name->type != STT_FUNC && name->type != STT_GNU_IFUNC && binding->size && name->size &&
	    binding->size != name->size)
		return refuse_size(r, binding, name->size);
	to->size = name->size;
	if (name->type == STT_TLS) {
		if (!in->tls_module)
			return hp_err_set(r->err, HOTPATCH_ENOSYM,
			                  "'%s' is thread-local, but '%s' of process %d has no such "
			                  "variables",
			                  binding->name, in->name, (int)r->view->pid);
		to->is_thread_local = true;
		to->tls_module = in->tls_module;
		to->tls_value = name->value;
		to->is_static_tls = in->tls_offset != 0;
		to->tls_block = in->tls_offset;
		return 0;
	}
	to->address = in->bias + name->value;
	to->is_function = name->type == STT_FUNC || name->type == STT_GNU_IFUNC;
	if (name->type == STT_GNU_IFUNC)
		return hp_remote_ifunc(r->view->remote, to->address, &to->address, r->err);
	return 0;
}

static int refuse_names(const struct resolver *r, const struct hp_patch_binding *binding, size_t image,
                        const struct hp_name *a, const struct hp_name *b)
{
	uint64_t bias = image_of(r, image)->bias;

	return hp_err_set(r->err, HOTPATCH_EAMBIGUOUS,
	                  "'%s' is ambiguous in '%s' of process %d: %#llx%s%s and %#llx%s%s", binding->name,
	                  image_of(r, image)->name, (int)r->view->pid, (unsigned long long)(bias + a->value),
	                  a->unit[0] ? " of " : "", a->unit, (unsigned long long)(bias + b->value),
	                  b->unit[0] ? " of " : "", b->unit);
}

/* The one name that `accept` takes; *ret_name is NULL where there is none. */
static int only_name(const struct resolver *r, const struct hp_patch_binding *binding, size_t image,
                     bool (*accept)(const struct hp_name *name, uint32_t group), uint32_t group,
                     const struct hp_name **ret_name)
{
	const struct hp_names *names;
	size_t n;
	int code = hp_view_names(r->view, image, &names, r->err);

	*ret_name = NULL;
	if (code < 0)
		return code;
	const struct hp_name *name = hp_names_find(names, binding->name, &n);
	for (size_t i = 0; i < n; i++) {
		if (!may_mean(binding, &name[i]) || !accept(&name[i], group))
			continue;
		if (*ret_name && (*ret_name)->value != name[i].value)
			return refuse_names(r, binding, image, *ret_name, &name[i]);
		*ret_name = &name[i];
	}
	return 0;
}

static bool is_of_group(const struct hp_name *name, uint32_t group)
{
	return name->is_local && name->group == group;
}

static bool is_global(const struct hp_name *name, uint32_t group)
{
	(void)group;
	return !name->is_local;
}

/* Hidden ones become local; ld puts them behind an STT_FILE without a name. */
static bool is_hidden(const struct hp_name *name, uint32_t group)
{
	(void)group;
	return name->is_local && !name->unit[0];
}

static bool is_any(const struct hp_name *name, uint32_t group)
{
	(void)name;
	(void)group;
	return true;
}

/* -- From an earlier patch --------------------------------------------------------------------------------------- */

static bool is_same_scope(const struct hp_patchfile *file, uint32_t unit, const char *scope,
                          const struct hp_note_define *define)
{
	const struct hp_patch_unit *u = &file->units[unit];
	return (define->flags & HP_DEFINE_STATIC) && strcmp(define->unit, u->file) == 0 &&
	       strcmp(define->source, u->source) == 0 && strcmp(define->scope, scope) == 0;
}

/* The latest definition of it, so that a patch that was reverted and applied again is not meant; of those that hold
 * this, or of all (NULL). */
static const struct hp_note_define *find_define(const struct resolver *r, uint32_t unit, const char *scope,
                                                const char *name, const uint64_t *contents)
{
	for (size_t i = r->view->patches.n; i-- > 0;) {
		const struct hp_notes *notes = r->view->notes[i];
		for (size_t k = 0; notes && k < notes->n_defines; k++) {
			const struct hp_note_define *define = &notes->defines[k];
			if (contents && define->contents != *contents)
				continue;
			if (unit == HP_NO_UNIT ? !(define->flags & HP_DEFINE_STATIC) && strcmp(define->name, name) == 0
			                       : is_same_scope(r->file, unit, scope, define))
				return define;
		}
	}
	return NULL;
}

static bool take_define(struct resolver *r, size_t i, const struct hp_note_define *define)
{
	struct hp_resolved *to = resolved_of(r, i);

	if (!define)
		return false;
	to->address = define->address;
	to->size = define->size;
	to->is_function = define->kind == HP_PATCH_FUNCTION;
	return true;
}

static bool take_earlier(struct resolver *r, size_t i)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];

	return take_define(r, i, find_define(r, binding->unit, binding->scope, binding->name, NULL));
}

/* The patch was made from sources in which the constant holds this: where an earlier patch changed it to just that, its
 * is meant, and not the program's. */
static bool take_constant(struct resolver *r, size_t i)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];

	return binding->contents &&
	       take_define(r, i, find_define(r, binding->unit, binding->scope, binding->name, &binding->contents));
}

/* A variable that is new in this patch, and in an earlier one of the same unit that is in force: there is one, the live
 * one. So it is of a constant that holds the same in both; one that changed again is another. */
static int share_variable(struct resolver *r, const struct hp_patch_define *define)
{
	if (define->kind != HP_PATCH_VARIABLE || define->flags & HP_DEFINE_OWN)
		return 0;
	uint32_t unit = define->flags & HP_DEFINE_STATIC ? define->unit : HP_NO_UNIT;
	const struct hp_note_define *earlier = find_define(r, unit, define->scope, define->name, &define->contents);
	if (!earlier || earlier->kind != HP_PATCH_VARIABLE)
		return 0;
	if (earlier->size != define->size)
		return hp_err_set(
			r->err, HOTPATCH_EREFUSED,
			"'%s' has %llu bytes in an earlier patch of process %d, and %llu in '%s': the size of a live "
			"variable cannot be changed",
			define->name, (unsigned long long)earlier->size, (int)r->view->pid,
			(unsigned long long)define->size, r->file->path);
	r->symbols[define->symbol] =
		(struct hp_resolved){.address = earlier->address, .size = earlier->size, .is_elsewhere = true};
	return 0;
}

/* -- One binding -------------------------------------------------------------------------------------------------- */

static int refuse_missing(const struct resolver *r, const struct hp_patch_binding *binding)
{
	const char *unit = binding->unit == HP_NO_UNIT ? NULL : r->file->units[binding->unit].file;

	return hp_err_set(r->err, HOTPATCH_ENOSYM, "'%s' refers to '%s'%s%s%s, which process %d does not have%s",
	                  r->file->path, binding->name, unit ? " of '" : "", unit ? unit : "", unit ? "'" : "",
	                  (int)r->view->pid,
	                  unit ? ": the linker may have dropped it, or the program is stripped" : "");
}

static int resolve_in_unit(struct resolver *r, size_t i)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];
	const struct hp_matched_unit *unit = &r->match->units[binding->unit];
	const struct hp_name *name = NULL;
	int code = 0;

	if (unit->is_found)
		code = only_name(r, binding, unit->image, is_of_group, unit->group, &name);
	if (code < 0)
		return code;
	if (name)
		return take_name(r, i, unit->image, name);
	if (take_earlier(r, i) || (binding->flags & HP_BINDING_WEAK))
		return 0;
	return refuse_missing(r, binding);
}

/* Definitions of the program come first in the order the dynamic linker searches, and those of an image linked with
 * -Bsymbolic in its own; a hidden one is nobody else's. */
static int own_definition(struct resolver *r, const struct hp_patch_binding *binding, size_t image,
                          const struct hp_name **ret_name)
{
	const struct hp_name *global;
	int code = only_name(r, binding, image, is_global, 0, &global);

	if (code < 0)
		return code;
	if (!global)
		return only_name(r, binding, image, is_hidden, 0, ret_name);
	*ret_name = image_of(r, image)->is_program || r->view->names[image]->binds_itself ? global : NULL;
	return 0;
}

static const char *version_of(const struct resolver *r, size_t image, const char *name)
{
	size_t n;
	const struct hp_name *names = hp_names_find(r->view->names[image], name, &n);

	for (size_t i = 0; i < n; i++)
		if (!names[i].is_defined && names[i].version[0])
			return names[i].version;
	return "";
}

/* As a reference in the images that change. */
static int resolve_global(struct resolver *r, size_t i)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];

	for (size_t k = 0; k < r->file->n_changes; k++) {
		size_t image = r->match->changes[k].image;
		const struct hp_name *name;
		int code = own_definition(r, binding, image, &name);
		if (code < 0)
			return code;
		if (name)
			return take_name(r, i, image, name);
		if (!r->asked[i].name)
			r->asked[i] = (struct hp_remote_symbol){.image = image_of(r, image)->low,
			                                        .name = binding->name,
			                                        .version = version_of(r, image, binding->name)};
	}
	return 0;
}

/* The dynamic linker answers with the asking thread's copy of a thread-local; its place is in the file of who defines
 * it. Another image's, or one that lld left in a unit's group. */
static int resolve_in_any(struct resolver *r, size_t i, bool *ret_found)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];

	for (size_t image = 0; image < r->view->images.n; image++) {
		const struct hp_remote_image *in = image_of(r, image);
		const struct hp_name *name;
		bool is_target = r->match->is_target[image];
		if (in->is_vdso || in->is_linked || (!is_target && binding->kind != HP_PATCH_THREAD_LOCAL))
			continue;
		int code = only_name(r, binding, image, is_target ? is_any : is_global, 0, &name);
		if (code < 0)
			return code;
		*ret_found = name;
		if (name)
			return take_name(r, i, image, name);
	}
	return 0;
}

static int take_answer(struct resolver *r, size_t i)
{
	const struct hp_patch_binding *binding = &r->file->bindings[i];
	struct hp_resolved *to = resolved_of(r, i);
	bool is_thread_local = binding->kind == HP_PATCH_THREAD_LOCAL, found = false;

	if (r->asked[i].address && !is_thread_local) {
		to->address = r->asked[i].address;
		to->size = binding->size;
		to->is_function = binding->kind == HP_PATCH_FUNCTION || binding->kind == HP_PATCH_IFUNC ||
		                  (binding->kind == HP_PATCH_UNKNOWN && hp_view_is_code(r->view, to->address));
		return 0;
	}
	if (take_earlier(r, i))
		return 0;
	int code = resolve_in_any(r, i, &found);
	if (code < 0 || found || (binding->flags & HP_BINDING_WEAK))
		return code;
	return refuse_missing(r, binding);
}

/* The name of the table of offsets (psABI section 4.4.1) is not anything's. */
static bool is_table(const struct hp_patch_binding *binding)
{
	return strcmp(binding->name, "_GLOBAL_OFFSET_TABLE_") == 0;
}

/* -- All of them -------------------------------------------------------------------------------------------------- */

/* One request for all, whatever their number. */
static int ask(struct resolver *r)
{
	size_t n = 0;
	struct hp_remote_symbol *list = calloc(r->file->n_bindings + 1, sizeof(*list));

	if (!list)
		return hp_err_set(r->err, HOTPATCH_ENOMEM, "no memory to resolve '%s'", r->file->path);
	for (size_t i = 0; i < r->file->n_bindings; i++)
		if (r->asked[i].name)
			list[n++] = r->asked[i];
	int code = n ? hp_remote_symbols(r->view->remote, list, n, r->err) : 0;
	for (size_t i = 0, k = 0; code == 0 && i < r->file->n_bindings; i++)
		if (r->asked[i].name)
			r->asked[i].address = list[k++].address;
	free(list);
	return code;
}

static int resolve_one(struct resolver *r, size_t i)
{
	if (take_constant(r, i))
		return 0;
	return r->file->bindings[i].unit == HP_NO_UNIT ? resolve_global(r, i) : resolve_in_unit(r, i);
}

static int resolve_all(struct resolver *r)
{
	int code = 0;

	for (size_t i = 0; i < r->file->n_bindings && code == 0; i++)
		if (!is_table(&r->file->bindings[i]))
			code = resolve_one(r, i);
	if (code == 0)
		code = ask(r);
	for (size_t i = 0; i < r->file->n_bindings && code == 0; i++)
		if (r->asked[i].name)
			code = take_answer(r, i);
	for (size_t i = 0; i < r->file->n_defines && code == 0; i++)
		code = share_variable(r, &r->file->defines[i]);
	return code;
}

int hp_resolve(struct hp_view *view, const struct hp_patchfile *file, const struct hp_match *match,
               struct hp_resolved **ret_symbols, struct hp_err *err)
{
	struct resolver r = {.view = view, .file = file, .match = match, .err = err};
	int code = HOTPATCH_ENOMEM;

	r.symbols = calloc(file->n_symbols + 1, sizeof(*r.symbols));
	r.asked = calloc(file->n_bindings + 1, sizeof(*r.asked));
	if (!r.symbols || !r.asked)
		hp_err_set(err, code, "no memory to resolve '%s'", file->path);
	else
		code = resolve_all(&r);
	free(r.asked);
	if (code == 0)
		*ret_symbols = r.symbols;
	else
		free(r.symbols);
	return code;
}
