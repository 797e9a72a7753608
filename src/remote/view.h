/* view - a process as a patch sees it: its images, what each calls the names that the patch refers to, and the patches
 * that are in force.
 *
 *     agent: images, generation, patches, their notes          files: names, read when an image is first asked for
 */
#ifndef HP_REMOTE_VIEW_H
#define HP_REMOTE_VIEW_H

#include "elf/names.h"
#include "elf/patchfile.h"
#include "remote/client.h"
#include "link/notes.h"

struct hp_view {
	struct hp_remote *remote; /* not ours */
	pid_t pid;
	struct hp_remote_images images;
	struct hp_names **names; /* by image; NULL: not read */
	struct hp_remote_patches patches;
	struct hp_notes **notes; /* by patch; NULL: neither in force nor set aside, or not applied by this command */
	const char **wanted;     /* sorted; they are the patch file's */
	size_t n_wanted;
};

/* file lives longer; NULL: no names are wanted. */
int hp_view_open(struct hp_remote *remote, const struct hp_patchfile *file, struct hp_view **ret_view,
                 struct hp_err *err) HP_MUST_CHECK;
void hp_view_close(struct hp_view *view); /* NULL is fine */

/* Takes the generation that holds now: registering code loads the unwinder's library, and a dry run may load
 * libhotpatch-inspect.so. HOTPATCH_ESTATE where anything
 * was unloaded since the view was opened. */
int hp_view_refresh(struct hp_view *view, struct hp_err *err) HP_MUST_CHECK;

/* The names of one of images.v. */
int hp_view_names(struct hp_view *view, size_t image, const struct hp_names **ret_names,
                  struct hp_err *err) HP_MUST_CHECK;

/* The image an address lies in, as an index; images.n where it is in none. */
size_t hp_view_at(const struct hp_view *view, uint64_t address);
bool hp_view_is_code(const struct hp_view *view, uint64_t address);

#endif
