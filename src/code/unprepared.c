#include "code/unprepared.h"

#include <elf.h>
#include <string.h>

#include "base/mapped.h"
#include "code/pun.h"
#include "code/text.h"

/* Whose writes are undone in what the proof reads; the plan is made by one caller at a time. */
static hp_undo undo_writes;

static bool function_at(uintptr_t address, struct hp_range *ret_function)
{
	struct hp_fde fde;
	if (!hp_mapped_function(address, &fde))
		return false;
	*ret_function = (struct hp_range){fde.begin, fde.end};
	return true;
}

static void read_original(uintptr_t at, uint8_t *bytes, size_t n)
{
	if (!hp_text_read(at, bytes, n))
		memset(bytes, hp_arch_breakpoint, n);
	undo_writes(at, bytes, n);
}

/* The image's segments, code apart from the rest. */
struct ranges {
	struct hp_range text[HP_SEGMENTS_MAX], data[HP_SEGMENTS_MAX];
	size_t n_text, n_data;
};

static void sort_segments(const struct hp_mapped *image, struct ranges *ranges)
{
	ranges->n_text = ranges->n_data = 0;
	for (size_t i = 0; i < image->n_segments; i++) {
		const struct hp_segment *segment = &image->segments[i];
		struct hp_range range = {segment->low, segment->high};
		if ((segment->flags & (PF_R | PF_X)) == (PF_R | PF_X))
			ranges->text[ranges->n_text++] = range;
		else if (segment->flags & PF_R)
			ranges->data[ranges->n_data++] = range;
	}
}

/* What the plugin is told; the ranges are to live as long. */
static struct hp_flow make_flow(const struct hp_function *function, struct ranges *ranges)
{
	sort_segments(hp_mapped_find(function->entry), ranges);
	undo_writes = function->undo;
	return (struct hp_flow){
		.name = function->name,
		.entry = function->entry,
		.parts = function->parts,
		.n_parts = function->n_parts,
		.text = ranges->text,
		.n_text = ranges->n_text,
		.data = ranges->data,
		.n_data = ranges->n_data,
		.generation = hp_mapped_generation(),
		.function_at = function_at,
		.read = read_original,
		.memory = hp_memory_read,
	};
}

int hp_unprepared_exits(const struct hp_function *function, struct hp_range *ret_parts, size_t max, size_t *ret_count,
                        struct hp_err *err)
{
	const struct hp_inspector *inspector;
	struct ranges ranges;
	const struct hp_mapped *image = hp_mapped_find(function->entry);
	struct hp_module module = hp_module_of(image);
	int error = hp_inspector_load(&inspector, err);
	if (error)
		return error;
	if (!inspector->exits)
		return hp_err_set(err, HOTPATCH_ENOSYM, "a static executable is not decoded");
	struct hp_flow flow = make_flow(function, &ranges);
	return inspector->exits(&module, image->bias, &flow, ret_parts, max, ret_count, err);
}

static int load_prover(const char *name, const struct hp_inspector **ret_inspector, struct hp_err *err)
{
	int error = hp_inspector_load(ret_inspector, err);
	if (!error && !(*ret_inspector)->displace)
		return hp_err_set(err, HOTPATCH_ENOTPREPARED,
		                  "'%s' is not prepared for patching, which functions of a static executable must be",
		                  name);
	return error;
}

/* A call is made by pushing a return address, of which a shadow stack would not know. */
static int check_shadow_stack(const char *name, const struct hp_displaced *displaced, struct hp_err *err)
{
	if (displaced->v[displaced->n - 1].kind < HP_STEP_CALL || !hp_arch_shadow_stack())
		return 0;
	return hp_err_set(
		err, HOTPATCH_ENOTPREPARED,
		"'%s' is not prepared for patching, and cannot be patched as it is: it begins with a call, and "
		"this process has shadow stacks",
		name);
}

/* The bytes that say where a pun leads must stay what they are: the function's own, or, behind a short one, filling.
 * Where another function begins, its entry may be written to, and so may what lies just before it (a prefix). */
static bool has_lasting_bytes(const struct hp_function *function, const struct hp_entry *plan, const uint8_t *at)
{
	uintptr_t end = function->entry + plan->jump_at + plan->jump_len, own_end = function->parts[0].high;
	struct hp_range other;
	if (own_end >= end)
		return true;
	for (uintptr_t behind = own_end; behind < end + HP_PREFIX_MAX; behind++)
		if (function_at(behind, &other))
			return false;
	return hp_arch_is_filling(at + (own_end - function->entry), end - own_end);
}

/* at: the code from the entry on. */
static uintptr_t take_pun(const struct hp_function *function, const struct hp_entry *plan, const uint8_t *at)
{
	uintptr_t pun = hp_arch_entry_pun(plan, function->entry);
	return pun && has_lasting_bytes(function, plan, at) && hp_pun_take(pun) ? pun : 0;
}

int hp_unprepared_plan(const struct hp_function *function, struct hp_entry *ret_plan, uintptr_t *ret_pun,
                       struct hp_displaced *ret_displaced, struct hp_err *err)
{
	const struct hp_inspector *inspector;
	struct ranges ranges;
	struct hp_entry plan;
	uint8_t at[HP_ENTRY_AFTER] = {0};
	size_t got = hp_text_read(function->entry, at, sizeof(at))
	                     ? sizeof(at)
	                     : hp_memory_read_some(function->entry, at, sizeof(at)); /* at the end of a segment */
	if (!hp_arch_entry_over(at, &plan))
		return hp_err_set(err, HOTPATCH_ENOTPREPARED,
		                  "'%s' is not prepared for patching, which functions of this processor must be",
		                  function->name);
	if (got < plan.jump_at + (size_t)plan.jump_len) /* else what was not read would count as what was there */
		return hp_err_set(err, HOTPATCH_ECODE, "the code of '%s' cannot be read", function->name);
	int error = load_prover(function->name, &inspector, err);
	if (error)
		return error;
	struct hp_flow flow = make_flow(function, &ranges);
	flow.jump = function->entry + plan.jump_at;
	flow.jump_size = 1;
	error = inspector->displace(&flow, ret_displaced, err);
	*ret_pun = error ? 0 : take_pun(function, &plan, at);
	plan.breakpoint = *ret_pun == 0;
	if (!error && plan.breakpoint) {
		flow.jump_size = plan.jump_len;
		error = inspector->displace(&flow, ret_displaced, err);
	}
	if (!error)
		error = check_shadow_stack(function->name, ret_displaced, err);
	if (!error)
		*ret_plan = plan;
	return error;
}
