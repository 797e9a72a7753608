/* debuginfo - the DWARF of one image: where its units lie, which entry describes a function, where a type is defined.
 *
 * Opened for the first comparison of types, not for names. The indexes are made of what is asked: the ranges of all
 * units at once, the functions of a unit when an address in it is asked for, the definitions of all tags when a
 * declaration has to be completed.
 */
#ifndef HP_TYPES_DEBUGINFO_H
#define HP_TYPES_DEBUGINFO_H

#include "elf/image.h"
#include "types/die.h"

struct hp_unit;
struct unit_range;
struct hp_tag;

struct hp_debuginfo {
	char *name; /* of the module, to say in sentences */
	struct hp_image *image;
	Dwarf *dwarf;
	struct hp_unit *units;
	size_t n_units;
	struct unit_range *ranges; /* code of units */
	size_t n_ranges;
	struct hp_tag *tags; /* by name; made when first needed */
	size_t n_tags;
	bool has_tags;
	const Dwarf_CU *asked; /* whether this unit is, was found out last */
	bool is_assembler;
};

/* HOTPATCH_ENOTYPE where neither path nor its debug file under debug_root has DWARF; HOTPATCH_ENOFILE where path is
 * not the file `identity` any more. */
int hp_debuginfo_open(const char *path, const char *name, const struct hp_identity *identity, const char *debug_root,
                      struct hp_debuginfo **ret_info, struct hp_err *err) HP_MUST_CHECK;

/* The same of a relocatable object, whose addresses are those of objdwarf.h. */
int hp_debuginfo_open_object(const char *path, struct hp_debuginfo **ret_info, struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_debuginfo_close(struct hp_debuginfo *info);

/* The entry of the function that begins at value. Where several do (identical code folded by the linker), or none has
 * the address (folded by the compiler), the one called name. HOTPATCH_ENOTYPE where no entry speaks of it, or its unit
 * is written in assembler. */
int hp_debuginfo_function(struct hp_debuginfo *info, uint64_t value, const char *name, bool is_static,
                          Dwarf_Die *ret_die, struct hp_err *err) HP_MUST_CHECK;

/* The definition of what declaration declares, in any unit of the image. *ret_found is false where there is none, or
 * several that differ in size, of which nobody can say which one is meant. HOTPATCH_ENOMEM, HOTPATCH_ENOTYPE. */
int hp_debuginfo_complete(struct hp_debuginfo *info, const Dwarf_Die *declaration, Dwarf_Die *ret_die, bool *ret_found,
                          struct hp_err *err) HP_MUST_CHECK;

/* Calls each for every structure, union and enumeration defined at the top of a unit until it returns non-zero, which
 * is returned. alias is the typedef that names one without a tag, else NULL. */
typedef int (*hp_debuginfo_each)(struct hp_debuginfo *info, const Dwarf_Die *die, const char *alias, void *arg,
                                 struct hp_err *err);
int hp_debuginfo_each_defined(struct hp_debuginfo *info, hp_debuginfo_each each, void *arg,
                              struct hp_err *err) HP_MUST_CHECK;

/* The definition here of what is called the same in another module: by the tag of other, or by alias. */
int hp_debuginfo_defined(struct hp_debuginfo *info, const Dwarf_Die *other, const char *alias, Dwarf_Die *ret_die,
                         bool *ret_found, struct hp_err *err) HP_MUST_CHECK;

#endif
