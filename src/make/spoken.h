/* spoken - what an atom is called in a sentence. */
#ifndef HP_MAKE_SPOKEN_H
#define HP_MAKE_SPOKEN_H

#include "make/atoms.h"

/* "function 'serve'", "string \"hello\"": for sentences. */
struct hp_atom_text {
	char text[160];
};
struct hp_atom_text hp_atom_describe(const struct hp_atoms *atoms, const struct hp_atom *atom);

#endif
