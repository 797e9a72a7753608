/* select - which atoms of a unit's new object go into the patch, and what there is to say about it.
 *
 *     changed functions, what is asked for ---> parts, pieces, new functions and variables they refer to ---> ...
 *                                          '--> what is live already: bound to, not packed
 */
#ifndef HP_MAKE_SELECT_H
#define HP_MAKE_SELECT_H

#include "make/diff.h"
#include "make/marks.h"
#include "types/compare.h"

enum hp_finding_kind {
	HP_FOUND_CHANGED,      /* function: in the patch */
	HP_FOUND_NEW_FUNCTION, /* in the patch */
	HP_FOUND_NEW_VARIABLE, /* in the patch, with its initialiser */
	HP_FOUND_CONSTANT,     /* changed constant data: functions that refer to it are in the patch */
	HP_FOUND_SHARED,       /* a changed constant that other units can refer to: they keep the old one */
	HP_FOUND_REMOVED,      /* function: stays for old code */
	HP_FOUND_KEPT,         /* initialiser of a live variable: its value stays */
	HP_FOUND_REINIT,       /* the same, applied */
	HP_FOUND_ALLOWED,      /* a layout that differs and is allowed to */
	HP_FOUND_MIGRATED,     /* a layout that differs, which live objects are given */
	HP_FOUND_SIGNATURE,    /* a global function's type changed, and all its callers are in the patch */
	HP_FOUND_CALLBACK,     /* a function that runs when the patch is applied or reverted */
	HP_FINDINGS,
};

struct hp_finding {
	enum hp_finding_kind kind;
	const char *unit; /* source file, as it was named to the compiler */
	char *name, *sentence;
};

struct hp_findings {
	struct hp_finding *items;
	size_t count;
};

int hp_findings_add(struct hp_findings *findings, enum hp_finding_kind kind, const char *unit, const char *name,
                    struct hp_err *err, const char *format, ...) __attribute__((format(printf, 6, 7))) HP_MUST_CHECK;
void hp_findings_free(struct hp_findings *findings);

/* One translation unit, before and after. */
struct hp_make_unit {
	const char *source, *folder, *command;
	struct hp_diff *diff;
	struct hp_object *plain;      /* the old object as the program has it; NULL: the diff's old one is that */
	bool *packed;                 /* per new atom */
	bool *whole;                  /* per section of the new object: it is packed as it is */
	bool keep_debug;              /* its lines go into the patch */
	struct hp_source_marks marks; /* what the source asks to be run */
};

/* What the user asked for. */
struct hp_make_options {
	const char *name, *description;
	const char *const *reinit; /* variables, by scope or name */
	size_t n_reinit;
	const char *const *requires, *const *replaces;
	size_t n_requires, n_replaces;
	const char *const *images; /* files that the patch is for; none: any whose code matches */
	size_t n_images;
	struct hp_allowed allowed;
	struct hp_allowed migrated;       /* hp_marks_collect */
	const struct hp_make_unit *units; /* all of the patch */
	size_t n_units;
};

/* Whether the variable of this scope is meant by the name: FUNCTION/VARIABLE, or that of the variable alone. */
bool hp_is_called(const char *scope, const char *name);
bool hp_is_reinit(const struct hp_make_options *options, const struct hp_atom *atom);

/* Fills packed and whole, and says what was found. HOTPATCH_ENOMEM, HOTPATCH_EREFUSED. */
int hp_select(struct hp_make_unit *unit, const struct hp_make_options *options, struct hp_findings *findings,
              struct hp_err *err) HP_MUST_CHECK;

/* Whether a reference of a packed atom leads to the packed copy, not to what is live. */
bool hp_ref_is_own(const struct hp_make_unit *unit, const struct hp_atom *from, const struct hp_ref *ref);

#endif
