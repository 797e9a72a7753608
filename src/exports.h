/* exports - makes the public functions visible and leaves everything else hidden.
 *
 * The sources are compiled with -fvisibility=hidden and with this file in front (-include). A function keeps the
 * visibility of its first declaration, so the definitions of what hotpatch.h declares are visible without a word at
 * each of them, in the static library as well.
 */
#if !defined(HP_EXPORTS_H) && !defined(__ASSEMBLER__)
#define HP_EXPORTS_H

/* The headers hotpatch.h includes come first: they are not ours to change. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#pragma GCC visibility push(default)
#include "hotpatch.h"
#pragma GCC visibility pop

#endif
