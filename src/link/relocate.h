/* relocate - the bytes of a patch as they will be in a process: its sections with every relocation computed.
 *
 *     layout (where) + base + what each binding is in the process  --->  bytes of the region, finished
 *
 * The instruction set says what a relocation type asks for (arch.h); one switch here computes it and checks that it
 * fits. A call, or the address of a function, that is out of reach goes through a far call; data that is out of reach
 * is an error.
 */
#ifndef HP_LINK_RELOCATE_H
#define HP_LINK_RELOCATE_H

#include "link/layout.h"

/* What an undefined symbol is in the process; all zero: a weak one that is absent. Of a defined one it is what takes
 * its place, if is_elsewhere says so. */
struct hp_resolved {
	uint64_t address;
	uint64_t size;
	bool is_elsewhere;
	bool is_function; /* may be reached through a far call */
	bool is_thread_local;
	uint64_t tls_module; /* the dynamic linker's number of its image */
	uint64_t tls_value;  /* offset in the image's block */
	bool is_static_tls;  /* the block is at one offset in all threads */
	int64_t tls_block;   /* that offset, from the thread pointer */
};

struct hp_linking {
	const struct hp_layout *layout;
	uint64_t base;                     /* address of the region */
	const struct hp_resolved *symbols; /* by symbol */
	uint64_t tls_code; /* what descriptors of thread-local variables lead to; 0: they cannot be made */
};

/* The address a defined symbol will have; 0 where it is in no section that goes into memory. */
uint64_t hp_linking_address(const struct hp_linking *linking, uint32_t symbol);

/* All of the region: layout->size bytes. HOTPATCH_EINVAL naming file, section, symbol and type. */
int hp_relocate(const struct hp_linking *linking, uint8_t *bytes, struct hp_err *err) HP_MUST_CHECK;

/* One section that is not in memory (.debug_*), in place: `bytes` are a copy of its own. */
int hp_relocate_section(const struct hp_linking *linking, uint32_t section, uint8_t *bytes,
                        struct hp_err *err) HP_MUST_CHECK;

/* What S is, by the field that a linker filled in: `at` are the bytes of it, at `address` in the process. false where
 * the type does not tell, as of what goes through a table. */
bool hp_relocation_read(const struct hp_patch_reloc *reloc, const uint8_t *at, uint64_t address, uint64_t *ret_target);

#endif
