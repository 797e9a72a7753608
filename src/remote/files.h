/* files - the file that an image of another process was loaded from, also when its path leads elsewhere by now.
 *
 *     /proc/PID/exe                the program, whatever became of its path
 *     /proc/PID/root/PATH          as the process sees it, in its mount namespace
 *     PATH                         where /proc/PID/root is closed to us
 *     /proc/PID/map_files/A-B      a library that was deleted or replaced; open to root
 *
 * A file is taken if its build-id is that of the image; of an image without one, if it is the inode that is mapped.
 */
#ifndef HP_REMOTE_FILES_H
#define HP_REMOTE_FILES_H

#include <sys/types.h>

#include "elf/image.h"
#include "remote/client.h"

/* HOTPATCH_ENOFILE, HOTPATCH_ENOTELF with the reason. */
int hp_file_open(pid_t pid, const struct hp_remote_image *image, struct hp_image **ret_file,
                 struct hp_err *err) HP_MUST_CHECK;

#endif
