/* cfi_step - from a frame to its caller: the rules that hold at an address, and what they say of the registers.
 *
 * Runs on the stack of whoever asks, a caller at the gate included: about 2 KiB of it are used.
 */
#include "base/cfi.h"

#include <string.h>

#include "base/cursor.h"

/* -- Rows: the rules that hold at one address -------------------------------------------------------------------- */

enum rule_kind {
	RULE_SAME,
	RULE_UNDEFINED,
	RULE_OFFSET,
	RULE_VALUE,
	RULE_REGISTER,
	RULE_AT_EXPRESSION,
	RULE_EXPRESSION
};

struct rule {
	uint8_t kind;
	intptr_t value; /* offset from the CFA, register, or address of an expression with its length in front */
};

struct row {
	struct rule rules[HP_REG_COUNT];
	bool cfa_expression;
	unsigned cfa_register;
	intptr_t cfa_offset;
	const uint8_t *cfa_block;
};

enum { REMEMBER_MAX = 4 };

struct machine {
	const struct hp_fde *fde;
	struct row row, first; /* first: after the CIE's instructions, for DW_CFA_restore */
	struct row remembered[REMEMBER_MAX];
	unsigned depth;
	uintptr_t pc, target;
	bool done, bad;
};

static void rule_set(struct machine *m, uint64_t reg, enum rule_kind kind, intptr_t value)
{
	if (reg < HP_REG_COUNT) /* vector and control registers do not matter to the walk */
		m->row.rules[reg] = (struct rule){(uint8_t)kind, value};
}

static void rule_restore(struct machine *m, uint64_t reg)
{
	if (reg < HP_REG_COUNT)
		m->row.rules[reg] = m->first.rules[reg];
}

static const uint8_t *skip_block(struct hp_cursor *c)
{
	const uint8_t *block = c->at;
	uint64_t length = hp_take_uleb(c);
	if (c->bad || length > (size_t)(c->end - c->at)) {
		c->bad = true;
		return block;
	}
	c->at += length;
	return block;
}

static void advance(struct machine *m, uintptr_t delta)
{
	uintptr_t next = m->pc + delta * m->fde->code_align;
	if (next > m->target)
		m->done = true;
	else
		m->pc = next;
}

static void cfa_set(struct machine *m, uint64_t reg, intptr_t offset)
{
	m->row.cfa_expression = false;
	m->row.cfa_register = (unsigned)reg;
	m->row.cfa_offset = offset;
	if (reg >= HP_REG_COUNT)
		m->bad = true;
}

static void remember(struct machine *m)
{
	if (m->depth == REMEMBER_MAX)
		m->bad = true;
	else
		m->remembered[m->depth++] = m->row;
}

static void recall(struct machine *m)
{
	if (m->depth == 0)
		m->bad = true;
	else
		m->row = m->remembered[--m->depth];
}

/* A factored offset. Of damaged tables the product may be anything, and is no more wrong than the factor. */
static intptr_t scaled(const struct machine *m, uint64_t value)
{
	return (intptr_t)(value * (uintptr_t)m->fde->data_align);
}

/* One instruction whose opcode stands in the whole byte: DWARF 5 section 7.24, table 7.29. */
static void execute_extended(struct machine *m, struct hp_cursor *c, uint8_t opcode)
{
	uint64_t reg;
	switch (opcode) {
	case 0x00: /* nop */
		break;
	case 0x01: { /* set_loc */
		uintptr_t to = hp_take_pointer(c, m->fde->pointers, 0);
		if (to > m->target)
			m->done = true;
		else
			m->pc = to;
		break;
	}
	case 0x02: /* advance_loc1, 2, 4 */
		advance(m, hp_take(c, 1));
		break;
	case 0x03:
		advance(m, hp_take(c, 2));
		break;
	case 0x04:
		advance(m, hp_take(c, 4));
		break;
	case 0x05: /* offset_extended */
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_OFFSET, scaled(m, hp_take_uleb(c)));
		break;
	case 0x06: /* restore_extended */
		rule_restore(m, hp_take_uleb(c));
		break;
	case 0x07:
		rule_set(m, hp_take_uleb(c), RULE_UNDEFINED, 0);
		break;
	case 0x08:
		rule_set(m, hp_take_uleb(c), RULE_SAME, 0);
		break;
	case 0x09:
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_REGISTER, (intptr_t)hp_take_uleb(c));
		break;
	case 0x0a:
		remember(m);
		break;
	case 0x0b:
		recall(m);
		break;
	case 0x0c: /* def_cfa */
		reg = hp_take_uleb(c);
		cfa_set(m, reg, (intptr_t)hp_take_uleb(c));
		break;
	case 0x0d: /* def_cfa_register */
		cfa_set(m, hp_take_uleb(c), m->row.cfa_offset);
		break;
	case 0x0e: /* def_cfa_offset */
		m->row.cfa_offset = (intptr_t)hp_take_uleb(c);
		break;
	case 0x0f: /* def_cfa_expression */
		m->row.cfa_expression = true;
		m->row.cfa_block = skip_block(c);
		break;
	case 0x10:
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_AT_EXPRESSION, (intptr_t)skip_block(c));
		break;
	case 0x11: /* offset_extended_sf */
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_OFFSET, scaled(m, (uint64_t)hp_take_sleb(c)));
		break;
	case 0x12: /* def_cfa_sf */
		reg = hp_take_uleb(c);
		cfa_set(m, reg, scaled(m, (uint64_t)hp_take_sleb(c)));
		break;
	case 0x13: /* def_cfa_offset_sf */
		m->row.cfa_offset = scaled(m, (uint64_t)hp_take_sleb(c));
		break;
	case 0x14: /* val_offset */
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_VALUE, scaled(m, hp_take_uleb(c)));
		break;
	case 0x15:
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_VALUE, scaled(m, (uint64_t)hp_take_sleb(c)));
		break;
	case 0x16:
		reg = hp_take_uleb(c);
		rule_set(m, reg, RULE_EXPRESSION, (intptr_t)skip_block(c));
		break;
	case 0x2d: /* AARCH64_negate_ra_state: hp_code_mask knows what a signed return address looks like */
		break;
	case 0x2e: /* GNU_args_size */
		hp_take_uleb(c);
		break;
	default:
		m->bad = true;
	}
}

static void execute(struct machine *m, const uint8_t *at, const uint8_t *end)
{
	struct hp_cursor c = {at, end, false};
	while (!m->done && !m->bad && !c.bad && c.at < c.end) {
		uint8_t byte = hp_take(&c, 1), low = byte & 0x3f;
		if (byte >> 6 == 1)
			advance(m, low);
		else if (byte >> 6 == 2)
			rule_set(m, low, RULE_OFFSET, scaled(m, hp_take_uleb(&c)));
		else if (byte >> 6 == 3)
			rule_restore(m, low);
		else
			execute_extended(m, &c, byte);
	}
	m->bad |= c.bad;
}

static bool row_at(const struct hp_fde *fde, uintptr_t pc, struct machine *m)
{
	memset(&m->row, 0, sizeof(m->row)); /* RULE_SAME everywhere */
	m->fde = fde;
	m->depth = 0;
	m->done = m->bad = false;
	m->pc = fde->begin;
	m->target = UINTPTR_MAX;
	execute(m, fde->first, fde->first_end);
	m->first = m->row;
	m->target = pc;
	execute(m, fde->rules, fde->rules_end);
	return !m->bad;
}

/* -- Expressions: the few operations that linkers and libc use (procedure linkage tables, signal frames) --------- */

enum { STACK_MAX = 16 };

struct evaluation {
	uintptr_t stack[STACK_MAX];
	unsigned depth;
	bool bad;
};

static void push(struct evaluation *e, uintptr_t value)
{
	if (e->depth == STACK_MAX)
		e->bad = true;
	else
		e->stack[e->depth++] = value;
}

static uintptr_t pop(struct evaluation *e)
{
	if (e->depth == 0) {
		e->bad = true;
		return 0;
	}
	return e->stack[--e->depth];
}

static void push_register(struct evaluation *e, const struct hp_regs *regs, uint64_t reg, int64_t offset)
{
	if (reg >= HP_REG_COUNT || !(regs->known >> reg & 1))
		e->bad = true;
	else
		push(e, regs->value[reg] + (uintptr_t)offset);
}

static void binary(struct evaluation *e, uint8_t opcode)
{
	uintptr_t b = pop(e), a = pop(e);
	switch (opcode) {
	case 0x1a:
		push(e, a & b);
		break;
	case 0x1c:
		push(e, a - b);
		break;
	case 0x1e:
		push(e, a * b);
		break;
	case 0x21:
		push(e, a | b);
		break;
	case 0x22:
		push(e, a + b);
		break;
	case 0x24:
		push(e, b < 64 ? a << b : 0);
		break;
	case 0x25:
		push(e, b < 64 ? a >> b : 0);
		break;
	case 0x27:
		push(e, a ^ b);
		break;
	case 0x29:
		push(e, a == b);
		break;
	case 0x2a:
		push(e, (intptr_t)a >= (intptr_t)b);
		break;
	case 0x2b:
		push(e, (intptr_t)a > (intptr_t)b);
		break;
	case 0x2c:
		push(e, (intptr_t)a <= (intptr_t)b);
		break;
	case 0x2d:
		push(e, (intptr_t)a < (intptr_t)b);
		break;
	case 0x2e:
		push(e, a != b);
		break;
	default:
		e->bad = true;
	}
}

/* DWARF 5 section 7.7.1, table 7.9. */
static void evaluate_one(struct evaluation *e, struct hp_cursor *c, const struct hp_regs *regs, hp_cfi_read read,
                         void *arg)
{
	uint8_t opcode = hp_take(c, 1);
	uintptr_t word = 0;
	if (opcode >= 0x30 && opcode <= 0x4f) { /* lit0 .. lit31 */
		push(e, opcode - 0x30u);
	} else if (opcode >= 0x70 && opcode <= 0x8f) { /* breg0 .. breg31 */
		push_register(e, regs, opcode - 0x70u, hp_take_sleb(c));
	} else if (opcode == 0x92) { /* bregx */
		uint64_t reg = hp_take_uleb(c);
		push_register(e, regs, reg, hp_take_sleb(c));
	} else if (opcode == 0x06) { /* deref */
		e->bad |= !read(pop(e), &word, arg);
		push(e, word);
	} else if (opcode == 0x08 || opcode == 0x0a || opcode == 0x0c || opcode == 0x0e) { /* const1u 2u 4u 8u */
		push(e, hp_take(c, (size_t)1 << ((opcode - 0x08) / 2)));
	} else if (opcode == 0x09) {
		push(e, (uintptr_t)(int8_t)hp_take(c, 1));
	} else if (opcode == 0x0b) {
		push(e, (uintptr_t)(int16_t)hp_take(c, 2));
	} else if (opcode == 0x0d) {
		push(e, (uintptr_t)(int32_t)hp_take(c, 4));
	} else if (opcode == 0x10) {
		push(e, hp_take_uleb(c));
	} else if (opcode == 0x11) {
		push(e, (uintptr_t)hp_take_sleb(c));
	} else if (opcode == 0x12) { /* dup */
		word = pop(e);
		push(e, word);
		push(e, word);
	} else if (opcode == 0x23) { /* plus_uconst */
		word = hp_take_uleb(c);
		push(e, pop(e) + word);
	} else {
		binary(e, opcode);
	}
}

static bool evaluate(const struct hp_cfi *cfi, const uint8_t *block, const struct hp_regs *regs, bool with_cfa,
                     uintptr_t cfa, hp_cfi_read read, void *arg, uintptr_t *ret_value)
{
	struct hp_cursor c = {block, cfi->high, false};
	struct evaluation e = {.depth = 0};
	uint64_t length = hp_take_uleb(&c);
	if (c.bad || length > (size_t)(c.end - c.at))
		return false;
	c.end = c.at + length;
	if (with_cfa)
		push(&e, cfa);
	while (!c.bad && !e.bad && c.at < c.end)
		evaluate_one(&e, &c, regs, read, arg);
	*ret_value = pop(&e);
	return !c.bad && !e.bad;
}

/* -- The step ---------------------------------------------------------------------------------------------------- */

struct step {
	const struct hp_cfi *cfi;
	const struct hp_regs *old;
	uintptr_t cfa;
	hp_cfi_read read;
	void *arg;
};

/* The caller's value of one register; false when it cannot be known. */
static bool apply_rule(const struct step *s, const struct rule *rule, unsigned reg, uintptr_t *ret_value)
{
	uintptr_t value = 0;
	switch (rule->kind) {
	case RULE_SAME:
		*ret_value = s->old->value[reg];
		return s->old->known >> reg & 1;
	case RULE_OFFSET:
		return s->read(s->cfa + (uintptr_t)rule->value, ret_value, s->arg);
	case RULE_VALUE:
		*ret_value = s->cfa + (uintptr_t)rule->value;
		return true;
	case RULE_REGISTER:
		if ((uintptr_t)rule->value >= HP_REG_COUNT)
			return false;
		*ret_value = s->old->value[rule->value];
		return s->old->known >> rule->value & 1;
	case RULE_AT_EXPRESSION:
		return evaluate(s->cfi, (const uint8_t *)rule->value, s->old, true, s->cfa, s->read, s->arg, &value) &&
		       s->read(value, ret_value, s->arg);
	case RULE_EXPRESSION:
		return evaluate(s->cfi, (const uint8_t *)rule->value, s->old, true, s->cfa, s->read, s->arg, ret_value);
	default:
		return false;
	}
}

static bool find_cfa(const struct hp_cfi *cfi, const struct row *row, const struct hp_regs *regs, hp_cfi_read read,
                     void *arg, uintptr_t *ret_cfa)
{
	if (row->cfa_expression)
		return evaluate(cfi, row->cfa_block, regs, false, 0, read, arg, ret_cfa);
	*ret_cfa = regs->value[row->cfa_register] + (uintptr_t)row->cfa_offset;
	return regs->known >> row->cfa_register & 1;
}

bool hp_cfi_return_stored(const struct hp_fde *fde, uintptr_t pc)
{
	struct machine m;
	if (!row_at(fde, pc, &m) || fde->return_column != HP_REG_RETURN)
		return false;
	return m.row.rules[HP_REG_RETURN].kind == RULE_OFFSET || m.row.rules[HP_REG_RETURN].kind == RULE_AT_EXPRESSION;
}

enum hp_cfi_step hp_cfi_step(const struct hp_cfi *cfi, const struct hp_fde *fde, struct hp_regs *regs, hp_cfi_read read,
                             void *arg)
{
	struct machine m;
	/* A return address may be the first byte behind the function: the rules are those of the call before it. */
	uintptr_t pc = regs->value[HP_REG_IP] - (regs->exact_ip ? 0 : 1);
	if (!row_at(fde, pc, &m) || fde->return_column != HP_REG_RETURN)
		return HP_CFI_LOST;
	enum rule_kind return_rule = m.row.rules[HP_REG_RETURN].kind;
	if (return_rule == RULE_UNDEFINED)
		return HP_CFI_OUTERMOST;
	struct step s = {cfi, regs, 0, read, arg};
	if (!find_cfa(cfi, &m.row, regs, read, arg, &s.cfa))
		return HP_CFI_LOST;
	struct hp_regs next = {.known = 0};
	for (unsigned reg = 0; reg < HP_REG_COUNT; reg++)
		if (apply_rule(&s, &m.row.rules[reg], reg, &next.value[reg]))
			next.known |= UINT64_C(1) << reg;
	if (m.row.rules[HP_REG_SP].kind == RULE_SAME) { /* by the psABI the CFA is the caller's stack pointer */
		next.value[HP_REG_SP] = s.cfa;
		next.known |= UINT64_C(1) << HP_REG_SP;
	}
	if (!(next.known >> HP_REG_RETURN & 1))
		return HP_CFI_LOST;
	/* Where it is where the call left it, the call must be the last thing that happened. */
	if (return_rule == RULE_SAME && (HP_RETURN_ON_STACK || !regs->exact_ip))
		return HP_CFI_LOST;
	next.value[HP_REG_IP] = next.value[HP_REG_RETURN] & hp_code_mask();
	next.known |= UINT64_C(1) << HP_REG_IP;
	next.exact_ip = fde->signal_frame;
	*regs = next;
	return next.value[HP_REG_IP] ? HP_CFI_STEPPED : HP_CFI_OUTERMOST;
}
