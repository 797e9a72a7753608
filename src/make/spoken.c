#include "make/spoken.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <string.h>

/* The beginning of a string, as it may stand in a sentence. */
static void describe_string(const uint8_t *bytes, uint64_t size, char *buffer, size_t room)
{
	size_t n = 0;

	for (uint64_t i = 0; i < size && bytes[i] && n + 8 < room && i < 40; i++)
		buffer[n++] = isprint(bytes[i]) ? (char)bytes[i] : '.';
	buffer[n] = '\0';
}

struct hp_atom_text hp_atom_describe(const struct hp_atoms *atoms, const struct hp_atom *atom)
{
	static const char *const kinds[] = {"function", "IFUNC", "part", "variable", "constant", "constant", "mark"};
	const uint8_t *bytes = hp_atom_bytes(atoms, atom);
	struct hp_atom_text text;
	char string[64] = "";

	if (*atom->name && atom->name[0] != '.') {
		snprintf(text.text, sizeof(text.text), "%s '%.120s'", kinds[atom->kind],
		         strchr(atom->scope, '/') ? atom->scope : atom->name);
		return text;
	}
	if (bytes && atom->section < atoms->object->n_sections &&
	    atoms->object->sections[atom->section].flags & SHF_STRINGS)
		describe_string(bytes, atom->size, string, sizeof(string));
	if (*string)
		snprintf(text.text, sizeof(text.text), "string \"%s\"", string);
	else
		snprintf(text.text, sizeof(text.text), "a constant");
	return text;
}
