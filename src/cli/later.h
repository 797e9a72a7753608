/* later - a patch for what is not loaded yet: the command stays, and applies the rest when it comes.
 *
 *     applied, but for what is of libraries that are not loaded --a library comes--> the whole takes its place, at one
 *                                                                                   instant
 *
 * While it waits the agent is asked every few milliseconds whether anything was loaded, and tells others what for.
 */
#ifndef HP_CLI_LATER_H
#define HP_CLI_LATER_H

#include "cli/targets.h"
#include "remote/link.h"

/* One process that waits. */
struct hp_later {
	struct hp_target *target;
	uint64_t patch;  /* what is in force of it, by id; 0: nothing yet */
	size_t n_absent; /* changes that are waited for */
	uint64_t loads;  /* of images, when they were last looked at */
	bool is_over;
};

/* Says what is waited for, to the user and to the agent. */
void hp_later_tell(struct hp_output *output, const struct hp_patchfile *file, struct hp_later *later,
                   const struct hp_link_report *report);

/* Until all of it is applied everywhere, or the processes have ended. */
void hp_later_wait(struct hp_output *output, const struct hp_patchfile *file, const struct hp_link_options *options,
                   struct hp_later *list, size_t n);

#endif
