/* rules - what cannot be done to a running program, each with its sentence and what to do instead (design.md 8).
 */
#ifndef HP_MAKE_RULES_H
#define HP_MAKE_RULES_H

#include "make/select.h"

/* After hp_select. HOTPATCH_EREFUSED, HOTPATCH_ETYPE. */
int hp_rules_check(const struct hp_make_unit *unit, const struct hp_make_options *options, struct hp_findings *findings,
                   struct hp_err *err) HP_MUST_CHECK;

#endif
