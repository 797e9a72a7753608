/* objdwarf - DWARF of relocatable objects.
 *
 *     .debug_info of an object:  DW_AT_low_pc 0   (a relocation: section 7 + 0)    --->   0x0000000700000000
 *
 * libdw reads objects as they are, but in these all references between sections and to code are relocations. They are
 * carried out in libelf's copy, every section to be loaded being given addresses of its own: its index in the upper
 * half. What DW_OP_addr and DW_AT_low_pc say then tells section and offset.
 */
#ifndef HP_TYPES_OBJDWARF_H
#define HP_TYPES_OBJDWARF_H

#include "elf/image.h"

/* HOTPATCH_ENOTYPE where a relocation leaves its section. Before libdw begins with the image. */
int hp_objdwarf_relocate(const struct hp_image *image, struct hp_err *err) HP_MUST_CHECK;

static inline uint64_t hp_objdwarf_address(uint32_t section, uint64_t offset)
{
	return (uint64_t)section << 32 | (uint32_t)offset;
}

static inline uint32_t hp_objdwarf_section(uint64_t address)
{
	return (uint32_t)(address >> 32);
}

/* gcc gives the place of a thread-local in four bytes only: the section's index is in the upper half of those. */
static inline uint64_t hp_objdwarf_widen(uint64_t small)
{
	return small >> 32 ? small : hp_objdwarf_address((uint32_t)(small >> 16), small & 0xffff);
}

#endif
