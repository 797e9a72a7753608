/* symtab - the symbols of the program's own file, for programs that cannot load the inspect plugin: static ones.
 *
 * It answers two of the plugin's questions, what an address is called and which parts were split off a function, and
 * needs libc alone. The file is read once; what it says is checked against its size.
 */
#ifndef HP_BASE_SYMTAB_H
#define HP_BASE_SYMTAB_H

#include "base/inspector.h"

/* function_at and parts, as inspector.h tells; the other entries are NULL. */
extern const struct hp_inspector hp_symtab_inspector;

#endif
