/* targets - every address of an image that a branch or call of 32 bits may lead to.
 *
 * One bit for each byte of code. Every byte is taken for the beginning of an instruction, so what is not in the set is
 * no target; a byte that is none makes one false target in some thousands of bytes. One image is kept: functions of one
 * are asked about one after the other.
 */
#ifndef HP_INSPECT_TARGETS_H
#define HP_INSPECT_TARGETS_H

#include "base/inspector.h"

int hp_targets_lead(const struct hp_flow *flow, uintptr_t address, bool *ret_leads, struct hp_err *err) HP_MUST_CHECK;
void hp_targets_forget(void);

#endif
