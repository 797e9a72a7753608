/* generations - the reloads that are in a program: patches watch.1, watch.2 and so on, one of which is in force, or
 * none.
 *
 *     0 ---- 1 ---- 2 ---- 3 ---- 4        undo: 3 -> 2      redo: 3 -> 4      use N
 *   as started            in force         the others are set aside: their code is there, and nothing is linked again
 *
 * The process knows them, so that whoever asks sees the same, and a watch that ends leaves them. A save after an undo
 * is a generation behind all others.
 */
#ifndef HP_WATCH_GENERATIONS_H
#define HP_WATCH_GENERATIONS_H

#include "remote/client.h"

struct hp_generation {
	unsigned number;
	uint64_t id;
	char name[24];
};

struct hp_generations {
	struct hp_generation *v; /* ascending; those that are in force or set aside */
	size_t n;
	unsigned current; /* 0: the program is as it was started */
	uint64_t current_id;
	unsigned last; /* the highest number there ever was */
};

enum { HP_GENERATIONS_MOST = 32 }; /* older ones are forgotten */

/* Of the patch of that name; 0: it is no generation's. */
unsigned hp_generation_number(const char *name);

int hp_generations_read(struct hp_remote *remote, struct hp_generations *ret_generations,
                        struct hp_err *err) HP_MUST_CHECK;
void hp_generations_free(struct hp_generations *generations);

/* The one an undo or a redo leads to. HOTPATCH_ESTATE: there is none. */
int hp_generations_before(const struct hp_generations *generations, unsigned *ret_number,
                          struct hp_err *err) HP_MUST_CHECK;
int hp_generations_after(const struct hp_generations *generations, unsigned *ret_number,
                         struct hp_err *err) HP_MUST_CHECK;

/* What becomes of a switch while somebody stays in old code. */
struct hp_patience {
	uint32_t wait_ms; /* all functions at one instant, if nobody is inside before then */
	bool is_strict; /* then it is refused; else new calls take the new code, and who is inside goes on with the old
	                 */
};

/* Puts a generation in force, or none (0). *ret_result says who still runs old code, or was in the way.
 * HOTPATCH_ESTATE: there is no such generation, or it is in force. */
int hp_generations_use(struct hp_remote *remote, const struct hp_generations *generations, unsigned number,
                       const struct hp_patience *patience, struct hp_remote_result *ret_result,
                       struct hp_err *err) HP_MUST_CHECK;

/* Lets go of the oldest, when there are many. */
int hp_generations_thin(struct hp_remote *remote, struct hp_err *err) HP_MUST_CHECK;

/* Whether a switch failed for no other reason than that a thread is inside: it may be made without waiting. */
bool hp_generations_is_in_use(int code);

#endif
