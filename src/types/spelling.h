/* spelling - a type as C writes it: "const char *", "int (*)(struct conn *, ...)", "char[64]".
 */
#ifndef HP_TYPES_SPELLING_H
#define HP_TYPES_SPELLING_H

#include "types/type.h"

#define HP_SPELLING_MAX 160

enum hp_spelling_mode {
	HP_SPELL_ALIASES,  /* typedefs by their names */
	HP_SPELL_RESOLVED, /* what they stand for */
};

/* Fills text; what does not fit ends in "...". */
struct hp_spelling {
	char text[HP_SPELLING_MAX];
};

/* The type that holder's DW_AT_type refers to. */
void hp_spell_type_of(const Dwarf_Die *holder, enum hp_spelling_mode mode, struct hp_spelling *ret_spelling);

/* A function, or a function type: "int (int, ...)". */
void hp_spell_function(const Dwarf_Die *function, enum hp_spelling_mode mode, struct hp_spelling *ret_spelling);

#endif
