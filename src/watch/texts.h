/* texts - the sources as they were when watching began, which is what the program was made from.
 *
 *     /w/project/src/a.c   copied ---> VIEW/w/project/src/a.c          base objects are compiled from there,
 *               /src/a.o   link   ---> VIEW/w/project/src/a.o          however often the file is saved
 *
 * All that looks like a source below the roots is copied before the first save can be seen: nobody knows yet what each
 * unit includes. The rest of the view are links (make/workspace.h).
 */
#ifndef HP_WATCH_TEXTS_H
#define HP_WATCH_TEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "make/workspace.h"

struct hp_text {
	char *path; /* absolute */
	uint64_t hash;
	struct timespec modified;
};

struct hp_texts {
	struct hp_workspace workspace;
	char *view;
	char **roots;
	size_t n_roots;
	struct hp_text *items; /* sorted by path */
	size_t count;
};

/* roots are copied. HOTPATCH_ENOFILE, HOTPATCH_ENOMEM. */
int hp_texts_take(struct hp_texts *texts, char *const *roots, size_t n_roots, struct hp_err *err) HP_MUST_CHECK;
void hp_texts_free(struct hp_texts *texts); /* one that was not taken is fine */

/* NULL: it was not there, or is no source. */
const struct hp_text *hp_texts_find(const struct hp_texts *texts, const char *path);

/* Whether it looks like one, by its name. */
bool hp_text_is_source(const char *path);

/* Whether the path lies below a root. */
bool hp_texts_has_root(const struct hp_texts *texts, const char *path);

/* Of what a file has, never 0; 0: it cannot be read. FNV-1a of 64 bits: it tells saves apart, not enemies. */
uint64_t hp_text_hash(const char *path);

#endif
