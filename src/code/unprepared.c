#include "code/unprepared.h"

#include <elf.h>
#include <string.h>

#include "base/mapped.h"
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
static struct hp_flow make_flow(uintptr_t entry, const char *name, hp_undo undo, struct ranges *ranges)
{
	sort_segments(hp_mapped_find(entry), ranges);
	undo_writes = undo;
	return (struct hp_flow){
		.name = name,
		.entry = entry,
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

int hp_unprepared_exits(uintptr_t entry, const char *name, struct hp_range own, hp_undo undo,
                        struct hp_range *ret_parts, size_t max, size_t *ret_count, struct hp_err *err)
{
	const struct hp_inspector *inspector;
	struct ranges ranges;
	const struct hp_mapped *image = hp_mapped_find(entry);
	struct hp_module module = hp_module_of(image);
	int error = hp_inspector_load(&inspector, err);
	if (error)
		return error;
	if (!inspector->exits)
		return hp_err_set(err, HOTPATCH_ENOSYM, "a static executable is not decoded");
	struct hp_flow flow = make_flow(entry, name, undo, &ranges);
	flow.parts = &own;
	flow.n_parts = 1;
	return inspector->exits(&module, image->bias, &flow, ret_parts, max, ret_count, err);
}

int hp_unprepared_plan(uintptr_t entry, const char *name, const struct hp_range *parts, size_t n_parts, hp_undo undo,
                       struct hp_entry *ret_plan, struct hp_displaced *ret_displaced, struct hp_err *err)
{
	const struct hp_inspector *inspector;
	struct ranges ranges;
	struct hp_entry plan;
	uint8_t at[HP_ENTRY_AFTER] = {0};
	hp_memory_read_some(entry, at, sizeof(at));
	if (!hp_arch_entry_over(at, &plan))
		return hp_err_set(err, HOTPATCH_ENOTPREPARED,
		                  "'%s' is not prepared for patching, which functions of this processor must be", name);
	int error = hp_inspector_load(&inspector, err);
	if (error)
		return error;
	if (!inspector->displace)
		return hp_err_set(err, HOTPATCH_ENOTPREPARED,
		                  "'%s' is not prepared for patching, which functions of a static executable must be",
		                  name);
	struct hp_flow flow = make_flow(entry, name, undo, &ranges);
	flow.jump = entry + plan.jump_at;
	flow.jump_size = plan.jump_len;
	flow.parts = parts;
	flow.n_parts = n_parts;
	error = inspector->displace(&flow, ret_displaced, err);
	if (error)
		return error;
	/* A call is made by pushing a return address, of which a shadow stack would not know. */
	if (ret_displaced->v[ret_displaced->n - 1].kind >= HP_STEP_CALL && hp_arch_shadow_stack())
		return hp_err_set(
			err, HOTPATCH_ENOTPREPARED,
			"'%s' is not prepared for patching, and cannot be patched as it is: it calls another function within "
			"the bytes the jump needs, and this process has shadow stacks",
			name);
	*ret_plan = plan;
	return 0;
}
