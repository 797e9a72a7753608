/* pun - a jump of which only the first byte is written: the four behind it, which stay as they are, say where it leads.
 *
 *     48 83 EC 08 E8 ...    sub $8,%rsp; call ...
 *     E9 83 EC 08 E8        jmp entry + 5 + 0xe808ec83      the landing is made there
 *
 * One byte is written at once, and threads between the bytes go on as before: nobody has to be waited for, held or
 * asked. (Chamith et al., Instruction Punning, PLDI 2017; Duck et al., Binary Rewriting without Control Flow Recovery,
 * PLDI 2020.) What it takes is that the place is free: a page of its own for most functions, which is never given back.
 */
#ifndef HP_CODE_PUN_H
#define HP_CODE_PUN_H

#include "arch/arch.h"
#include "base/err.h"

/* Takes the HP_PUN_CODE bytes at address for a landing; false where something is there, or may come to be (the first
 * thread's stack). One caller at a time. */
bool hp_pun_take(uintptr_t address);

/* Makes the landing there: a jump through the slot. */
int hp_pun_fill(uintptr_t address, uintptr_t slot, struct hp_err *err) HP_MUST_CHECK;

/* Whether an instruction pointer lies in a landing: its frame is still that of an entry. Async-signal-safe. */
bool hp_pun_contains(uintptr_t ip);

#endif
