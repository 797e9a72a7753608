#include "make/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int no_memory(const char *source, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to compile '%s'", source);
}

/* -- Comparing ------------------------------------------------------------------------------------------------- */

/* Functions that share a section call each other without relocations, so that neither can be compared for itself. */
static int check_sections(const struct hp_atoms *atoms, struct hp_err *err)
{
	for (size_t i = 0; i + 1 < atoms->count; i++) {
		const struct hp_atom *atom = &atoms->items[i];
		if (atom->kind > HP_ATOM_PART || atom->section >= atoms->object->n_sections ||
		    strcmp(atoms->object->sections[atom->section].name, ".text") != 0 ||
		    atom[1].section != atom->section)
			continue;
		return hp_err_set(
			err, HOTPATCH_EREFUSED,
			"the functions of '%s' share a section, so that they cannot be compared one by one: compile "
			"with -ffunction-sections -fdata-sections",
			atoms->object->name);
	}
	return 0;
}

/* Takes both, also on failure. */
static int compare(struct hp_atoms *old_atoms, struct hp_atoms *new_atoms, struct hp_diff **ret_diff,
                   struct hp_err *err)
{
	int r = check_sections(old_atoms, err);

	if (r == 0)
		r = check_sections(new_atoms, err);
	if (r == 0)
		return hp_diff_make(old_atoms, new_atoms, ret_diff, err);
	hp_atoms_free(old_atoms);
	hp_atoms_free(new_atoms);
	return r;
}

static int read_both(const char *old_path, const char *new_path, struct hp_atoms **ret_old, struct hp_atoms **ret_new,
                     struct hp_err *err)
{
	int r = hp_atoms_read(old_path, NULL, ret_old, err);

	if (r < 0 || (r = hp_atoms_read(new_path, *ret_old, ret_new, err)) == 0)
		return r;
	hp_atoms_free(*ret_old);
	return r;
}

int hp_unit_of_objects(const char *old_path, const char *new_path, struct hp_make_unit *ret_unit, struct hp_err *err)
{
	struct hp_make_unit unit = {.source = strdup(new_path),
	                            .folder = strdup(""),
	                            .command = strdup(""),
	                            .keep_debug = true};
	struct hp_atoms *old_atoms, *new_atoms;
	int r = unit.source && unit.folder && unit.command ? 0 : no_memory(new_path, err);

	if (r == 0)
		r = read_both(old_path, new_path, &old_atoms, &new_atoms, err);
	if (r == 0)
		r = compare(old_atoms, new_atoms, &unit.diff, err);
	if (r < 0)
		hp_unit_free(&unit);
	else
		*ret_unit = unit;
	return r;
}

void hp_unit_free(struct hp_make_unit *unit)
{
	hp_diff_free(unit->diff);
	hp_object_free(unit->plain);
	free(unit->packed);
	free(unit->whole);
	hp_marks_free(&unit->marks);
	free((char *)unit->source);
	free((char *)unit->folder);
	free((char *)unit->command);
	*unit = (struct hp_make_unit){0};
}

/* -- Compiling ------------------------------------------------------------------------------------------------- */

/* One of the three compilations. */
struct job {
	const char *name, *view;
	enum hp_variant variant;
	bool quiet;
	char *output;
	pid_t pid; /* 0: not started */
};

static int start(const struct hp_compile *compile, const struct hp_workspace *workspace, size_t number, struct job *job,
                 struct hp_err *err)
{
	struct hp_words words = {0};
	char name[64], *folder = NULL;
	int r;

	snprintf(name, sizeof(name), "%zu-%s.o", number, job->name);
	job->output = hp_workspace_path(workspace, name);
	if (!job->output || asprintf(&folder, "%s%s", job->view, compile->folder) < 0)
		return no_memory(compile->source, err);
	r = hp_command_make(compile, job->variant, job->view, job->output, job->quiet, &words, err);
	if (r == 0)
		r = hp_program_start(words.items, folder, &job->pid, err);
	hp_words_free(&words);
	free(folder);
	return r;
}

static int finish(const struct hp_compile *compile, struct job *jobs, size_t n, int r, struct hp_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct hp_err ignored;
		int status = 0;
		int ended = jobs[i].pid > 0
		                    ? hp_program_end(jobs[i].pid, compile->words[0], &status, r < 0 ? &ignored : err)
		                    : 0;
		if (ended < 0 && r == 0)
			r = ended;
		if (!status || r < 0)
			continue;
		r = hp_err_set(err, HOTPATCH_EBUILD, "'%s' could not be compiled as it %s: '%s' ended with status %d",
		               compile->source, jobs[i].quiet ? "was" : "is now", compile->words[0], status);
	}
	return r;
}

static int describe(const struct hp_compile *compile, struct hp_make_unit *unit, struct hp_err *err)
{
	unit->source = strdup(compile->source);
	unit->folder = strdup(compile->folder);
	unit->command = hp_words_join(compile->words);
	unit->keep_debug = hp_command_has_debug(compile);
	return unit->source && unit->folder && unit->command ? 0 : no_memory(compile->source, err);
}

int hp_unit_of_atoms(const struct hp_compile *compile, struct hp_object *plain, struct hp_atoms *old_atoms,
                     struct hp_atoms *new_atoms, struct hp_make_unit *ret_unit, struct hp_err *err)
{
	struct hp_make_unit unit = {.plain = plain};
	int r = compare(old_atoms, new_atoms, &unit.diff, err);

	if (r == 0)
		r = describe(compile, &unit, err);
	if (r < 0)
		hp_unit_free(&unit);
	else
		*ret_unit = unit;
	return r;
}

static int read_compiled(const struct hp_compile *compile, const char *plain_path, const char *old_path,
                         const char *new_path, struct hp_make_unit *ret_unit, struct hp_err *err)
{
	struct hp_atoms *old_atoms, *new_atoms;
	struct hp_object *plain;
	int r = hp_object_read(plain_path, &plain, err);

	if (r < 0)
		return r;
	if ((r = read_both(old_path, new_path, &old_atoms, &new_atoms, err)) < 0) {
		hp_object_free(plain);
		return r;
	}
	return hp_unit_of_atoms(compile, plain, old_atoms, new_atoms, ret_unit, err);
}

int hp_unit_compile(const struct hp_compile *compile, const struct hp_workspace *workspace, size_t number,
                    const char *old_view, const char *new_view, struct hp_make_unit *ret_unit, struct hp_err *err)
{
	struct job jobs[] = {
		{.name = "new", .view = new_view, .variant = HP_VARIANT_SECTIONED},
		{.name = "old", .view = old_view, .variant = HP_VARIANT_SECTIONED, .quiet = true},
		{.name = "plain", .view = old_view, .variant = HP_VARIANT_PLAIN, .quiet = true},
	};
	int r = 0;

	for (size_t i = 0; i < 3 && r == 0; i++)
		r = start(compile, workspace, number, &jobs[i], err);
	r = finish(compile, jobs, 3, r, err);
	if (r == 0)
		r = read_compiled(compile, jobs[2].output, jobs[1].output, jobs[0].output, ret_unit, err);
	for (size_t i = 0; i < 3; i++) {
		if (jobs[i].output)
			unlink(jobs[i].output);
		free(jobs[i].output);
	}
	return r;
}
