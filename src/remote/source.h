/* source - which source file the code at an address of an image was compiled from, as its DWARF tells.
 *
 *     0x1140 ---> unit: DW_AT_comp_dir /w/build, DW_AT_name ../src/b/util.c  --->  /w/src/b/util.c
 *
 * Symbols tell the last part of the path only. Where an image, and its debug file, have no DWARF, nobody knows.
 */
#ifndef HP_REMOTE_SOURCE_H
#define HP_REMOTE_SOURCE_H

#include "remote/client.h"

/* Whether the code at value (an address less the image's bias) is from `source`, as it was named to a compiler that ran
 * in `folder`. False too where that is not known. */
bool hp_source_is(pid_t pid, const struct hp_remote_image *image, uint64_t value, const char *folder,
                  const char *source);

#endif
