/* layout - where everything of a patch file goes in a process, before it is known at which address.
 *
 *     base   code   sections of code | far calls: jmp *slot(%rip)          read, execute
 *            const  constants, tables | global offset table | .eh_frame 0  read
 *            data   variables | zeroes                                     read, write
 *
 * Each zone begins at a page of its own. The tool finishes all bytes, so that the table of offsets and what compilers
 * put into .data.rel.ro are never writable in the process. A far call is 16 bytes that jump through an entry of the
 * table; one is kept for every symbol that may turn out to be out of a relocation's reach.
 */
#ifndef HP_LINK_LAYOUT_H
#define HP_LINK_LAYOUT_H

#include "elf/patchfile.h"

enum hp_zone { HP_ZONE_CODE, HP_ZONE_CONST, HP_ZONE_DATA, HP_ZONES, HP_ZONE_NONE = HP_ZONES };

/* What an entry of the table holds. The third takes two words, the fourth too. */
enum hp_entry_of {
	HP_GOT_ADDRESS,
	HP_GOT_TLS_OFFSET,
	HP_GOT_TLS_PAIR,
	HP_GOT_TLS_MODULE,
	HP_GOT_TLS_DESCRIPTOR,
	HP_GOT_KINDS
};

#define HP_NOWHERE UINT32_MAX

struct hp_section_place {
	uint32_t zone; /* enum hp_zone; HP_ZONE_NONE: not in the process's memory */
	uint32_t offset;
};

struct hp_symbol_place {
	uint32_t got[HP_GOT_KINDS]; /* offsets from the base, or HP_NOWHERE */
	uint32_t far;
};

struct hp_layout {
	const struct hp_patchfile *file; /* lives longer */
	struct hp_section_place *sections;
	struct hp_symbol_place *symbols;
	struct {
		uint32_t offset, size; /* in bytes used; the zone goes to the end of its last page */
	} zones[HP_ZONES];
	uint32_t size;                    /* whole pages */
	uint32_t got;                     /* base of the global offset table */
	uint32_t eh_frame, eh_frame_size; /* with the four zeroes that end it; size 0: none */
	bool is_low;                      /* code holds addresses of its own in 32 bits: it goes below 2 GiB */
};

/* HOTPATCH_EINVAL naming the section that cannot be brought into a process: thread-local, constructor. */
int hp_layout_make(const struct hp_patchfile *file, size_t page, struct hp_layout **ret_layout,
                   struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_layout_free(struct hp_layout *layout);

/* Whether a relocation type keeps room for a far call to its symbol. */
bool hp_layout_may_be_far(uint32_t type);

#endif
