#include "watch/units.h"

#include <errno.h>
#include <search.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "types/array.h"
#include "watch/includes.h"

/* A node of the tree of paths: files are found by their paths, and moved when there are more. */
struct place {
	const char *path;
	size_t index;
};

static int no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the files of the program");
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

static int compare_places(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

size_t hp_units_file(const struct hp_units *units, const char *path)
{
	struct place key = {path, 0}, **found = tfind(&key, &units->by_path, compare_places);

	return found ? (*found)->index : SIZE_MAX;
}

/* What it had when watching began, or has. */
static uint64_t first_hash(const struct hp_units *units, const char *path)
{
	const struct hp_text *text = units->texts ? hp_texts_find(units->texts, path) : NULL;
	return text ? text->hash : hp_text_hash(path);
}

void hp_units_take_texts(struct hp_units *units, const struct hp_texts *texts)
{
	units->texts = texts;
	for (size_t i = 0; i < units->n_files; i++)
		units->files[i].hash = first_hash(units, units->files[i].path);
}

static int add_file(struct hp_units *units, const char *path, size_t *ret, struct hp_err *err)
{
	struct hp_source_file *files = hp_array_grow(units->files, units->n_files, sizeof(*files));
	struct place *place = malloc(sizeof(*place));
	char *copy = strdup(path);

	if (files)
		units->files = files;
	if (!files || !place || !copy) {
		free(place);
		free(copy);
		return no_memory(err);
	}
	*place = (struct place){copy, units->n_files};
	if (!tsearch(place, &units->by_path, compare_places)) {
		free(place);
		free(copy);
		return no_memory(err);
	}
	files[units->n_files] = (struct hp_source_file){
		.path = copy,
		.hash = first_hash(units, copy),
		.touched = true,
	};
	*ret = units->n_files++;
	return 0; /* NOLINT(-Wanalyzer-malloc-leak): the tree and the files have them */
}

/* Where index is, or would be put. */
static size_t place_in(const struct hp_source *unit, size_t file)
{
	size_t low = 0, high = unit->n_files;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (unit->files[middle] < file)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool hp_unit_has_file(const struct hp_source *unit, size_t file)
{
	size_t at = place_in(unit, file);
	return at < unit->n_files && unit->files[at] == file;
}

int hp_unit_includes(struct hp_units *units, struct hp_source *unit, const char *path, struct hp_err *err)
{
	size_t file = hp_units_file(units, path);
	int r = file == SIZE_MAX ? add_file(units, path, &file, err) : 0;

	if (r < 0 || hp_unit_has_file(unit, file))
		return r;
	size_t at = place_in(unit, file), *files = hp_array_grow(unit->files, unit->n_files, sizeof(*files));
	if (!files)
		return no_memory(err);
	unit->files = files;
	memmove(files + at + 1, files + at, (unit->n_files - at) * sizeof(*files));
	files[at] = file;
	unit->n_files++;
	return 0;
}

static bool begins(const char *path, const char *with)
{
	return strncmp(path, with, strlen(with)) == 0;
}

static bool is_system(const char *path)
{
	return begins(path, "/usr/") || begins(path, "/lib/") || begins(path, "/nix/") || begins(path, "/gnu/");
}

/* What was not watched for the unit's sake while it was read. */
static bool is_younger(const char *path, double ms)
{
	struct stat status;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (stat(path, &status) < 0)
		return true;
	double age = (double)(now.tv_sec - status.st_mtim.tv_sec) * 1e3 +
	             (double)(now.tv_nsec - status.st_mtim.tv_nsec) / 1e6;
	return age >= 0 && age <= ms + 5;
}

/* Other units' saves of it were compared while nobody knew that it is this one's, too. */
static int take_name(struct hp_units *units, struct hp_source *unit, const char *path, bool is_in_view, double ms,
                     struct hp_err *err)
{
	size_t n_before = unit->n_files;
	int r = hp_unit_includes(units, unit, path, err);

	if (r < 0 || unit->n_files == n_before)
		return r;
	struct hp_source_file *file = &units->files[hp_units_file(units, path)];
	if (is_in_view ? file->hash != first_hash(units, path) : is_younger(path, ms))
		unit->is_dirty = file->touched = true;
	return 0;
}

int hp_unit_takes_rule(struct hp_units *units, struct hp_source *unit, char *rule, const char *view, double ms,
                       struct hp_err *err)
{
	size_t length = view ? strlen(view) : 0;
	char *at = NULL;
	int r = 0;

	for (const char *name; r == 0 && (name = hp_includes_next(rule, &at));) {
		char *path = hp_path_resolve(unit->compile->folder, name);
		if (!path)
			return no_memory(err);
		const char *real = length && strncmp(path, view, length) == 0 ? path + length : path;
		if (!is_system(real))
			r = take_name(units, unit, real, view != NULL, ms, err);
		free(path);
	}
	return r;
}

/* -- Units ----------------------------------------------------------------------------------------------------- */

void hp_unit_forget_made(struct hp_source *unit)
{
	if (unit->is_made)
		hp_unit_free(&unit->made);
	unit->is_made = false;
}

const char *hp_unit_object(const struct hp_source *unit)
{
	return unit->is_part ? unit->part.object : unit->object;
}

void hp_unit_remove_object(struct hp_source *unit, char **path)
{
	if (*path)
		hp_objects_remove(&unit->read, *path);
	free(*path);
	*path = NULL;
}

void hp_unit_remove_part(struct hp_source *unit)
{
	hp_unit_remove_object(unit, &unit->part.object);
	unit->part.is_applied = false;
}

void hp_unit_drop_part(struct hp_source *unit)
{
	if (!unit->is_part)
		return;
	hp_unit_forget_made(unit);
	hp_unit_remove_part(unit);
	unit->is_part = false;
	unit->is_fresh = unit->object && unit->object != unit->applied;
}

static void free_unit(struct hp_source *unit)
{
	hp_unit_forget_made(unit);
	free(unit->files);
	free(unit->plain);
	free(unit->old);
	if (unit->applied != unit->object)
		free(unit->applied);
	free(unit->object);
	hp_part_free(&unit->part);
	hp_objects_free(&unit->read);
	free(unit->said);
	free(unit);
}

static int add_unit(struct hp_units *units, const struct hp_compile *compile, bool is_new, struct hp_source **ret,
                    struct hp_err *err)
{
	struct hp_source *unit = calloc(1, sizeof(*unit)),
			 **v = hp_array_grow(units->v, units->n, sizeof(struct hp_source *));

	if (v)
		units->v = v;
	if (!unit || !v) {
		free(unit);
		return no_memory(err);
	}
	*unit = (struct hp_source){.base = compile, .compile = compile, .is_new = is_new, .is_dirty = is_new};
	v[units->n++] = *ret = unit;
	int r = hp_unit_includes(units, unit, compile->path, err);
	if (r == 0)
		units->files[hp_units_file(units, compile->path)].unit = unit;
	return r;
}

static bool same_command(const struct hp_compile *a, const struct hp_compile *b)
{
	if (strcmp(a->folder, b->folder) != 0 || a->n_words != b->n_words)
		return false;
	for (size_t i = 0; i < a->n_words; i++)
		if (strcmp(a->words[i], b->words[i]) != 0)
			return false;
	return true;
}

static struct hp_source *find_unit(const struct hp_units *units, const char *path)
{
	size_t file = hp_units_file(units, path);
	return file == SIZE_MAX ? NULL : units->files[file].unit;
}

/* Of a source that is compiled more than once the last entry counts, as in hp_compdb_find. */
static int list_entries(struct hp_units *units, const struct hp_compdb *db, bool is_first, struct hp_err *err)
{
	int r = 0;

	for (size_t i = 0; i < db->count && r == 0; i++) {
		struct hp_source *unit = find_unit(units, db->items[i].path);
		if (!unit)
			r = add_unit(units, &db->items[i], !is_first, &unit, err);
		if (r == 0) /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there is one by now */
			unit->listed = &db->items[i];
	}
	return r;
}

static int take_db(struct hp_units *units, struct hp_compdb *db, size_t *ret_changed, struct hp_err *err)
{
	size_t n_before = units->n;
	bool is_first = units->n_dbs == 0;
	struct hp_compdb **dbs = hp_array_grow(units->dbs, units->n_dbs, sizeof(struct hp_compdb *));

	if (!dbs) {
		hp_compdb_free(db);
		return no_memory(err);
	}
	units->dbs = dbs;
	dbs[units->n_dbs++] = db;
	int r = list_entries(units, db, is_first, err);
	*ret_changed = units->n - n_before;
	for (size_t i = 0; i < units->n; i++) {
		struct hp_source *unit = units->v[i];
		if (unit->listed && !same_command(unit->compile, unit->listed)) {
			unit->is_dirty = !is_first;
			*ret_changed += 1;
		}
		if (unit->listed)
			unit->compile = unit->listed;
		if (is_first)
			unit->base = unit->compile;
		unit->listed = NULL;
	}
	return r;
}

int hp_units_reread(struct hp_units *units, size_t *ret_changed, struct hp_err *err)
{
	struct hp_compdb *db = NULL;
	int r = hp_compdb_read(units->database, &db, err);

	return r < 0 ? r : take_db(units, db, ret_changed, err);
}

int hp_units_read(struct hp_units *units, const char *path, struct hp_err *err)
{
	size_t changed;

	*units = (struct hp_units){.database = hp_path_resolve(NULL, path)};
	int r = units->database
	                ? hp_units_reread(units, &changed, err)
	                : hp_err_system(err, HOTPATCH_ENOFILE, errno,
	                                "cannot tell where '%s' is, since the current folder cannot be told", path);
	if (r == 0 && !units->n)
		r = hp_err_set(err, HOTPATCH_EBUILD, "'%s' names no source file", path);
	if (r < 0)
		hp_units_free(units);
	return r;
}

void hp_units_free(struct hp_units *units)
{
	for (size_t i = 0; i < units->n; i++)
		free_unit(units->v[i]);
	for (size_t i = 0; i < units->n_dbs; i++)
		hp_compdb_free(units->dbs[i]);
	tdestroy(units->by_path, free);
	for (size_t i = 0; i < units->n_files; i++)
		free(units->files[i].path);
	free(units->v);
	free(units->dbs);
	free(units->files);
	free(units->database);
	*units = (struct hp_units){0};
}
