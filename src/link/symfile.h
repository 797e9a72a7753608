/* symfile - an ELF file in memory that tells debuggers about a patch: its symbols, and its DWARF, at their addresses.
 *
 *     ELF header, ET_EXEC
 *     .text.serve@fix ... .data.count   SHT_NOBITS at their addresses in the process; @: of which patch
 *     .debug_*                          relocated
 *     .symtab .strtab .shstrtab
 *     section headers
 *
 * What gdb reads through its JIT interface (gdb manual, "Using JIT Debug Info"). The size does not depend on the
 * addresses.
 */
#ifndef HP_LINK_SYMFILE_H
#define HP_LINK_SYMFILE_H

#include "link/relocate.h"

/* *ret_bytes is the caller's to free. HOTPATCH_ENOMEM; HOTPATCH_EINVAL: DWARF that cannot be relocated. */
int hp_symfile_make(const struct hp_linking *linking, uint8_t **ret_bytes, size_t *ret_size,
                    struct hp_err *err) HP_MUST_CHECK;

#endif
