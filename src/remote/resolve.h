/* resolve - what a patch refers to in a process: an address, or a thread-local's place, for each binding.
 *
 *     static of a unit           the unit's symbols in the file of its image   (match.h says which unit)
 *     global                     the image's own definition, where it is not one that others may come before;
 *                                else as the dynamic linker binds a reference in that image (the agent asks it)
 *     new in an earlier patch    what that patch's notes say
 *
 * A function that is patched already is bound to by its entry, so that the definition in force is called.
 */
#ifndef HP_REMOTE_RESOLVE_H
#define HP_REMOTE_RESOLVE_H

#include "remote/match.h"
#include "link/relocate.h"

/* *ret_symbols: by symbol of the file, for hp_linking; the caller's to free. HOTPATCH_ENOSYM, EAMBIGUOUS with the
 * candidates. */
int hp_resolve(struct hp_view *view, const struct hp_patchfile *file, const struct hp_match *match,
               struct hp_resolved **ret_symbols, struct hp_err *err) HP_MUST_CHECK;

#endif
