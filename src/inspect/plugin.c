/* plugin - libhotpatch-inspect.so: the table the runtime calls (base/inspector.h), over symbols and types.
 *
 *     runtime --- hp_inspector ---> plugin ---> cache ---> elf/symbols      names, marks, parts: no DWARF is read
 *                                                    '---> types/compare    same_type only
 *
 * The runtime calls from one thread at a time, so the cache has no lock.
 */
#include "inspect/plugin.h"

#include <stdio.h>
#include <string.h>

#include "inspect/cache.h"
#include "inspect/flow.h"
#include "types/compare.h"

/* `busy` counts calls of functions() under way: their callbacks may call in here again, and what they were given must
 * stay. */
static struct {
	struct hp_cache cache;
	unsigned busy;
	bool forget_later;
} plugin;

static int find_module(const struct hp_module *module, struct hp_cached **ret_cached, struct hp_err *err)
{
	if (!plugin.busy)
		hp_cache_sweep(&plugin.cache);
	return hp_cache_get(&plugin.cache, module, ret_cached, err);
}

/* A name that does not fit is cut: nothing is looked up by what was cut and found. */
static void copy_text(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from);
}

static void fill_symbol(const struct hp_function *function, struct hp_symbol *ret)
{
	*ret = (struct hp_symbol){
		.value = function->value,
		.size = function->size,
		.is_static = function->is_static,
		.mark = function->mark,
	};
	copy_text(ret->name, sizeof(ret->name), function->name);
	copy_text(ret->path, sizeof(ret->path), function->path);
	copy_text(ret->unit, sizeof(ret->unit), function->unit);
}

static int no_function(const struct hp_module *module, uint64_t value, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOSYM, "no function of '%s' is known at address 0x%llx", module->name,
	                  (unsigned long long)value);
}

static int function_at(const struct hp_module *module, uint64_t value, struct hp_symbol *ret_symbol, struct hp_err *err)
{
	struct hp_cached *cached;
	int r = find_module(module, &cached, err);

	if (r < 0)
		return r;
	const struct hp_function *function = hp_symbols_at(cached->symbols, value);
	if (!function)
		return no_function(module, value, err);
	fill_symbol(function, ret_symbol);
	return 0;
}

static bool matches(const struct hp_function *function, const struct hp_query *query)
{
	if (function->is_piece || (query->marked && function->mark != HP_MARK_PATCH))
		return false;
	return !query->path || strcmp(query->path, function->path) == 0;
}

/* A walk over functions in order of address; of each address the first that matches. */
struct walk {
	const struct hp_query *query;
	int (*each)(const struct hp_symbol *symbol, void *arg);
	void *arg;
	const struct hp_function *last;
};

static int visit(struct walk *walk, const struct hp_function *function)
{
	struct hp_symbol symbol;

	if (!matches(function, walk->query) || (walk->last && walk->last->value == function->value))
		return 0;
	walk->last = function;
	fill_symbol(function, &symbol);
	return walk->each(&symbol, walk->arg);
}

static int visit_named(struct walk *walk, struct hp_symbols *symbols, struct hp_err *err)
{
	const struct hp_function *const *named;
	size_t count = 0;

	int r = hp_symbols_named(symbols, walk->query->name, &named, &count, err);
	for (size_t i = 0; i < count && r == 0; i++)
		r = visit(walk, named[i]);
	return r;
}

static int visit_all(struct walk *walk, const struct hp_symbols *symbols)
{
	int r = 0;

	for (size_t i = 0; i < symbols->n_functions && r == 0; i++)
		r = visit(walk, &symbols->functions[i]);
	return r;
}

static void forget(void);

static int functions(const struct hp_module *module, const struct hp_query *query,
                     int (*each)(const struct hp_symbol *symbol, void *arg), void *arg, struct hp_err *err)
{
	struct walk walk = {query, each, arg, NULL};
	struct hp_cached *cached;
	int r = find_module(module, &cached, err);

	if (r < 0)
		return r;
	plugin.busy++;
	r = query->name ? visit_named(&walk, cached->symbols, err) : visit_all(&walk, cached->symbols);
	plugin.busy--;
	if (plugin.forget_later)
		forget();
	return r;
}

static int parts(const struct hp_module *module, uint64_t value, struct hp_extent *ret_parts, size_t max,
                 size_t *ret_count, struct hp_err *err)
{
	struct hp_cached *cached;
	size_t count;
	int r = find_module(module, &cached, err);

	if (r < 0)
		return r;
	if (!cached->symbols->has_locals)
		return hp_err_set(err, HOTPATCH_ENOSYM,
		                  "'%s' has no symbol table, so the parts of its functions are unknown: do not strip "
		                  "it, or install its debug symbols",
		                  module->name);
	if (!hp_symbols_entry(cached->symbols, value, &count))
		return no_function(module, value, err);
	if ((r = hp_symbols_pieces(cached->symbols, value, ret_parts, max, &count, err)) < 0)
		return r;
	if (count > max)
		return hp_err_set(err, HOTPATCH_ENOTSUP,
		                  "a function of '%s' at 0x%llx is split into %zu parts, more "
		                  "than the %zu there is room for",
		                  module->name, (unsigned long long)value, count, max);
	*ret_count = count;
	return 0;
}

/* Adds what lies at a place the function jumps to, unless a dynamic symbol says that it is a function. */
static int add_exit(const struct hp_symbols *symbols, uint64_t bias, const struct hp_flow *flow, uintptr_t target,
                    struct hp_range *parts, size_t max, size_t *count, struct hp_err *err)
{
	struct hp_range function;
	size_t aliases;

	if (hp_symbols_entry(symbols, target - bias, &aliases))
		return 0;
	if (!flow->function_at(target, &function))
		return hp_err_set(err, HOTPATCH_ENOSYM, "it jumps to %#lx, which is in no function",
		                  (unsigned long)(target - bias));
	for (size_t i = 0; i < *count; i++)
		if (parts[i].low == function.low)
			return 0;
	if (*count == max)
		return hp_err_set(err, HOTPATCH_ENOSYM, "it jumps to more than %zu functions", max);
	parts[(*count)++] = function;
	return 0;
}

static int exits(const struct hp_module *module, uint64_t bias, const struct hp_flow *flow, struct hp_range *ret_parts,
                 size_t max, size_t *ret_count, struct hp_err *err)
{
	uintptr_t targets[64];
	struct hp_cached *cached;
	size_t n = 0, count = 0;
	int r = find_module(module, &cached, err);

	if (r == 0)
		r = hp_flow_exits(flow, targets, sizeof(targets) / sizeof(*targets), &n, err);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_exit(cached->symbols, bias, flow, targets[i], ret_parts, max, &count, err);
	if (r == 0)
		*ret_count = count;
	return r;
}

/* Where the symbol table does not know the entry, DWARF may; then there is no name to prefer. */
static int find_typed(const struct hp_module *module, struct hp_cached *cached, uint64_t value, struct hp_typed *ret,
                      struct hp_err *err)
{
	size_t count;
	const struct hp_function *function = hp_symbols_entry(cached->symbols, value, &count);

	ret->value = value;
	ret->name = function ? function->name : "a function without a name";
	ret->is_static = function && function->is_static;
	return hp_cached_debuginfo(cached, module, &ret->info, err);
}

static int same_type(const struct hp_module *old_module, uint64_t old_value, const struct hp_module *new_module,
                     uint64_t new_value, struct hp_err *err)
{
	struct hp_cached *old_cached, *new_cached;
	struct hp_typed old_function, new_function;

	int r = find_module(old_module, &old_cached, err);
	/* Not find_module, which may drop what was just found. */
	if (r < 0 || (r = hp_cache_get(&plugin.cache, new_module, &new_cached, err)) < 0)
		return r;
	if ((r = find_typed(old_module, old_cached, old_value, &old_function, err)) < 0)
		return r;
	if ((r = find_typed(new_module, new_cached, new_value, &new_function, err)) < 0)
		return r;
	return hp_compare_functions(&old_function, &new_function, err);
}

static int check_library(const struct hp_module *module, struct hp_err *err)
{
	struct hp_image *image;
	int r = hp_image_open(module->path, module->name, &image, err);

	if (r < 0)
		return r;
	r = hp_image_expect(image, module, err);
	if (r == 0)
		r = hp_image_check_library(image, err);
	hp_image_close(image);
	return r;
}

static void forget(void)
{
	plugin.forget_later = plugin.busy != 0;
	hp_flow_forget();
	if (!plugin.busy)
		hp_cache_clear(&plugin.cache);
}

const struct hp_inspector hp_inspector = {
	.version = HP_INSPECTOR_VERSION,
	.size = sizeof(struct hp_inspector),
	.function_at = function_at,
	.functions = functions,
	.parts = parts,
	.exits = exits,
	.same_type = same_type,
	.displace = hp_flow_displace,
	.check_library = check_library,
	.forget = forget,
};
