/* aims - which images of a process a patch is for: those of its targets, by build-id; without any, all. */
#ifndef HP_REMOTE_AIMS_H
#define HP_REMOTE_AIMS_H

#include "remote/view.h"

/* "util.c" of "src/util.c". */
const char *hp_base_name(const char *path);

/* By image: true where the patch is for it. ret_absent: by target, true where it is not loaded; NULL: that is refused.
 * HOTPATCH_ECODE: another build is loaded; HOTPATCH_ENOSYM: none. */
int hp_aims_find(const struct hp_view *view, const struct hp_patchfile *file, bool *ret_is_target, bool *ret_absent,
                 struct hp_err *err) HP_MUST_CHECK;

#endif
