/* debugfile - the separate file that has the symbols and types of a stripped image.
 *
 *     ROOT/.build-id/ab/cdef....debug     by the image's build-id (abcdef...), which the file must have too
 *     DIR/NAME                            by .gnu_debuglink: NAME, and the CRC32 of the file; DIR is where the
 *     DIR/.debug/NAME                     image lies
 *     ROOT/DIR/NAME
 *
 * The order and the places are gdb's (gdb manual, Separate Debug Files). ROOT is /usr/lib/debug.
 */
#ifndef HP_ELF_DEBUGFILE_H
#define HP_ELF_DEBUGFILE_H

#include "elf/image.h"

#define HP_DEBUG_ROOT "/usr/lib/debug"

/* *ret_image is NULL where there is none; files that do not belong to image are passed over. HOTPATCH_ENOMEM. */
int hp_debugfile_open(const struct hp_image *image, const char *root, struct hp_image **ret_image,
                      struct hp_err *err) HP_MUST_CHECK;

#endif
