#include "remote/kept.h"

#include <stdlib.h>
#include <string.h>

#include "elf/debugfile.h"

enum { FILES_MAX = 1024 }; /* of a process that loads what was built anew again and again, all are forgotten then */

static int no_memory(const struct hp_image *file, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to keep the symbols of '%s'", file->name);
}

static void forget_wanted(struct hp_kept_files *kept)
{
	for (size_t i = 0; i < kept->n_wanted; i++)
		free(kept->wanted[i]);
	free(kept->wanted);
	kept->wanted = NULL;
	kept->n_wanted = 0;
}

static void forget_files(struct hp_kept_files *kept)
{
	for (size_t i = 0; i < kept->n_files; i++)
		hp_names_free(kept->files[i].names);
	free(kept->files);
	kept->files = NULL;
	kept->n_files = 0;
}

void hp_kept_free(struct hp_kept_files *kept)
{
	forget_wanted(kept);
	forget_files(kept);
}

/* -- What is wanted --------------------------------------------------------------------------------------------- */

/* Both are sorted. */
static bool is_covered(const struct hp_kept_files *kept, const char *const *wanted, size_t n_wanted)
{
	size_t k = 0;

	for (size_t i = 0; i < n_wanted; i++) {
		while (k < kept->n_wanted && strcmp(kept->wanted[k], wanted[i]) < 0)
			k++;
		if (k == kept->n_wanted || strcmp(kept->wanted[k], wanted[i]) != 0)
			return false;
	}
	return true;
}

static bool add_copy(struct hp_kept_files *kept, const char *name)
{
	kept->wanted[kept->n_wanted] = strdup(name);
	return kept->wanted[kept->n_wanted] && ++kept->n_wanted; /* NOLINT(-Wanalyzer-malloc-leak): kept has it */
}

/* Nothing is kept that was read for less. */
static bool want_more(struct hp_kept_files *kept, const char *const *wanted, size_t n_wanted)
{
	struct hp_kept_files more = {.wanted = calloc(kept->n_wanted + n_wanted + 1, sizeof(*more.wanted))};
	size_t i = 0, k = 0;
	bool ok = more.wanted != NULL;

	while (ok && (i < n_wanted || k < kept->n_wanted)) {
		int r = i == n_wanted ? 1 : k == kept->n_wanted ? -1 : strcmp(wanted[i], kept->wanted[k]);
		ok = add_copy(&more, r < 0 ? wanted[i] : kept->wanted[k]);
		i += r <= 0;
		k += r >= 0;
	}
	if (!ok) {
		forget_wanted(&more);
		return false;
	}
	hp_kept_free(kept);
	kept->wanted = more.wanted;
	kept->n_wanted = more.n_wanted;
	return true;
}

/* -- Files ------------------------------------------------------------------------------------------------------ */

static struct hp_names *find(const struct hp_kept_files *kept, const struct hp_image *file)
{
	for (size_t i = 0; i < kept->n_files; i++)
		if (hp_identity_same(&kept->files[i].identity, &file->identity))
			return kept->files[i].names;
	return NULL;
}

static int keep(struct hp_kept_files *kept, const struct hp_image *file, struct hp_names *names, struct hp_err *err)
{
	if (kept->n_files == FILES_MAX)
		forget_files(kept);
	struct hp_kept_file *files = realloc(kept->files, (kept->n_files + 1) * sizeof(*files));

	if (!files)
		return no_memory(file, err);
	kept->files = files;
	files[kept->n_files++] = (struct hp_kept_file){file->identity, hp_names_share(names)};
	return 0;
}

/* Where it has no table of its own. That nobody has installed one says nothing of the next time. */
static int has_debug_file(const struct hp_image *file, bool *ret_has, struct hp_err *err)
{
	struct hp_image *debug = NULL;
	int r = hp_image_section_of_type(file, SHT_SYMTAB) ? 0 : hp_debugfile_open(file, HP_DEBUG_ROOT, &debug, err);

	*ret_has = debug != NULL;
	hp_image_close(debug);
	return r;
}

static int read_and_keep(struct hp_kept_files *kept, const struct hp_image *file, struct hp_names **ret_names,
                         struct hp_err *err)
{
	struct hp_names *names;
	int r = hp_names_read(file, HP_DEBUG_ROOT, (const char *const *)kept->wanted, kept->n_wanted, &names, err);

	if (r < 0)
		return r;
	if ((r = keep(kept, file, names, err)) < 0)
		hp_names_free(names);
	else
		*ret_names = names;
	return r;
}

int hp_kept_names(struct hp_kept_files *kept, const struct hp_image *file, const char *const *wanted, size_t n_wanted,
                  struct hp_names **ret_names, struct hp_err *err)
{
	bool has_debug;
	int r = has_debug_file(file, &has_debug, err);

	if (r < 0)
		return r;
	if (has_debug)
		return hp_names_read(file, HP_DEBUG_ROOT, wanted, n_wanted, ret_names, err);
	if (!is_covered(kept, wanted, n_wanted) && !want_more(kept, wanted, n_wanted))
		return no_memory(file, err);
	struct hp_names *names = find(kept, file);
	if (!names)
		return read_and_keep(kept, file, ret_names, err);
	*ret_names = hp_names_share(names);
	return 0;
}
