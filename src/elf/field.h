/* field - the bytes that a relocation fills in, and those around it that a linker may rewrite.
 *
 *     48 8b 05 [....]    mov x@GOTPCREL(%rip),%rax    R_X86_64_REX_GOTPCRELX   field 3..7
 *     48 8d 05 [....]    lea x(%rip),%rax             what the linker makes of it: the instruction is 0..7
 *
 * x86-64 psABI 4.4 (relocation types), B.2 (relaxation of GOT accesses), and ELF Handling For Thread-Local Storage 5.
 */
#ifndef HP_ELF_FIELD_H
#define HP_ELF_FIELD_H

#include <stdbool.h>
#include <stdint.h>

struct hp_field {
	uint8_t size;          /* of the field; 0 for a type that fills in nothing */
	uint8_t before, after; /* more bytes before and behind it that may be rewritten */
	bool is_relative;      /* to the address of the field */
};

/* No byte of a field, or around it, is further from where the relocation stands. */
#define HP_FIELD_REACH 16

/* False for a type that is not known. */
bool hp_field_of(uint32_t type, struct hp_field *ret_field);

/* "R_X86_64_PC32"; NULL for a type that is not known. */
const char *hp_field_name(uint32_t type);

#endif
