#include "elf/field.h"

#include <elf.h>
#include <stddef.h>

struct row {
	const char *name; /* NULL: no such type is known */
	struct hp_field field;
};

#define ROW(type, ...) [type] = {#type, {__VA_ARGS__}}

/* before and after are of the longest form. TLSGD: 66 48 8d 3d [field] 66 66 48 e8 [call]; TLSLD: 48 8d 3d [field] and
 * the call behind it, e8 [4] or ff 15 [4]. TLSDESC_CALL stands at ff 10, two bytes. HP_FIELD_REACH is no less than any.
 * By type: every relocation of an object asks several times. */
static const struct row rows[] = {
	ROW(R_X86_64_NONE, 0, 0, 0, false),         ROW(R_X86_64_64, 8, 0, 0, false),
	ROW(R_X86_64_32, 4, 0, 0, false),           ROW(R_X86_64_32S, 4, 0, 0, false),
	ROW(R_X86_64_16, 2, 0, 0, false),           ROW(R_X86_64_8, 1, 0, 0, false),
	ROW(R_X86_64_PC64, 8, 0, 0, true),          ROW(R_X86_64_PC32, 4, 0, 0, true),
	ROW(R_X86_64_PC16, 2, 0, 0, true),          ROW(R_X86_64_PC8, 1, 0, 0, true),
	ROW(R_X86_64_PLT32, 4, 0, 0, true),         ROW(R_X86_64_PLTOFF64, 8, 0, 0, false),
	ROW(R_X86_64_GOT32, 4, 0, 0, false),        ROW(R_X86_64_GOT64, 8, 0, 0, false),
	ROW(R_X86_64_GOTOFF64, 8, 0, 0, false),     ROW(R_X86_64_GOTPC32, 4, 0, 0, true),
	ROW(R_X86_64_GOTPC64, 8, 0, 0, true),       ROW(R_X86_64_GOTPCREL, 4, 3, 0, true),
	ROW(R_X86_64_GOTPCREL64, 8, 0, 0, true),    ROW(R_X86_64_GOTPCRELX, 4, 2, 0, true),
	ROW(R_X86_64_REX_GOTPCRELX, 4, 3, 0, true), ROW(R_X86_64_SIZE32, 4, 0, 0, false),
	ROW(R_X86_64_SIZE64, 8, 0, 0, false),       ROW(R_X86_64_TPOFF32, 4, 0, 0, false),
	ROW(R_X86_64_TPOFF64, 8, 0, 0, false),      ROW(R_X86_64_DTPOFF32, 4, 0, 0, false),
	ROW(R_X86_64_DTPOFF64, 8, 0, 0, false),     ROW(R_X86_64_DTPMOD64, 8, 0, 0, false),
	ROW(R_X86_64_GOTTPOFF, 4, 3, 0, true),      ROW(R_X86_64_TLSGD, 4, 4, 8, true),
	ROW(R_X86_64_TLSLD, 4, 3, 6, true),         ROW(R_X86_64_GOTPC32_TLSDESC, 4, 3, 0, true),
	ROW(R_X86_64_TLSDESC_CALL, 0, 0, 2, false),
};

static const struct row *find_row(uint32_t type)
{
	return type < sizeof(rows) / sizeof(rows[0]) && rows[type].name ? &rows[type] : NULL;
}

bool hp_field_of(uint32_t type, struct hp_field *ret_field)
{
	const struct row *row = find_row(type);

	if (row)
		*ret_field = row->field;
	return row;
}

const char *hp_field_name(uint32_t type)
{
	const struct row *row = find_row(type);
	return row ? row->name : NULL;
}
