#include "inspect/flow.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/targets.h"

/* How far from the window an instruction with an 8-bit displacement may lie: 128 bytes, and its own length of 2 to 3.
 */
enum { SHORT_REACH = 132, TABLE_MAX = 65536 };

static int refuse(const struct hp_flow *flow, struct hp_err *err, const char *why)
{
	return hp_err_set(
		err, HOTPATCH_ENOTPREPARED,
		"'%s' is not prepared for patching, and cannot be patched as it is: %s; mark it HOTPATCHABLE, or "
		"compile its file with -fpatchable-function-entry",
		flow->name, why);
}

/* An address inside the bytes that the jump covers, but for the first. */
static bool in_window(const struct hp_flow *flow, uintptr_t address)
{
	return address > flow->jump && address < flow->jump + flow->jump_size;
}

/* A branch to the entry from inside would be led to the new definition. */
static bool is_entry(const struct hp_flow *flow, uintptr_t address)
{
	return address == flow->entry || address == flow->jump;
}

static const struct hp_range *range_of(const struct hp_range *ranges, size_t n, uintptr_t address)
{
	for (size_t i = 0; i < n; i++)
		if (address >= ranges[i].low && address < ranges[i].high)
			return &ranges[i];
	return NULL;
}

static bool in_ranges(const struct hp_range *ranges, size_t n, uintptr_t address)
{
	return range_of(ranges, n, address) != NULL;
}

/* -- One instruction ------------------------------------------------------------------------------------------------
 */

struct decoder {
	ZydisDecoder zydis;
	const uint8_t *bytes; /* of the code from `base` on */
	uintptr_t base;
	size_t size;
};

static void decoder_init(struct decoder *decoder, const uint8_t *bytes, uintptr_t base, size_t size)
{
	ZydisDecoderInit(&decoder->zydis, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	decoder->bytes = bytes;
	decoder->base = base;
	decoder->size = size;
}

static bool decode(const struct decoder *decoder, size_t at, ZydisDecodedInstruction *ret)
{
	return ZYAN_SUCCESS(
		ZydisDecoderDecodeInstruction(&decoder->zydis, NULL, decoder->bytes + at, decoder->size - at, ret));
}

static bool is_direct(const ZydisDecodedInstruction *in)
{
	return in->raw.imm[0].is_relative;
}

/* Where a direct branch or call at `address` leads. */
static uintptr_t branch_target(const ZydisDecodedInstruction *in, uintptr_t address)
{
	return address + in->length + (uintptr_t)in->raw.imm[0].value.s;
}

/* Whether an operand in memory is given relative to the instruction's end (Intel SDM volume 2, section 2.2.1.6). */
static bool is_relative(const ZydisDecodedInstruction *in)
{
	return in->attributes & ZYDIS_ATTRIB_HAS_MODRM && in->raw.modrm.mod == 0 && in->raw.modrm.rm == 5 &&
	       in->raw.disp.size == 32;
}

static uintptr_t operand_target(const ZydisDecodedInstruction *in, uintptr_t address)
{
	return address + in->length + (uintptr_t)in->raw.disp.value;
}

static bool is_indirect_jump(const ZydisDecodedInstruction *in)
{
	return in->meta.category == ZYDIS_CATEGORY_UNCOND_BR && !is_direct(in);
}

/* -- The instructions under the jump ------------------------------------------------------------------------------- */

/* Control does not come behind these, or not as it does elsewhere. With an address-size prefix an operand relative to
 * the instruction's end is cut to 32 bits (Intel SDM volume 2, section 2.2.1.6): elsewhere it is another one. */
static const char *why_not(const ZydisDecodedInstruction *in)
{
	if (is_relative(in) && in->address_width != 64)
		return "it begins with an operand of 32-bit address size, which cannot be moved";
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_INTERRUPT:
		return "it traps within the bytes the jump needs";
	case ZYDIS_CATEGORY_COND_BR:
		return in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && in->opcode >= 0xe0
		               ? "it begins with an instruction that cannot be executed elsewhere (loop, jrcxz)"
		               : NULL;
	default:
		break;
	}
	if (in->mnemonic == ZYDIS_MNEMONIC_XBEGIN || in->mnemonic == ZYDIS_MNEMONIC_UD2 ||
	    in->mnemonic == ZYDIS_MNEMONIC_HLT)
		return "it begins with an instruction that cannot be executed elsewhere (xbegin, ud2, hlt)";
	return NULL;
}

static enum hp_step_kind kind_of(const ZydisDecodedInstruction *in)
{
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
		return HP_STEP_BRANCH;
	case ZYDIS_CATEGORY_UNCOND_BR:
		return is_direct(in) ? HP_STEP_JUMP : is_relative(in) ? HP_STEP_RELATIVE : HP_STEP_PLAIN;
	case ZYDIS_CATEGORY_CALL:
		return is_direct(in) ? HP_STEP_CALL : HP_STEP_CALL_BY;
	default:
		return is_relative(in) ? HP_STEP_RELATIVE : HP_STEP_PLAIN;
	}
}

static struct hp_step make_step(const ZydisDecodedInstruction *in, uintptr_t jump, size_t at)
{
	struct hp_step step = {.at = (uint8_t)at, .length = in->length, .kind = (uint8_t)kind_of(in)};
	if (step.kind == HP_STEP_RELATIVE || step.kind == HP_STEP_CALL_BY) {
		step.operand = in->raw.disp.offset;
		step.target = operand_target(in, jump + at);
	} else if (step.kind != HP_STEP_PLAIN) {
		step.operand = in->opcode & 0xf;
		step.target = branch_target(in, jump + at);
	}
	return step;
}

/* A call is made by pushing the address behind it: that must not lie under the jump, and what is called must be in a
 * word that does not depend on registers the push would change. */
static const char *why_no_last_step(const ZydisDecodedInstruction *in, const struct hp_step *step)
{
	bool calls = step->kind == HP_STEP_CALL || step->kind == HP_STEP_CALL_BY;
	if (calls && !is_direct(in) && !is_relative(in))
		return "it calls through a register within the bytes the jump needs";
	return NULL;
}

static int read_steps(const struct hp_flow *flow, const struct decoder *code, struct hp_displaced *ret,
                      struct hp_err *err)
{
	size_t begin = flow->jump - code->base;
	*ret = (struct hp_displaced){0};
	while (ret->size < flow->jump_size) {
		ZydisDecodedInstruction in;
		if (begin + ret->size >= code->size)
			return refuse(flow, err, "it is shorter than a jump");
		if (!decode(code, begin + ret->size, &in))
			return refuse(flow, err, "its first instructions cannot be decoded");
		const char *why = why_not(&in);
		if (why)
			return refuse(flow, err, why);
		struct hp_step step = make_step(&in, flow->jump, ret->size);
		if ((why = why_no_last_step(&in, &step)))
			return refuse(flow, err, why);
		ret->v[ret->n++] = step;
		ret->size += in.length;
		bool returns = in.meta.category == ZYDIS_CATEGORY_RET;
		bool ends = step.kind >= HP_STEP_JUMP || is_indirect_jump(&in) || returns;
		if (ends && ret->size < flow->jump_size)
			return refuse(flow, err,
			              returns ? "it returns within the bytes the jump needs"
			                      : "a jump or call ends before the bytes that are needed");
	}
	return 0;
}

/* -- The function itself ------------------------------------------------------------------------------------------- */

/* Whether the table of a switch at `base` leads into the window: it holds 32-bit distances from itself, and ends at the
 * first that leads out of the function. What cannot be read may lead anywhere. */
static bool table_leads(const struct hp_flow *flow, uintptr_t base)
{
	const struct hp_range *range = range_of(flow->data, flow->n_data, base);
	if (!range)
		range = range_of(flow->text, flow->n_text, base);
	for (size_t i = 0; range && i < TABLE_MAX && base + 4 * i + 4 <= range->high; i++) {
		int32_t offset;
		if (!flow->memory(base + 4 * i, &offset, sizeof(offset)))
			return true;
		uintptr_t target = base + (uintptr_t)(intptr_t)offset;
		if (in_window(flow, target) || is_entry(flow, target))
			return true;
		if (!range_of(flow->parts, flow->n_parts, target))
			return false;
	}
	return false;
}

/* The entry's address beside one inside the function: a table, where alone it is a pointer to the function. */
static bool is_entry_in_table(const struct hp_flow *flow, const uintptr_t *words, size_t k, size_t n)
{
	const struct hp_range *own = &flow->parts[0];
	if (!is_entry(flow, words[k]))
		return false;
	return (k > 0 && words[k - 1] > flow->jump && words[k - 1] < own->high) ||
	       (k + 1 < n && words[k + 1] > flow->jump && words[k + 1] < own->high);
}

/* Whether a 64-bit address in the image, as in tables of code that is not position-independent, leads there. */
static bool words_lead_in(const struct hp_flow *flow, const struct hp_range *range)
{
	uintptr_t words[512], at = (range->low + 7) & ~(uintptr_t)7, high = range->high & ~(uintptr_t)7;
	for (; at < high; at += sizeof(words)) {
		size_t n = high - at < sizeof(words) ? high - at : sizeof(words);
		if (!flow->memory(at, words, n))
			return true;
		for (size_t k = 0; k < n / sizeof(*words); k++)
			if (in_window(flow, words[k]) || is_entry_in_table(flow, words, k, n / sizeof(*words)))
				return true;
	}
	return false;
}

/* Linkers that make no segment of its own for them (-z noseparate-code, lld --no-rosegment) put tables beside code. */
static bool words_lead(const struct hp_flow *flow)
{
	for (size_t i = 0; i < flow->n_data; i++)
		if (words_lead_in(flow, &flow->data[i]))
			return true;
	for (size_t i = 0; i < flow->n_text; i++)
		if (words_lead_in(flow, &flow->text[i]))
			return true;
	return false;
}

/* Where a function jumps to beyond itself. */
struct exits {
	uintptr_t *v; /* NULL where nobody asks */
	size_t n, max;
	bool hidden; /* more, or through a register */
};

/* What the decoding of a function found. */
struct findings {
	bool into_window, to_entry, undecoded, by_table;
	bool indirect, own_address; /* a jump through a register or word; an address in the function's own code */
	struct exits exits;
};

static void note_exit(const struct hp_flow *flow, const ZydisDecodedInstruction *in, uintptr_t target,
                      struct exits *exits)
{
	if (is_indirect_jump(in)) /* a jump through a word of the linkage table goes to a function */
		exits->hidden |= !is_relative(in);
	if (!is_direct(in) || in->meta.category == ZYDIS_CATEGORY_CALL ||
	    (target >= flow->parts[0].low && target < flow->parts[0].high))
		return;
	for (size_t i = 0; i < exits->n; i++)
		if (exits->v[i] == target)
			return;
	if (exits->n < exits->max)
		exits->v[exits->n++] = target;
	else
		exits->hidden = true;
}

/* Whether it makes an address in the function's own code: of a label, as for computed goto. A table of distances
 * between labels need not lie where the address is that they are added to, so it cannot be followed. */
static bool makes_own_address(const struct hp_flow *flow, const ZydisDecodedInstruction *in, uintptr_t address)
{
	if (in->mnemonic == ZYDIS_MNEMONIC_LEA && is_relative(in))
		return in_ranges(flow->parts, flow->n_parts, operand_target(in, address));
	for (int i = 0; i < 2; i++)
		if (!in->raw.imm[i].is_relative && in->raw.imm[i].size >= 32 &&
		    in_ranges(flow->parts, flow->n_parts, in->raw.imm[i].value.u))
			return true;
	return false;
}

static void note_instruction(const struct hp_flow *flow, const ZydisDecodedInstruction *in, uintptr_t address,
                             struct findings *found)
{
	if (is_direct(in)) {
		uintptr_t target = branch_target(in, address);
		bool calls = in->meta.category == ZYDIS_CATEGORY_CALL;
		found->into_window |= in_window(flow, target);
		found->to_entry |= !calls && is_entry(flow, target);
	}
	found->indirect |= is_indirect_jump(in);
	found->own_address |= makes_own_address(flow, in, address);
	if (found->exits.v)
		note_exit(flow, in, branch_target(in, address), &found->exits);
	if (in->mnemonic == ZYDIS_MNEMONIC_LEA && is_relative(in))
		found->by_table |= table_leads(flow, operand_target(in, address));
}

/* A byte that is no instruction is stepped over: what lies behind is decoded all the same. */
static void read_function(const struct hp_flow *flow, const struct decoder *code, struct findings *found)
{
	for (size_t at = 0; at < code->size;) {
		ZydisDecodedInstruction in;
		if (!decode(code, at, &in)) {
			found->undecoded = true;
			at++;
			continue;
		}
		note_instruction(flow, &in, code->base + at, found);
		at += in.length;
	}
}

/* Decodes [low, high), as it was before hotpatch wrote to it. */
static int read_range(const struct hp_flow *flow, struct hp_range range, struct findings *found, struct hp_err *err)
{
	struct decoder code;
	size_t size = range.high - range.low;
	uint8_t *bytes = malloc(size);
	if (!bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read the code around '%s'", flow->name);
	flow->read(range.low, bytes, size);
	decoder_init(&code, bytes, range.low, size);
	read_function(flow, &code, found);
	free(bytes);
	return 0;
}

static int check_function(const struct hp_flow *flow, struct hp_err *err)
{
	struct findings found = {0};
	int error = 0;
	for (size_t i = 0; i < flow->n_parts && !error; i++)
		error = read_range(flow, flow->parts[i], &found, err);
	if (error)
		return error;
	if (found.undecoded)
		return refuse(flow, err, "not all of its code can be decoded");
	if (found.to_entry)
		return refuse(flow, err, "it jumps to its own entry");
	if (found.indirect && found.own_address)
		return refuse(flow, err, "it jumps to addresses that it computes from labels of its own");
	if (found.into_window || found.by_table || (found.indirect && words_lead(flow)))
		return refuse(flow, err, "it jumps into the bytes the jump needs, or to its own entry");
	return 0;
}

int hp_flow_exits(const struct hp_flow *flow, uintptr_t *ret_targets, size_t max, size_t *ret_count, struct hp_err *err)
{
	struct findings found = {.exits = {.v = ret_targets, .max = max}};
	int error = read_range(flow, flow->parts[0], &found, err);
	if (error)
		return error;
	if (found.undecoded || found.exits.hidden)
		return hp_err_set(err, HOTPATCH_ENOSYM, "it jumps through a register, or to too many places");
	*ret_count = found.exits.n;
	return 0;
}

/* -- The code around it ---------------------------------------------------------------------------------------------
 */

/* A byte that belongs to no function: any instruction that could begin there. */
static bool gap_leads(const struct hp_flow *flow, uintptr_t address)
{
	uint8_t bytes[2] = {0};
	flow->read(address, bytes, 1);
	flow->read(address + 1, bytes + 1, 1);
	uint8_t before = 0;
	if (bytes[0] == 0xe0 && in_ranges(flow->text, flow->n_text, address - 1)) {
		flow->read(address - 1, &before, 1); /* jmp *%rax, as in crt code, and no loopne */
		if (before == 0xff)
			return false;
	}
	bool branches = (bytes[0] & 0xf0) == 0x70 || bytes[0] == 0xeb || (bytes[0] & 0xfc) == 0xe0;
	return branches && in_window(flow, address + 2 + (uintptr_t)(intptr_t)(int8_t)bytes[1]);
}

static int check_neighbours(const struct hp_flow *flow, struct hp_err *err)
{
	struct findings found = {0};
	uintptr_t at = flow->jump - SHORT_REACH, end = flow->jump + flow->jump_size + SHORT_REACH;
	while (at < end && !found.into_window) {
		struct hp_range function;
		if (in_ranges(flow->parts, flow->n_parts, at) || !in_ranges(flow->text, flow->n_text, at) ||
		    !in_ranges(flow->text, flow->n_text, at + 1)) {
			at++;
		} else if (!flow->function_at(at, &function)) {
			found.into_window |= gap_leads(flow, at++);
		} else {
			int error = read_range(flow, function, &found, err);
			if (error)
				return error;
			at = function.high;
		}
	}
	return found.into_window ? refuse(flow, err, "code beside it branches into the bytes the jump needs") : 0;
}

/* -- All of it ------------------------------------------------------------------------------------------------------
 */

static int check_image(const struct hp_flow *flow, struct hp_err *err)
{
	for (uintptr_t address = flow->jump + 1; address < flow->jump + flow->jump_size; address++) {
		bool leads;
		int error = hp_targets_lead(flow, address, &leads, err);
		if (error)
			return error;
		if (leads)
			return refuse(flow, err, "code elsewhere branches into the bytes the jump needs");
	}
	return 0;
}

static int check_steps(const struct hp_flow *flow, struct hp_displaced *ret, struct hp_err *err)
{
	struct decoder code;
	size_t size = flow->parts[0].high - flow->parts[0].low;
	uint8_t *bytes = malloc(size);
	if (!bytes)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read the code of '%s'", flow->name);
	flow->read(flow->parts[0].low, bytes, size);
	decoder_init(&code, bytes, flow->parts[0].low, size);
	int error = read_steps(flow, &code, ret, err);
	free(bytes);
	return error;
}

int hp_flow_displace(const struct hp_flow *flow, struct hp_displaced *ret_displaced, struct hp_err *err)
{
	struct hp_displaced displaced;
	if (flow->parts[0].high < flow->jump + flow->jump_size)
		return refuse(flow, err, "it is shorter than a jump");
	int error = check_steps(flow, &displaced, err);
	if (!error)
		error = check_function(flow, err);
	if (!error && flow->jump_size > 1)
		error = check_neighbours(flow, err);
	if (!error && flow->jump_size > 1)
		error = check_image(flow, err);
	if (!error)
		*ret_displaced = displaced;
	return error;
}

void hp_flow_forget(void)
{
	hp_targets_forget();
}
