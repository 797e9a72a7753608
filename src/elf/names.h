/* names - what an image calls certain names: functions, variables, thread-locals, local and global, defined or not.
 *
 *     .symtab   FILE a.c | count, serve, serve.cold | FILE b.c | count, draw | ...  serve2, environ@GLIBC_2.2.5
 * (global)
 *               '------ group 1 ----------------'  '----- group 2 -----'          '---- group 0 ----------'
 *
 * From .symtab, of the image or of its separate debug file, else from .dynsym. Only what is wanted is kept, with the
 * pieces that compilers split off it (serve.cold): an image has a hundred thousand symbols, a patch refers to twenty.
 * A copy: no file stays open.
 */
#ifndef HP_ELF_NAMES_H
#define HP_ELF_NAMES_H

#include "elf/image.h"

struct hp_name {
	const char *name;    /* without the version */
	const char *version; /* behind '@' or '@@', "" */
	const char *unit;    /* of a local one: what its STT_FILE says, else "" */
	uint32_t group;      /* of a local one: number of its STT_FILE, else 0 */
	uint64_t value, size;
	bool is_defined, is_local;
	uint8_t type; /* STT_ */
};

struct hp_names {
	struct hp_name *v; /* by name, then in the order of the table */
	size_t n;
	bool has_locals;   /* from a .symtab */
	bool binds_itself; /* linked with -Bsymbolic: its own definitions win */
	uint32_t n_groups; /* groups are numbered from 1 to this */
	char *strings;
	unsigned n_more; /* who has them beside the one that read them */
};

/* wanted: sorted by strcmp. */
int hp_names_read(const struct hp_image *image, const char *debug_root, const char *const *wanted, size_t n_wanted,
                  struct hp_names **ret_names, struct hp_err *err) HP_MUST_CHECK;

/* Somebody else has them too, and frees them. */
struct hp_names *hp_names_share(struct hp_names *names);

/* NULL is fine. */
void hp_names_free(struct hp_names *names);

/* Those called exactly name: *ret_count of them. */
const struct hp_name *hp_names_find(const struct hp_names *names, const char *name, size_t *ret_count);

/* Those whose names begin with `of` and a dot, among them all its pieces: *ret_count of them. */
const struct hp_name *hp_names_pieces(const struct hp_names *names, const char *of, size_t *ret_count);

/* Whether name is what a compiler split off the function called `of`: of.cold, of.part.0. */
bool hp_names_is_piece(const char *name, const char *of);

/* Whether the piece is of that function: of a static one, if it is in its unit; of a global one, if it is in one
 * without a static function of that name, whose piece it would be. */
bool hp_names_is_part(const struct hp_names *names, const struct hp_name *function, const struct hp_name *piece);

#endif
