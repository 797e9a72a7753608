/* reach - whether a unit could include a changed file, found out by reading instead of by asking the compiler.
 *
 *     a.c --- "b.h" ---> src/b.h, include/b.h --- <stdio.h> ---> /usr/include/stdio.h --- ...
 *
 * A change of one file concerns few of a program's units, and a compiler takes as long as a blink for each to say so. A
 * no is certain: conditions are not evaluated, comments are read too, every name is followed into every folder that the
 * command or the system has, and a name that is the last part of a changed file's path is a yes wherever it leads. So
 * is what is no plain name (a macro behind #include, an @file). A yes is for the compiler to confirm.
 *
 * It is the text of before the change that is read, where the files lie: a unit that includes a changed file only since
 * the change does so by a changed file.
 */
#ifndef HP_CLI_REACH_H
#define HP_CLI_REACH_H

#include "make/compdb.h"

struct hp_reach;

/* changed: absolute paths, which are to live as long. NULL where memory is out. */
struct hp_reach *hp_reach_new(char *const *changed, size_t n_changed);

/* NULL is fine. */
void hp_reach_free(struct hp_reach *reach);

/* True also where memory is out. */
bool hp_reach_may(struct hp_reach *reach, const struct hp_compile *compile);

#endif
