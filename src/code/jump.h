/* jump - the jump at a prepared entry, which is written in two parts.
 *
 *     x86-64      nop | nop  ->  EB | F8      head, tail: one byte each
 *     aarch64     nop        ->  b landing    head: the whole instruction; no tail
 *
 * The head makes it a jump and is one write, which a thread that executes it sees done or not done. The tail does
 * nothing alone: it is written before the head and taken back after it (arch.h).
 */
#ifndef HP_CODE_JUMP_H
#define HP_CODE_JUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "arch/arch.h"
#include "code/text.h"

enum hp_part { HP_HEAD, HP_TAIL };

bool hp_jump_has_tail(const struct hp_entry *plan);

/* Whether the jump of an entry, as `code` has it, agrees with another in a part; it does in one that there is not. */
bool hp_jump_agrees(const struct hp_entry *plan, enum hp_part part, const uint8_t *code, const uint8_t *jump);

/* Writes one part of `jump` to `address`. */
int hp_jump_write(const struct hp_entry *plan, enum hp_part part, uintptr_t address, const uint8_t *jump,
                  struct hp_text *text, struct hp_err *err) HP_MUST_CHECK;

#endif
