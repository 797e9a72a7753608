/* cfi - unwinding by the call frame information in .eh_frame.
 *
 * One step takes the registers of a frame to those of its caller, by the rules of DWARF 5 section 6.4 in the encoding
 * of the Linux Standard Base (.eh_frame, .eh_frame_hdr). Nothing allocates, locks or calls the dynamic linker, so a
 * step may be taken while the thread that is looked at is held in a signal handler.
 *
 *     .eh_frame_hdr: version, encodings, [function address, FDE address] sorted       -> binary search
 *     .eh_frame:     CIE (how to read, first rules) <- FDE (begin, length, rules by address)
 *
 * A register is known or not: of a thread blocked in the kernel one sees only two. A rule that needs an unknown one
 * makes the step fail, which its caller counts as unsafe.
 */
#ifndef HP_BASE_CFI_H
#define HP_BASE_CFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"

struct hp_regs {
	uintptr_t value[HP_REG_COUNT];
	uint64_t known; /* bit n: value[n] holds */
	bool exact_ip;  /* the instruction pointer of an interrupted frame, not a return address */
};

/* Reads one word of the stack that is unwound; false when it cannot be read. */
typedef bool (*hp_cfi_read)(uintptr_t address, uintptr_t *ret_word, void *arg);

struct hp_cfi_entry {
	uintptr_t begin;
	const uint8_t *fde;
};

/* The tables of one image: either the linker's sorted header or an index built from a scan of .eh_frame. */
struct hp_cfi {
	const uint8_t *header, *header_end; /* .eh_frame_hdr; NULL when there is none */
	const uint8_t *low, *high;          /* readable memory that the tables lie in */
	struct hp_cfi_entry *index;         /* sorted by begin; NULL when header is used */
	size_t n_index;
};

/* What one function description entry says. */
struct hp_fde {
	uintptr_t begin, end;             /* [begin, end) */
	const uint8_t *first, *first_end; /* instructions of the CIE */
	const uint8_t *rules, *rules_end; /* and of the FDE */
	uintptr_t code_align;
	intptr_t data_align;
	unsigned return_column;
	uint8_t pointers;  /* encoding of addresses */
	bool signal_frame; /* augmentation S: the caller was interrupted, its address is exact */
	bool has_lsda;     /* exceptions are handled or cleaned up after: control may come from the unwinder */
};

/* Indexes .eh_frame [begin, end) into cfi->index with memory from malloc: for images without a header. False when
 * memory is out or the section makes no sense. */
bool hp_cfi_index(struct hp_cfi *cfi, const uint8_t *begin, const uint8_t *end);

/* Whether a thread that stands at pc, in fde, has its return address in memory, above its stack pointer. */
bool hp_cfi_return_stored(const struct hp_fde *fde, uintptr_t pc);

/* The entry that covers pc; false when none does. */
bool hp_cfi_find(const struct hp_cfi *cfi, uintptr_t pc, struct hp_fde *ret_fde);

enum hp_cfi_step {
	HP_CFI_STEPPED,
	HP_CFI_OUTERMOST, /* the frame has no caller */
	HP_CFI_LOST,      /* a rule could not be followed */
};

/* Takes regs, a frame in fde, to its caller. */
enum hp_cfi_step hp_cfi_step(const struct hp_cfi *cfi, const struct hp_fde *fde, struct hp_regs *regs, hp_cfi_read read,
                             void *arg);

#endif
