/* named - the files that a unified diff names.
 *
 *     --- a/src/x.c<tab>time          with one leading part left out: ROOT/src/x.c
 *     +++ b/src/x.c
 */
#ifndef HP_CLI_NAMED_H
#define HP_CLI_NAMED_H

#include <stddef.h>

#include "base/err.h"

struct hp_named {
	char **v; /* absolute, each once */
	size_t n;
};

/* root: absolute. /dev/null, and what has fewer parts than `strip`, is no file. HOTPATCH_EBUILD where one is not below
 * root. *ret_named is filled also on failure, as far as it was read. */
int hp_named_read(const char *text, const char *root, int strip, struct hp_named *ret_named,
                  struct hp_err *err) HP_MUST_CHECK;
void hp_named_free(struct hp_named *named);

#endif
