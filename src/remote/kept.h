/* kept - what was read of the symbol tables of files, for as long as a connection lasts: a watch brings in patch after
 * patch that refer to the same names, and the files are the same.
 *
 *     patch 1 wants a, b        read for a, b, and kept
 *     patch 2 wants b           kept
 *     patch 3 wants b, c        read for a, b, c, and kept
 *
 * A file is the same if its device, inode, size and time of modification are. What was found in a separate debug file,
 * or for want of one, is not kept.
 */
#ifndef HP_REMOTE_KEPT_H
#define HP_REMOTE_KEPT_H

#include "elf/names.h"

struct hp_kept_file {
	struct hp_identity identity;
	struct hp_names *names;
};

/* All zero at first. */
struct hp_kept_files {
	char **wanted; /* sorted; what all files were read for */
	size_t n_wanted;
	struct hp_kept_file *files;
	size_t n_files;
};

/* The names that are wanted (sorted), and maybe others. *ret_names is the caller's to free. As hp_names_read. */
int hp_kept_names(struct hp_kept_files *kept, const struct hp_image *file, const char *const *wanted, size_t n_wanted,
                  struct hp_names **ret_names, struct hp_err *err) HP_MUST_CHECK;

void hp_kept_free(struct hp_kept_files *kept);

#endif
