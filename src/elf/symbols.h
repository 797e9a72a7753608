/* symbols - the functions of one image, by address: names, extents, marks, source files.
 *
 * From .symtab, of the image or of its separate debug file, else from .dynsym. A copy: no file stays open.
 *
 *     .symtab   FILE a.c | helper, helper.cold | FILE b.c | helper, draw.cold | ...  helper2, draw (global)
 *               '------- group 1 -------------'  '-------- group 2 ----------'       '----- group 0 -----'
 *
 * Local symbols follow the STT_FILE of their unit. That is how two static functions of one name are told apart, and
 * how a .cold part finds its function.
 */
#ifndef HP_ELF_SYMBOLS_H
#define HP_ELF_SYMBOLS_H

#include "elf/image.h"

struct hp_function {
	uint64_t value, size; /* size 0: unknown */
	const char *name;     /* without the version behind '@' */
	const char *path;     /* namespace path, "" */
	const char *unit;     /* of a local one: what its STT_FILE says, else "" */
	uint32_t group;       /* of a local one: number of its STT_FILE, else 0 */
	enum hp_mark mark;
	bool is_static;
	bool is_piece; /* split off another function: .cold, .part */
};

struct hp_symbols {
	struct hp_identity identity; /* of the image */
	uint8_t build_id[HP_BUILD_ID_MAX];
	size_t build_id_size;
	bool has_locals;                    /* from a .symtab: static functions and parts are known */
	struct hp_function *functions;      /* by value; of one value, the best name first */
	uint64_t *reach;                    /* per function, the highest end of it and all before it */
	const struct hp_function **by_name; /* made when a name is first asked for */
	size_t n_functions;
	char *strings, *section_names;
};

/* Reads what image and its debug file under debug_root say. An image without any symbol has no functions, which is
 * no error. */
int hp_symbols_read(const struct hp_image *image, const char *debug_root, struct hp_symbols **ret_symbols,
                    struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_symbols_free(struct hp_symbols *symbols);

/* The function whose extent covers value, by its best name; NULL where none does. */
const struct hp_function *hp_symbols_at(const struct hp_symbols *symbols, uint64_t value);

/* The functions that begin at value: *ret_count of them, the best name first. */
const struct hp_function *hp_symbols_entry(const struct hp_symbols *symbols, uint64_t value, size_t *ret_count);

/* All functions called name, *ret_count of them, in order of address. HOTPATCH_ENOMEM. */
int hp_symbols_named(struct hp_symbols *symbols, const char *name, const struct hp_function *const **ret_functions,
                     size_t *ret_count, struct hp_err *err) HP_MUST_CHECK;

/* The pieces split off the function that begins at value. Writes at most max; *ret_count is greater than max where
 * there are more. HOTPATCH_ENOMEM. */
int hp_symbols_pieces(struct hp_symbols *symbols, uint64_t value, struct hp_extent *ret_pieces, size_t max,
                      size_t *ret_count, struct hp_err *err) HP_MUST_CHECK;

#endif
