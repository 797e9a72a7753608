/* linker - words that the dynamic linker and libc keep of an image, told from those of the program.
 *
 *     link_map           {l_addr, l_ld, tables ...}            known by its address
 *     version table      {name, hash, ...} ...                 known by the hash of what the name points to
 *     object table       {low, high, link_map, unwind table}   found from the dynamic linker's data
 *     exit list          {flavour, function, argument, handle} found from libc's data
 *
 * dlclose would never be right if those counted; nothing else may be taken for them.
 */
#ifndef HP_BASE_LINKER_H
#define HP_BASE_LINKER_H

#include "base/loaded.h"

/* Whether the word is the dynamic linker's or libc's own, and goes when the library does: a field of its descriptions
 * of the image, or of an entry of the list of what is to be called at exit that belongs to the image. */
bool hp_linker_owns(const struct hp_loaded *loaded, const struct hp_hit *hit);

#endif
