/* runtime - where the library lies that commands put into programs. */
#ifndef HP_CLI_RUNTIME_H
#define HP_CLI_RUNTIME_H

#include <stddef.h>

#include "base/err.h"

/* The path of libhotpatch.so.0: beside the command, as in a build folder; in ../lib of it; where it was installed.
 * HOTPATCH_ENOFILE. */
int hp_runtime_find(char *ret_path, size_t size, struct hp_err *err) HP_MUST_CHECK;

#endif
