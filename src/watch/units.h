/* units - the translation units of the program, the files each of them is made of, and how far each has got.
 *
 *     file saved ---> every unit that includes it is dirty ---> compiled from what is on disk ---> object, fresh
 *                          ^                                        |                                |
 *                          '--- failed: it stays so <---------------'        in a generation: applied = object
 *
 *     plain.o, old.o    the base: of the text of the start, compiled the first time the unit is dirty
 *     object            of the latest text that compiled
 *     applied           the object that the last generation has; NULL: the base
 *     part              of the functions that were changed, until the object of the same text comes (part.h)
 *
 * A file's hash is that of the bytes its units were last compiled from, or are to be: of the start, when nothing was
 * compiled yet. One that comes is touched, because nobody knows what happened to it before.
 */
#ifndef HP_WATCH_UNITS_H
#define HP_WATCH_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "make/compdb.h"
#include "make/unit.h"
#include "watch/objects.h"
#include "watch/part.h"
#include "watch/texts.h"

struct hp_source;

struct hp_source_file {
	char *path;
	uint64_t hash;          /* 0: it is not there */
	bool touched;           /* its bytes are to be compared with the hash, */
	double due;             /* not before then (CLOCK_MONOTONIC, ms) */
	bool is_open;           /* it was written to, and not closed since */
	bool was_read;          /* by a compiler while it was touched: nobody knows what that has seen */
	struct hp_source *unit; /* that is compiled from it; NULL: it is a header */
};

enum hp_base {
	HP_BASE_NONE,
	HP_BASE_COMPILING,
	HP_BASE_READY,
	HP_BASE_FAILED, /* the text of the start does not compile */
};

struct hp_source {
	const struct hp_compile *base, *compile; /* as it was compiled for the program, and now */
	const struct hp_compile *listed;         /* while a database is read */
	bool is_new;                             /* the program does not have it */
	bool is_dirty, is_failed, is_fresh;
	bool may_miss;     /* a file that came while it was compiled: where it fails it is tried again, */
	unsigned n_missed; /* so often in a row by now */
	size_t *files;     /* indexes, ascending */
	size_t n_files;
	bool knows_files; /* they are all that it includes, not only itself */
	enum hp_base state;
	char *plain, *old, *object, *applied; /* paths; object may be applied */
	char *said;                           /* by the compiler, of the last attempt, */
	bool is_untold;                       /* and nobody was told */
	double ms;                            /* it took */
	struct hp_part part;
	struct hp_objects read;   /* of all these */
	bool is_part;             /* what is fresh, or was made last, is the part, not the object */
	struct hp_make_unit made; /* base and object, or part, compared */
	bool is_made;
};

struct hp_units {
	char *database;               /* path */
	const struct hp_texts *texts; /* of the start; NULL: not taken yet */
	struct hp_compdb **dbs;
	size_t n_dbs;
	struct hp_source **v; /* addresses stay as they are */
	size_t n;
	struct hp_source_file *files;
	size_t n_files;
	void *by_path; /* tree */
};

/* The units that the database at path names. As hp_compdb_read. */
int hp_units_read(struct hp_units *units, const char *path, struct hp_err *err) HP_MUST_CHECK;
void hp_units_free(struct hp_units *units);

/* What was read is what the program was made from; texts lives longer. */
void hp_units_take_texts(struct hp_units *units, const struct hp_texts *texts);

/* The database was written anew: what it names now and did not is new, what is compiled otherwise is dirty. */
int hp_units_reread(struct hp_units *units, size_t *ret_changed, struct hp_err *err) HP_MUST_CHECK;

/* The folders that hold all of them: where git has its top, or what they have in common, or each. Allocated. */
int hp_units_roots(const struct hp_units *units, char ***ret_roots, size_t *ret_n, struct hp_err *err) HP_MUST_CHECK;
void hp_units_free_roots(char **roots, size_t n);

/* The index of a file; SIZE_MAX: no unit is made of it. */
size_t hp_units_file(const struct hp_units *units, const char *path);

/* The unit is made of that file too. */
int hp_unit_includes(struct hp_units *units, struct hp_source *unit, const char *path,
                     struct hp_err *err) HP_MUST_CHECK;
bool hp_unit_has_file(const struct hp_source *unit, size_t file);

/* All that a rule for make names; paths in a view (NULL: none) are taken out of it. System headers are left out: they
 * are not the program's. The rule is of the text of the start, in a view, or was made from what is on disk within the
 * last ms milliseconds; a file that nobody knew the unit to be made of, and that is another since, makes it dirty. */
int hp_unit_takes_rule(struct hp_units *units, struct hp_source *unit, char *rule, const char *view, double ms,
                       struct hp_err *err) HP_MUST_CHECK;

/* What the program is to have of it: its object or its part; NULL: nothing was compiled. */
const char *hp_unit_object(const struct hp_source *unit);

/* The object at path is not needed any more; *path is NULL then, and may have been. */
void hp_unit_remove_object(struct hp_source *unit, char **path);

/* The same of the part's. It is not applied any more, or never was. */
void hp_unit_remove_part(struct hp_source *unit);

/* The part is not to be, and was not: the object is what it was. */
void hp_unit_drop_part(struct hp_source *unit);

/* Its object is another now: what was compared is not true any more. */
void hp_unit_forget_made(struct hp_source *unit);

#endif
