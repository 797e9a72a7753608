/* leftovers - the memory of patches that were reverted.
 *
 *     reverted --some have come together--> used by a later patch? --no--> a word points into it? --no--> unmapped
 *                                                   |                             |
 *                                                   +------ yes: kept, and why ---+
 *
 * A thread may still be in its code, the program may have stored the address of one of its functions or strings, and a
 * later patch may be linked to a variable or function that was new in it. The last the command has told with that
 * patch, the others are found as those of libraries are (live/proof.h), which holds all threads for a moment: so it is
 * done when several have come together, and less often the more have to be kept.
 */
#ifndef HP_AGENT_LEFTOVERS_H
#define HP_AGENT_LEFTOVERS_H

#include "agent/agent.h"

/* Between requests: does nothing as long as there are few. */
void hp_leftovers_tidy(struct hp_agent *agent);

#endif
