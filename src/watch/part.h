/* part - the functions of a large unit that were changed, compiled without the bodies of the others.
 *
 *     save ---+--> TEXT (-E) --> reduced --> PART: part.o, applied at once  ---.
 *             '--> NEW, the whole unit ...................................... object: compared with what was applied,
 *                                                                            applied where it differs
 *
 * What is compiled is every function that was edited since the program was started: generations are cumulative, so a
 * part is, too. Only where nothing but bodies differs from the last text that was compiled whole. Without optimisation
 * a function's code depends on its own text alone, so that the part is what the whole would be. With it a part is right
 * by itself, and the whole may be other code: with an edit go all that call it, and copies of the static functions that
 * those call; everything else is taken for what a function of another file is (depends.h; ARCHITECTURE.md has what
 * breaks without). Only gcc leaves the rest so that it can be.
 */
#ifndef HP_WATCH_PART_H
#define HP_WATCH_PART_H

#include "make/compdb.h"
#include "make/diff.h"
#include "watch/bodies.h"

enum { HP_PART_WORTH_MS = 150 }; /* a unit that compiles faster is not worth it */

struct hp_part {
	struct hp_bodies last, now;    /* texts: of the last object of the whole, and of what is being compiled */
	const struct hp_compile *with; /* last is of this command; NULL: there is none */
	bool has_now;
	char **edits; /* functions that differ from the start, or did a moment ago, and what goes with them */
	size_t n_edits;
	char *object;       /* of the edits alone; NULL: none */
	bool is_wanted;     /* when the text is there */
	bool is_optimised;  /* functions depend on each other */
	bool is_applied;    /* and the whole has not come yet */
	const char *why;    /* the whole alone was compiled; NULL: no reason is known */
	double text_ms, ms; /* of the compiler */
	double compare_ms;  /* to compare the texts, and to reduce one */
	double saved_at;    /* of what is applied */
};

/* Why a unit that is compiled so is always compiled whole; NULL. */
const char *hp_part_unfit(const struct hp_compile *compile);

bool hp_part_is_optimised(const struct hp_compile *compile);

/* The text of what is being compiled. Takes text. HOTPATCH_ENOMEM. */
int hp_part_take_text(struct hp_part *part, char *text, size_t size, struct hp_err *err) HP_MUST_CHECK;

/* The text to compile, where diff is that of the base and the last object; NULL: none, part->why says why, or memory
 * was out. */
char *hp_part_reduce(struct hp_part *part, const struct hp_diff *diff, size_t *ret_size);

bool hp_part_has_edit(const struct hp_part *part, const char *name);

/* The text that was taken, if one was, is that of an object of the whole now; NULL: it is that of none. */
void hp_part_keep_text(struct hp_part *part, const struct hp_compile *compile);
void hp_part_forget_text(struct hp_part *part);

void hp_part_free(struct hp_part *part);

/* The command for a preprocessed file in place of the source. Allocated, with words of its own alone at free. NULL
 * without memory. */
struct hp_compile *hp_part_compile(const struct hp_compile *compile, const char *text_path);
void hp_part_compile_free(struct hp_compile *compile);

#endif
