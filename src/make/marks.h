/* marks - what the changed source asks to be run: HOTPATCH_PRE_APPLY and its like, HOTPATCH_MIGRATE.
 *
 *     hotpatch_marks   | kind | line | callback | forward | back | type ... |   an atom each, in the new object
 *                                        |          |         '--> functions, packed
 *                                        '----------'------------>
 *
 * The program passes over them, so a mark that was there before belongs to an earlier change: it counts when it, or a
 * function it names, is new or differs.
 */
#ifndef HP_MAKE_MARKS_H
#define HP_MAKE_MARKS_H

#include "make/diff.h"

struct hp_make_options;
struct hp_make_unit;

enum hp_mark_kind { HP_MARK_PRE_APPLY, HP_MARK_POST_APPLY, HP_MARK_PRE_REVERT, HP_MARK_POST_REVERT, HP_MARK_MIGRATE };

struct hp_source_mark {
	enum hp_mark_kind kind;
	uint32_t line;
	uint32_t function, back; /* new atoms; back HP_NO_ATOM: none */
	const char *type;        /* of HP_MARK_MIGRATE */
};

struct hp_source_marks {
	struct hp_source_mark *items; /* in the order of the source */
	size_t count;
};

/* Those of the unit that count. HOTPATCH_EREFUSED where one names no function of its file. */
int hp_marks_read(const struct hp_diff *diff, struct hp_source_marks *ret_marks, struct hp_err *err) HP_MUST_CHECK;
void hp_marks_free(struct hp_source_marks *marks);

/* The types that any unit migrates, as options->migrated; *ret_names is the caller's to free. */
int hp_marks_collect(const struct hp_make_unit *units, size_t n_units, struct hp_make_options *options,
                     const char ***ret_names, struct hp_err *err) HP_MUST_CHECK;

#endif
