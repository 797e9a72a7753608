/* unit - one translation unit compiled before and after a change, and compared.
 *
 *     old source --recorded command------------------------> plain.o   the old code as the program has it
 *                --the same, in sections, with -g----------> old.o  --.
 *     new source --the same, in sections, with -g----------> new.o  --'--> diff
 *
 * The three run at the same time. Objects that are there already are compared as they are.
 */
#ifndef HP_MAKE_UNIT_H
#define HP_MAKE_UNIT_H

#include "make/command.h"
#include "make/select.h"
#include "make/workspace.h"

/* Compiles in the views and fills source, folder, command, plain and diff. HOTPATCH_EBUILD where the compiler refuses;
 * its messages have gone to standard error. */
int hp_unit_compile(const struct hp_compile *compile, const struct hp_workspace *workspace, size_t number,
                    const char *old_view, const char *new_view, struct hp_make_unit *ret_unit,
                    struct hp_err *err) HP_MUST_CHECK;

/* The same of what was compiled and read already: old and new in sections, plain as recorded, or NULL: the old object
 * is that. Takes all three, also on failure. */
int hp_unit_of_atoms(const struct hp_compile *compile, struct hp_object *plain, struct hp_atoms *old_atoms,
                     struct hp_atoms *new_atoms, struct hp_make_unit *ret_unit, struct hp_err *err) HP_MUST_CHECK;

/* Of two objects, which have to be in sections. */
int hp_unit_of_objects(const char *old_path, const char *new_path, struct hp_make_unit *ret_unit,
                       struct hp_err *err) HP_MUST_CHECK;

/* Frees what is in it. */
void hp_unit_free(struct hp_make_unit *unit);

#endif
