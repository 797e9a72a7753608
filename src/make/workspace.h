/* workspace - a temporary folder, and views in it: the file system with some files as they were, or as they will be.
 *
 *     /tmp/hotpatch-x7Kp2q/old/w/project/src/a.c        a file: the old one
 *                         |             /src/b.c    ->  /w/project/src/b.c
 *                         |             /src/           a folder, so that "../include/c.h" stays in the view
 *                         |      /w/other           ->  /w/other
 *                         |  /usr                   ->  /usr
 *                         /new/w/project/...
 *
 * Below its roots (the sources and the build folder) a view has folders of its own and links to files; everything else
 * is a link, and becomes a folder of links when something is written behind it. Any path with the view in front is the
 * file that the view wants it to be, whatever includes whatever. The real tree is never written to, also where a path
 * goes through links.
 */
#ifndef HP_MAKE_WORKSPACE_H
#define HP_MAKE_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hp_workspace {
	char *path;
};

/* Under $TMPDIR or /tmp. HOTPATCH_ENOFILE. */
int hp_workspace_make(struct hp_workspace *workspace, struct hp_err *err) HP_MUST_CHECK;

/* Removes the folder and everything in it. One that was not made is fine. */
void hp_workspace_remove(struct hp_workspace *workspace);

/* A path in the workspace; allocated, NULL where memory is out. */
char *hp_workspace_path(const struct hp_workspace *workspace, const char *name);

/* Makes the view called name with these roots (absolute). *ret_view is its path, allocated. */
int hp_view_make(const struct hp_workspace *workspace, const char *name, const char *const *roots, size_t n_roots,
                 char **ret_view, struct hp_err *err) HP_MUST_CHECK;

/* What the view has at an absolute path becomes a file with these bytes, or a copy of the file it has, or nothing. */
int hp_view_write(const char *view, const char *path, const void *bytes, size_t size, struct hp_err *err) HP_MUST_CHECK;
int hp_view_own(const char *view, const char *path, struct hp_err *err) HP_MUST_CHECK;
int hp_view_remove(const char *view, const char *path, struct hp_err *err) HP_MUST_CHECK;

/* All bytes of a file, with a NUL behind them; allocated. */
int hp_file_read(const char *path, char **ret_bytes, size_t *ret_size, struct hp_err *err) HP_MUST_CHECK;

#endif
