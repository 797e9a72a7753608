/* kinds.h - the kinds of call that are compared. */
#ifndef BENCH_KINDS_H
#define BENCH_KINDS_H

#include <stdint.h>

typedef uint64_t (*step_fn)(uint64_t);

/* In the order of the report: hotpatch, and then what a program would do without it. */
enum kind_id {
	KIND_PLAIN,
	KIND_UNPATCHED,
	KIND_FUNCTION,
	KIND_LIBRARY,
	KIND_CLOSURE,
	KIND_UNPREPARED,
	KIND_ATOMIC,
	KIND_ATOMIC_FAR,
	KIND_QSBR,
	KIND_MEMB,
	KIND_COUNTER,
	KIND_MUTEX,
	KIND_RWLOCK,
	N_KINDS,
};

/* A thread that reads under qsbr says this often that it holds nothing, as a program would in its main loop. */
enum { KINDS_CALLS_PER_QUIESCENT_STATE = 64 };

struct kind {
	const char *name;
	step_fn loop; /* does so many calls; answers that number */
};

extern const struct kind kinds[N_KINDS];

/* Applies the patches that are measured; exits with a message where that fails. library: bench/libstep.c. */
void kinds_patch(const char *library);
void kinds_restore(void);

/* For each thread that runs the loops, before and after. */
void kinds_enter(void);
void kinds_leave(void);

#endif
