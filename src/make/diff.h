/* diff - what differs between an object made of the old source and one made of the new.
 *
 *     old  serve ---> .rodata.str "hello"            new  serve ---> .rodata.str "hallo"
 *            '------> count.2  (serve/count)                '------> count.3  (serve/count)
 *
 *     "hello" and "hallo" differ, so serve differs. count.2 and count.3 are one variable: no difference.
 *
 * Atoms that are named are matched by name or scope. Pairs of atoms are compared by their bytes, and by what their
 * references mean: a named atom by being the same one, everything else by its contents. Contents may refer to
 * themselves (a jump table leads back into its function), so pairs are taken for equal until one is found that is not,
 * from which the difference spreads to whatever refers to it. Addresses of labels are the function's affair: where it
 * changed they moved, and that is no change of the table that holds them.
 */
#ifndef HP_MAKE_DIFF_H
#define HP_MAKE_DIFF_H

#include "make/atoms.h"

struct hp_diff {
	struct hp_atoms *old_atoms, *new_atoms;
	uint32_t *old_of;  /* per new atom: the same one in the old object, HP_NO_ATOM */
	uint32_t *new_of;  /* per old atom */
	bool *differs;     /* per new atom that has an old one: its contents do */
	uint32_t *because; /* per new atom that differs: another that does and that it refers to, HP_NO_ATOM: itself */
	bool *is_moved;    /* per new atom that differs: only in where the labels stand that it holds */
	bool has_frames;   /* ASan tells of the frames of their functions, in strings */
	bool is_partial;   /* the new object has not all functions: hp_diff_limit */
	bool has_copies;   /* static functions that the old one has are its own: hp_diff_limit_copies */
};

/* Takes both, also on failure. HOTPATCH_ENOMEM, HOTPATCH_EREFUSED where names cannot be matched. */
int hp_diff_make(struct hp_atoms *old_atoms, struct hp_atoms *new_atoms, struct hp_diff **ret_diff,
                 struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_diff_free(struct hp_diff *diff);

/* Of the new object only the functions of these names count: all others are stubs, which stand for what the old one
 * has. False: one of those is not in the old object, so that nothing can stand for it. */
bool hp_diff_limit(struct hp_diff *diff, char *const *names, size_t n_names) HP_MUST_CHECK;

/* The same where all others are not there, but for copies of static ones, which are no stubs: they are used in place of
 * the old ones, and tell nothing. False: there is a function or a variable for which the old object has no place, or
 * another kind of place than a variable that is written to. */
bool hp_diff_limit_copies(struct hp_diff *diff, char *const *names, size_t n_names) HP_MUST_CHECK;

/* A function that both have and that differs. */
bool hp_diff_is_changed(const struct hp_diff *diff, uint32_t new_atom);

/* Whether the live one is to be used: it is the same in both, or is a variable, whose value is kept. */
bool hp_diff_is_live(const struct hp_diff *diff, uint32_t new_atom);

#endif
