/* choice - which of several commands that compile one source made the code that is to be patched.
 *
 *     lapi.c   gcc -c -fPIC lapi.c -o .libs/lapi.o       liblua5.4.so has its code
 *              gcc -c lapi.c -o lapi.o                   lua5.4 has its code
 *              g++ -c -fPIC lapi.c -o .libs/lapi-c++.o   is no C
 *
 * Build systems compile a source once for a library and once for a program, and often in ways that give other code.
 * Commands that differ in the output alone are one. Where more than one is left, the old source is compiled with each,
 * and their functions are looked up in the images that the patch is for. Commands that give the same code are alike; of
 * those one with -fPIC is taken, whose code may refer to anything wherever it is linked.
 */
#ifndef HP_MAKE_CHOICE_H
#define HP_MAKE_CHOICE_H

#include "make/compdb.h"
#include "make/workspace.h"

struct hp_choosing {
	const struct hp_compdb *db;
	const struct hp_workspace *workspace; /* for objects */
	const char *view;                     /* with the old sources */
	const char *const *images;            /* files that the patch is for; may be none */
	size_t n_images;
};

/* *ret_compile is NULL where no command compiles path (absolute). HOTPATCH_EREFUSED where only C++ does, where none of
 * several gives what the images have, or where it cannot be told which does; HOTPATCH_EBUILD where the old source does
 * not compile. */
int hp_choice_make(const struct hp_choosing *choosing, const char *path, const struct hp_compile **ret_compile,
                   struct hp_err *err) HP_MUST_CHECK;

#endif
