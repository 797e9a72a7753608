/* compdb - how each source file was compiled, from compile_commands.json.
 *
 *     { "directory": "/w/build", "file": "../src/a.c", "command": "ccache gcc -DX='1 2' -c ../src/a.c -o a.o" }
 *
 * JSON Compilation Database Format Specification (clang). `command` is split as a POSIX shell would, but expands
 * nothing.
 */
#ifndef HP_MAKE_COMPDB_H
#define HP_MAKE_COMPDB_H

#include <stddef.h>

#include "base/err.h"

struct hp_compile {
	char *source; /* as the command names it */
	char *path;   /* the same, absolute, without "." and ".." */
	char *folder; /* absolute */
	char **words; /* compiler first, without what stands before it; ends in NULL */
	size_t n_words;
};

struct hp_compdb {
	char *path;
	struct hp_compile *items; /* of each source file the last entry */
	size_t count;
};

/* HOTPATCH_ENOFILE, HOTPATCH_EBUILD where it is not as it is to be. */
int hp_compdb_read(const char *path, struct hp_compdb **ret_db, struct hp_err *err) HP_MUST_CHECK;
int hp_compdb_parse(const char *text, size_t size, const char *path, struct hp_compdb **ret_db,
                    struct hp_err *err) HP_MUST_CHECK;

/* NULL is fine. */
void hp_compdb_free(struct hp_compdb *db);

/* The entry of an absolute path; NULL. */
const struct hp_compile *hp_compdb_find(const struct hp_compdb *db, const char *path);

/* path under folder (which may be relative, and NULL the current one), absolute, without "." and ".."; allocated. */
char *hp_path_resolve(const char *folder, const char *path);

/* Words with quotes where a shell needs them; allocated. */
char *hp_words_join(char *const *words);

#endif
