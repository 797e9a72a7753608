/* table - the agent's own table of file descriptors.
 *
 * Threads share one table unless they leave it (unshare(2), CLONE_FILES; close_range(2), CLOSE_RANGE_UNSHARE). The
 * agent does: its sockets take no number of the program's, a program that closes all it does not know closes none of
 * them, and a child has none to close. Nor does the agent hold open what the program closes.
 *
 * Callbacks of patches are the program's code, and find its descriptors: copies of them, under the same numbers, for as
 * long as they run (pidfd_getfd(2)). What they open or close is so for them alone.
 */
#ifndef HP_AGENT_TABLE_H
#define HP_AGENT_TABLE_H

#include <stdbool.h>

/* Leaves the program's table for an empty one. False where the system refuses that (a seccomp filter). */
bool hp_table_leave(void);

/* Numbers that no program's descriptor has, for what is kept while descriptors are borrowed. Returns the new number; fd
 * is closed, unless there was no room: then it is what is returned. */
int hp_table_move_up(int fd);

/* Copies the program's descriptors in, and closes them again. */
void hp_table_borrow(void);
void hp_table_give_back(void);

#endif
