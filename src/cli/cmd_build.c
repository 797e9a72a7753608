/* build - a patch file from a change of the source.
 *
 *     hotpatch build fix.diff                       the change is a diff
 *     hotpatch build src/a.c                        the change is in the files, against git's HEAD (--base)
 *     hotpatch build --old a.o --new b.o -o x.hp    it is compiled already
 */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/change.h"
#include "cli/output.h"
#include "cli/reach.h"
#include "elf/patchwriter.h"
#include "make/choice.h"
#include "make/pack.h"
#include "make/rules.h"
#include "make/unit.h"

enum { LIST_MAX = 64, NAME_LIMIT = 255 };

struct list {
	const char *items[LIST_MAX];
	size_t count;
};

struct build {
	struct hp_output output;
	const char *name, *file, *description;  /* of the patch */
	const char *build_folder, *root, *base; /* of the sources */
	const char *old_file, *new_file;
	int strip;
	struct list reinit, allowed, requires, replaces, images;
	char *own_name, *own_file; /* where none was given */
	struct hp_make_unit *units;
	size_t n_units;
	struct hp_findings findings;
	struct hp_err err;
};

/* -- Options --------------------------------------------------------------------------------------------------- */

enum { OLD = 0x100, NEW, BASE, ROOT, REINIT, ALLOW, REQUIRES, REPLACES, IMAGE };

static const struct option options[] = {
	{"old", required_argument, NULL, OLD},
	{"new", required_argument, NULL, NEW},
	{"base", required_argument, NULL, BASE},
	{"root", required_argument, NULL, ROOT},
	{"reinit", required_argument, NULL, REINIT},
	{"allow-layout", required_argument, NULL, ALLOW},
	{"requires", required_argument, NULL, REQUIRES},
	{"replaces", required_argument, NULL, REPLACES},
	{"name", required_argument, NULL, 'n'},
	{"output", required_argument, NULL, 'o'},
	{"description", required_argument, NULL, 'd'},
	{"image", required_argument, NULL, IMAGE},
	HP_COMMON_OPTIONS,
};

static void list_add(struct list *list, const char *item)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->items[i], item) == 0)
			return;
	if (list->count < LIST_MAX)
		list->items[list->count++] = item;
}

static bool take_option(struct build *b, int option)
{
	switch (option) {
	case OLD:
		b->old_file = optarg;
		return true;
	case NEW:
		b->new_file = optarg;
		return true;
	case BASE:
		b->base = optarg;
		return true;
	case ROOT:
		b->root = optarg;
		return true;
	case REINIT:
		list_add(&b->reinit, optarg);
		return true;
	case ALLOW:
		list_add(&b->allowed, optarg);
		return true;
	case REQUIRES:
		list_add(&b->requires, optarg);
		return true;
	case REPLACES:
		list_add(&b->replaces, optarg);
		return true;
	case IMAGE:
		list_add(&b->images, optarg);
		return true;
	case 'n':
		b->name = optarg;
		return true;
	case 'o':
		b->file = optarg;
		return true;
	case 'd':
		b->description = optarg;
		return true;
	case 'C':
		b->build_folder = optarg;
		return true;
	case 'p':
		b->strip = atoi(optarg);
		return true;
	default:
		return false;
	}
}

/* "fix" of "a/fix.diff". */
static char *stem_of(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
	return strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

static int name_patch(struct build *b, const char *after)
{
	if (!b->name)
		b->name = b->own_name = stem_of(b->file ? b->file : after);
	if (!b->file && b->name && asprintf(&b->own_file, "%s.hp", b->name) >= 0)
		b->file = b->own_file;
	if (!b->name || !b->file) /* NOLINT(clang-analyzer-unix.Malloc): own_name is freed by end_build */
		return hp_err_set(&b->err, HOTPATCH_ENOMEM, "no memory for a name");
	size_t length = 0;
	while (b->name[length] && !iscntrl((unsigned char)b->name[length]))
		length++;
	if (!length || b->name[length] || length > NAME_LIMIT)
		return hp_err_set(
			&b->err, HOTPATCH_EINVAL,
			"a patch's name has 1 to %d bytes, and no newline or other control character; give it "
			"another with --name",
			NAME_LIMIT);
	return 0;
}

/* -- Units ----------------------------------------------------------------------------------------------------- */

static int add_unit(struct build *b, const struct hp_make_unit *unit)
{
	struct hp_make_unit *units = realloc(b->units, (b->n_units + 1) * sizeof(*units));

	if (!units)
		return hp_err_set(&b->err, HOTPATCH_ENOMEM, "no memory for another file");
	b->units = units;
	units[b->n_units++] = *unit;
	return 0;
}

static int compile_unit(struct build *b, const struct hp_change *change, const struct hp_compile *compile)
{
	struct hp_make_unit unit;
	int r = hp_unit_compile(compile, &change->workspace, b->n_units, change->old_view, change->new_view, &unit,
	                        &b->err);

	return r < 0 ? r : add_unit(b, &unit);
}

/* *ret_found: whether the database tells how. */
static int compile_source(struct build *b, const struct hp_change *change, const struct hp_compdb *db, const char *path,
                          bool *ret_found)
{
	const struct hp_choosing choosing = {db, &change->workspace, change->old_view, b->images.items,
	                                     b->images.count};
	const struct hp_compile *compile;
	int r = hp_choice_make(&choosing, path, &compile, &b->err);

	*ret_found = compile != NULL;
	return r == 0 && compile ? compile_unit(b, change, compile) : r;
}

static int compile_named(struct build *b, const struct hp_change *change, const struct hp_compdb *db, char **files)
{
	int r = 0;

	for (; *files && r == 0; files++) {
		char *path = hp_path_resolve(NULL, *files);
		bool found = false;
		r = path ? compile_source(b, change, db, path, &found)
		         : hp_err_set(&b->err, HOTPATCH_ENOMEM, "no memory");
		free(path);
		if (r == 0 && !found)
			return hp_err_set(
				&b->err, HOTPATCH_EBUILD,
				"'%s' does not tell how '%s' is compiled: name a source file that is (for a header, "
				"those that include it), or -C the right build folder",
				db->path, *files);
	}
	return r;
}

/* Of a source that is compiled more than once, the last entry says whether the change concerns it. */
static int compile_concerned(struct build *b, const struct hp_change *change, const struct hp_compdb *db)
{
	struct hp_reach *reach = hp_reach_new(change->files, change->n_files);
	int r = reach ? 0 : hp_err_set(&b->err, HOTPATCH_ENOMEM, "no memory to see which files the change concerns");

	for (size_t i = 0; i < db->count && r == 0; i++) {
		bool concerns = false;
		if (hp_compdb_find(db, db->items[i].path) != &db->items[i] || !hp_reach_may(reach, &db->items[i]))
			continue;
		r = hp_change_concerns(change, &db->items[i], &concerns, &b->err);
		if (r == 0 && concerns)
			r = compile_source(b, change, db, db->items[i].path, &concerns);
	}
	hp_reach_free(reach);
	if (r == 0 && !b->n_units)
		r = hp_err_set(&b->err, HOTPATCH_EBUILD,
		               "%s, and no file that '%s' tells how to compile is made from it",
		               change->n_files ? "the change is in files below the root" : "no file changed", db->path);
	return r;
}

/* -- Where the change is --------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool is_source(const char *path)
{
	const char *dot = strrchr(path, '.');
	return dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0);
}

static bool has_database(const char *folder)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/compile_commands.json", folder);
	return access(path, F_OK) == 0;
}

/* Here, or in the folder that build systems use. */
static const char *find_build_folder(const struct build *b)
{
	if (b->build_folder)
		return b->build_folder;
	return !has_database(".") && has_database("build") ? "build" : ".";
}

static char *find_root(const struct build *b)
{
	char *words[] = {"sh", "-c", "git rev-parse --show-toplevel 2>/dev/null", NULL}, *top = NULL;
	struct hp_err ignored;
	int status;

	if (b->root)
		return strdup(b->root);
	if (hp_program_run(words, NULL, &top, &status, &ignored) == 0 && status == 0 && *top) {
		top[strcspn(top, "\n")] = '\0';
		return top;
	}
	free(top);
	return strdup(".");
}

static int take_change(struct build *b, struct hp_change *change, char **files)
{
	if (*files && !is_source(*files))
		return hp_change_diff(change, *files, b->strip, &b->err);
	if (b->old_file)
		return hp_change_file(change, *files, b->old_file, &b->err);
	if (b->base && is_folder(b->base))
		return hp_change_folder(change, b->base, &b->err);
	return hp_change_revision(change, b->base ? b->base : "HEAD", &b->err);
}

static int compile_change(struct build *b, char **files)
{
	const char *folder = find_build_folder(b);
	char *root = find_root(b), path[4096];
	struct hp_compdb *db = NULL;
	struct hp_change change = {0};

	snprintf(path, sizeof(path), "%s/compile_commands.json", folder);
	int r = root ? hp_compdb_read(path, &db, &b->err) : hp_err_set(&b->err, HOTPATCH_ENOMEM, "no memory");
	if (r == 0)
		r = hp_change_begin(&change, root, folder, &b->err);
	if (r == 0)
		r = take_change(b, &change, files);
	if (r == 0)
		r = hp_change_mirror(&change, &b->err);
	if (r == 0)
		r = *files && is_source(*files) ? compile_named(b, &change, db, files)
		                                : compile_concerned(b, &change, db);
	if (r == 0 && change.is_applied)
		hp_output_text(&b->output, "the sources have the diff already; the old ones are without it");
	hp_change_end(&change);
	hp_compdb_free(db);
	free(root);
	return r;
}

static int take_objects(struct build *b)
{
	struct hp_make_unit unit;
	int r = hp_unit_of_objects(b->old_file, b->new_file, &unit, &b->err);

	return r < 0 ? r : add_unit(b, &unit);
}

/* -- The patch ------------------------------------------------------------------------------------------------- */

static size_t count_kind(const struct build *b, enum hp_finding_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < b->findings.count; i++)
		count += b->findings.items[i].kind == kind;
	return count;
}

static bool is_found(const struct build *b, enum hp_finding_kind kind, const char *name)
{
	for (size_t i = 0; i < b->findings.count; i++) {
		const struct hp_finding *f = &b->findings.items[i];
		if (f->kind == kind && hp_is_called(f->name, name))
			return true;
	}
	return false;
}

/* Where nothing tells of types there is nothing to allow, and what is allowed in vain is not known. */
static bool has_types(const struct build *b)
{
	for (size_t i = 0; i < b->n_units; i++)
		if (b->units[i].diff->old_atoms->info && b->units[i].diff->new_atoms->info)
			return true;
	return false;
}

static int check_change(struct build *b)
{
	for (size_t i = 0; i < b->reinit.count; i++)
		if (!is_found(b, HP_FOUND_REINIT, b->reinit.items[i]))
			return hp_err_set(
				&b->err, HOTPATCH_EREFUSED,
				"--reinit '%s' names no live variable whose initialiser changed: it is spelled as "
				"'hotpatch build' says what it keeps; one that the compiler knows the value of is "
				"none",
				b->reinit.items[i]);
	for (size_t i = 0; i < b->allowed.count && has_types(b); i++)
		if (!is_found(b, HP_FOUND_ALLOWED, b->allowed.items[i]))
			return hp_err_set(
				&b->err, HOTPATCH_EREFUSED,
				"--allow-layout '%s' names no struct, union or enum that differs: it is spelled "
				"by its tag, or by its typedef where it has none",
				b->allowed.items[i]);
	if (count_kind(b, HP_FOUND_CHANGED) || count_kind(b, HP_FOUND_REINIT))
		return 0;
	return hp_err_set(&b->err, HOTPATCH_EREFUSED, "nothing to patch: no function differs%s",
	                  count_kind(b, HP_FOUND_KEPT) ? ", and live variables keep their values (--reinit)" : "");
}

static int pack_units(struct build *b)
{
	struct hp_make_options make = {
		.name = b->name,
		.description = b->description,
		.reinit = b->reinit.items,
		.n_reinit = b->reinit.count,
		.requires = b->requires.items,
		.n_requires = b->requires.count,
		.replaces = b->replaces.items,
		.n_replaces = b->replaces.count,
		.images = b->images.items,
		.n_images = b->images.count,
		.allowed = {b->allowed.items, b->allowed.count},
		.units = b->units,
		.n_units = b->n_units,
	};
	uint8_t *bytes = NULL;
	const char **migrated = NULL;
	size_t size;
	int r = 0;

	for (size_t i = 0; i < b->n_units && r == 0; i++)
		r = hp_select(&b->units[i], &make, &b->findings, &b->err);
	if (r == 0)
		r = hp_marks_collect(b->units, b->n_units, &make, &migrated, &b->err);
	for (size_t i = 0; i < b->n_units && r == 0; i++)
		r = hp_rules_check(&b->units[i], &make, &b->findings, &b->err);
	if (r == 0)
		r = check_change(b);
	if (r == 0)
		r = hp_pack(b->units, b->n_units, &make, &b->findings, &bytes, &size, &b->err);
	if (r == 0)
		r = hp_patchwriter_save(b->file, bytes, size, &b->err);
	free(migrated);
	free(bytes);
	return r;
}

/* -- Saying it ------------------------------------------------------------------------------------------------- */

static const char *const kind_names[HP_FINDINGS] = {
	[HP_FOUND_CHANGED] = "changed",
	[HP_FOUND_NEW_FUNCTION] = "new-function",
	[HP_FOUND_NEW_VARIABLE] = "new-variable",
	[HP_FOUND_CONSTANT] = "constant",
	[HP_FOUND_SHARED] = "shared-constant",
	[HP_FOUND_REMOVED] = "removed",
	[HP_FOUND_KEPT] = "kept",
	[HP_FOUND_REINIT] = "reinit",
	[HP_FOUND_ALLOWED] = "allowed-layout",
	[HP_FOUND_MIGRATED] = "migrated-layout",
	[HP_FOUND_SIGNATURE] = "signature",
	[HP_FOUND_CALLBACK] = "callback",
};

static void say_findings(struct build *b)
{
	json_t *findings = json_array();

	for (size_t i = 0; i < b->findings.count; i++) {
		const struct hp_finding *f = &b->findings.items[i];
		hp_output_text(&b->output, "%s: %s", f->unit, f->sentence);
		json_array_append_new(findings, json_pack("{s:s, s:s, s:s, s:s}", "kind", kind_names[f->kind], "unit",
		                                          f->unit, "name", f->name, "text", f->sentence));
	}
	json_object_set_new(b->output.root, "findings", findings);
}

static void say_written(struct build *b)
{
	size_t changed = count_kind(b, HP_FOUND_CHANGED), new = count_kind(b, HP_FOUND_NEW_FUNCTION);

	hp_output_text(&b->output, "wrote %s: patch '%s', %zu function%s changed, %zu new, of %zu file%s", b->file,
	               b->name, changed, changed == 1 ? "" : "s", new, b->n_units, b->n_units == 1 ? "" : "s");
	json_object_set_new(b->output.root, "file", json_string(b->file));
	json_object_set_new(b->output.root, "name", json_string(b->name));
	json_object_set_new(b->output.root, "changed", json_integer((json_int_t)changed));
	json_object_set_new(b->output.root, "new", json_integer((json_int_t) new));
}

static int status_of(int code)
{
	return code == HOTPATCH_EBUILD || code == HOTPATCH_ENOFILE || code == HOTPATCH_ENOTELF ? HP_EXIT_BUILD
	                                                                                       : HP_EXIT_REFUSED;
}

static int run_build(struct build *b, char **files)
{
	int r = name_patch(b, *files ? *files : "patch");

	if (r == 0)
		r = b->new_file ? take_objects(b) : compile_change(b, files);
	if (r == 0)
		r = pack_units(b);
	say_findings(b);
	if (r < 0)
		return hp_output_failure(&b->output, status_of(r), &b->err, "no patch file was written");
	say_written(b);
	return HP_EXIT_DONE;
}

static int check_usage(const struct hp_command *command, const struct build *b, int n_files)
{
	if (b->new_file && (!b->old_file || n_files))
		return hp_usage(command, "--new goes with --old and without other files");
	if (b->old_file && !b->new_file && n_files != 1)
		return hp_usage(command, "--old FILE is the old text of one source file");
	if (b->reinit.count == LIST_MAX || b->allowed.count == LIST_MAX || b->requires.count == LIST_MAX ||
	    b->replaces.count == LIST_MAX || b->images.count == LIST_MAX)
		return hp_usage(command, "an option can be given %d times at most", LIST_MAX - 1);
	return HP_EXIT_DONE;
}

static void end_build(struct build *b)
{
	for (size_t i = 0; i < b->n_units; i++)
		hp_unit_free(&b->units[i]);
	free(b->units);
	hp_findings_free(&b->findings);
	free(b->own_name);
	free(b->own_file);
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	struct build b = {.strip = 1};
	sigset_t ends = hp_program_signals(), before;
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&b.output, command);
	while ((option = hp_next_option(argc, argv, "hC:n:o:d:p:", options)) != -1)
		if (!take_option(&b, option) && !hp_common_option(command, &b.output, option, &status)) {
			b.output.json = false;
			return hp_output_end(&b.output, status);
		}
	status = check_usage(command, &b, argc - optind);
	/* What would end us does so when the temporary folder has gone: compilers that run are ended for it. */
	sigprocmask(SIG_BLOCK, &ends, &before); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	if (status == HP_EXIT_DONE)
		status = run_build(&b, argv + optind);
	else
		b.output.json = false;
	sigprocmask(SIG_SETMASK, &before, NULL); /* NOLINT(concurrency-mt-unsafe): there is one thread */
	status = hp_output_end(&b.output, status);
	end_build(&b);
	return status;
}

const struct hp_command hp_cmd_build = {
	.name = "build",
	.summary = "make a patch file from a change of the source",
	.arguments = "[OPTION...] [DIFF | SOURCE...]",
	.help = "  DIFF              a unified diff of the sources\n"
		"  SOURCE...         source files that were edited; without any, all that were\n"
		"  -C FOLDER         the build folder, which has compile_commands.json (. or build)\n"
		"  -o, --output FILE the patch file (NAME.hp)\n"
		"  -n, --name NAME   of the patch (as the diff or the file)\n"
		"  -d, --description TEXT\n"
		"  -p NUMBER         leading parts of names in the diff to leave out (1)\n"
		"  --root FOLDER     of the sources (where git has it, or .)\n"
		"  --base REVISION   of git, that the program was built from (HEAD); or a folder with a copy of the root\n"
		"  --old FILE        the old text of the one SOURCE; or with --new: the old object\n"
		"  --new FILE        the new object; both compiled with -ffunction-sections -fdata-sections -g\n"
		"  --image FILE      an executable or library that the patch is for, by its build-id\n"
		"  --reinit NAME     give a live variable its new initial value\n"
		"  --allow-layout NAME  of a struct, union or enum that may differ\n"
		"  --requires NAME   a patch that has to be live\n"
		"  --replaces NAME   a patch that this one takes the place of\n",
	.run = run,
};
