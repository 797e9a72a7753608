/* change - what was changed in the sources, as two views of the file system: before and after.
 *
 *     fix.diff        old: the tree         new: the tree with the diff (or, where it is applied already, the other
 * way) edited files    old: as in --base     new: the tree
 */
#ifndef HP_CLI_CHANGE_H
#define HP_CLI_CHANGE_H

#include "make/compdb.h"
#include "make/workspace.h"

struct hp_change {
	struct hp_workspace workspace;
	char *root; /* of the sources, absolute */
	char *old_view, *new_view;
	char **files; /* that differ, absolute */
	size_t n_files;
	bool is_applied; /* the tree has the diff already */
};

/* Makes both views, alike. build is the folder of the compilation database. */
int hp_change_begin(struct hp_change *change, const char *root, const char *build, struct hp_err *err) HP_MUST_CHECK;

/* Carries out a diff as patch(1) does, `strip` leading parts of names being left out. */
int hp_change_diff(struct hp_change *change, const char *diff, int strip, struct hp_err *err) HP_MUST_CHECK;

/* The old view becomes what a revision of git has, a folder that is a copy of the root has, or one file is. */
int hp_change_revision(struct hp_change *change, const char *revision, struct hp_err *err) HP_MUST_CHECK;
int hp_change_folder(struct hp_change *change, const char *folder, struct hp_err *err) HP_MUST_CHECK;
int hp_change_file(struct hp_change *change, const char *path, const char *old_file, struct hp_err *err) HP_MUST_CHECK;

/* What was named through links is in both views where it really lies, too: compilation databases have the one or the
 * other. */
int hp_change_mirror(struct hp_change *change, struct hp_err *err) HP_MUST_CHECK;

/* Whether the unit is compiled from a file that differs, included ones among them. */
int hp_change_concerns(const struct hp_change *change, const struct hp_compile *compile, bool *ret_concerns,
                       struct hp_err *err) HP_MUST_CHECK;

/* Removes everything. */
void hp_change_end(struct hp_change *change);

#endif
