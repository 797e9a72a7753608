/* match - which functions and which units of a process a patch means.
 *
 *     change 'serve' of util.c --->  util.c, group 4:  serve at 0x1140, hash of its code is the patch's   <--- this one
 *                                    util.c, group 9:  serve at 0x2a10, another hash
 *
 * A name is not enough: two folders have an util.c each, and the file on disk may be newer than what runs. So the code
 * that is in memory, as it was before anything redirected it, is compared with what the patch was made from; and where
 * units of one name would still be alike, what that code refers to tells them apart.
 */
#ifndef HP_REMOTE_MATCH_H
#define HP_REMOTE_MATCH_H

#include "remote/view.h"

enum { HP_OLD_PARTS_MAX = 4 };

struct hp_matched_change {
	size_t image; /* in view->images */
	uint64_t entry;
	struct hp_remote_extent old[HP_OLD_PARTS_MAX]; /* the function and what was split off it */
	size_t n_old;                                  /* 0: more than fit */
};

struct hp_matched_unit {
	bool is_found;
	size_t image;
	uint32_t group;
};

struct hp_match {
	bool *is_target;                   /* by image: the patch is for it */
	struct hp_matched_change *changes; /* as in the patch file */
	struct hp_matched_unit *units;     /* as in the patch file */
};

/* HOTPATCH_ENOSYM, EAMBIGUOUS with the candidates, ECODE: the code is not what the patch was made from. */
int hp_match_make(struct hp_view *view, const struct hp_patchfile *file, struct hp_match **ret_match,
                  struct hp_err *err) HP_MUST_CHECK;

/* What of the patch is of images that are not loaded: by change and by target, true where it is. */
struct hp_absence {
	bool *changes, *targets;
	size_t n_changes; /* that are true */
};

/* HOTPATCH_ECODE: another build of a target is loaded. */
int hp_match_absent(struct hp_view *view, const struct hp_patchfile *file, struct hp_absence *ret_absence,
                    struct hp_err *err) HP_MUST_CHECK;
void hp_absence_free(struct hp_absence *absence);

/* NULL is fine. */
void hp_match_free(struct hp_match *match);

#endif
