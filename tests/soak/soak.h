/* soak.h - what the program shares with the libraries it loads: a call's luggage, and what every definition runs. */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

#include <stdbool.h>
#include <stdint.h>

#include "hotpatch.h"

enum { GROUPS = 6 };

/* One outermost call of a thread and all calls below it. */
struct visit {
	uint64_t random;
	int depth;          /* how deep calls may go on */
	bool in_handler;    /* a signal handler's: it calls no closures, takes no locks and does not poll */
	bool bare;          /* the definition does nothing, so that what the call takes is known */
	int active;         /* calls under way that must not be passed by hotpatch_poll */
	int inside[GROUPS]; /* calls of each group under way */
	long first[GROUPS]; /* stamp of the outermost of them that has said so */
};

/* Does what a definition does, and returns its stamp. */
extern long run(struct visit *v, int function, long stamp, bool arguments_arrived);

enum function_id { EVEN, ODD, WIDE, TEXT, LOOSE, LOOSER, LOOSEST, PLAIN, CLOSED, FORCED, LEFT, RIGHT, FUNCTIONS };
enum { STAMP_A = 101, STAMP_B = 102, STAMP_C = 103 };

#endif
