/* show - what is in a patch file. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/listing.h"
#include "cli/output.h"
#include "elf/field.h"
#include "elf/patchfile.h"

static const char *const kinds[] = {"symbol", "function", "variable", "thread-local", "IFUNC"};

static const char *unit_of(const struct hp_patchfile *file, uint32_t unit)
{
	return unit == HP_NO_UNIT ? NULL : file->units[unit].source;
}

/* -- Parts ----------------------------------------------------------------------------------------------------- */

static void show_changes(struct hp_output *output, const struct hp_patchfile *file)
{
	json_t *changes = json_array();

	hp_output_text(output, "changes:");
	for (size_t i = 0; i < file->n_changes; i++) {
		const struct hp_patch_change *change = &file->changes[i];
		const char *unit = unit_of(file, change->unit);
		unsigned long long new_size = file->symbols[change->symbol].size;
		char hash[2 * HP_HASH_SIZE + 1];
		for (size_t k = 0; k < HP_HASH_SIZE; k++)
			snprintf(hash + 2 * k, 3, "%02x", change->old_hash[k]);
		hp_output_text(output, "  %s%s%s%s: %llu bytes, was %llu (%.16s)", change->name,
		               unit ? " (static in " : "", unit ? unit : "", unit ? ")" : "", new_size,
		               (unsigned long long)change->old_size, hash);
		json_array_append_new(changes, json_pack("{s:s, s:s?, s:I, s:I, s:s}", "name", change->name, "unit",
		                                         unit, "size", (json_int_t)new_size, "old_size",
		                                         (json_int_t)change->old_size, "old_hash", hash));
	}
	json_object_set_new(output->root, "changes", changes);
}

static void show_defines(struct hp_output *output, const struct hp_patchfile *file)
{
	json_t *defines = json_array();

	if (file->n_defines)
		hp_output_text(output, "brings:");
	for (size_t i = 0; i < file->n_defines; i++) {
		const struct hp_patch_define *define = &file->defines[i];
		hp_output_text(output, "  %s %s: %llu bytes", kinds[define->kind], define->scope,
		               (unsigned long long)define->size);
		json_array_append_new(defines,
		                      json_pack("{s:s, s:s, s:s, s:s?, s:I}", "kind", kinds[define->kind], "name",
		                                define->name, "scope", define->scope, "unit",
		                                unit_of(file, define->unit), "size", (json_int_t)define->size));
	}
	json_object_set_new(output->root, "brings", defines);
}

static void show_bindings(struct hp_output *output, const struct hp_patchfile *file)
{
	json_t *bindings = json_array();

	if (file->n_bindings)
		hp_output_text(output, "refers to, in the program:");
	for (size_t i = 0; i < file->n_bindings; i++) {
		const struct hp_patch_binding *binding = &file->bindings[i];
		const char *unit = unit_of(file, binding->unit);
		hp_output_text(output, "  %s %s%s%s%s%s", kinds[binding->kind], binding->scope,
		               unit ? " (static in " : "", unit ? unit : "", unit ? ")" : "",
		               binding->flags & HP_BINDING_WEAK ? " (may be absent)" : "");
		json_array_append_new(bindings,
		                      json_pack("{s:s, s:s, s:s, s:s?, s:I, s:b}", "kind", kinds[binding->kind], "name",
		                                binding->name, "scope", binding->scope, "unit", unit, "size",
		                                (json_int_t)binding->size, "weak",
		                                (binding->flags & HP_BINDING_WEAK) != 0));
	}
	json_object_set_new(output->root, "binds", bindings);
}

static void show_callbacks(struct hp_output *output, const struct hp_patchfile *file)
{
	static const char *const when[] = {"before apply", "after apply", "before revert", "after revert"};
	json_t *callbacks = json_array(), *migrations = json_array();

	if (file->n_callbacks || file->n_migrations)
		hp_output_text(output, "runs:");
	for (size_t i = 0; i < file->n_callbacks; i++) {
		const char *name = file->symbols[file->callbacks[i].symbol].name, *at = when[file->callbacks[i].kind];
		hp_output_text(output, "  %s %s", name, at);
		json_array_append_new(callbacks, json_pack("{s:s, s:s}", "function", name, "when", at));
	}
	for (size_t i = 0; i < file->n_migrations; i++) {
		const struct hp_patch_migration *m = &file->migrations[i];
		const char *forward = file->symbols[m->forward].name;
		const char *back = m->back ? file->symbols[m->back].name : NULL;
		hp_output_text(output, "  %s, which gives live '%s' their new layout; back: %s", forward, m->type,
		               back ? back : "none, so that the patch cannot be reverted");
		json_array_append_new(migrations,
		                      json_pack("{s:s, s:s, s:s?}", "type", m->type, "forward", forward, "back", back));
	}
	json_object_set_new(output->root, "callbacks", callbacks);
	json_object_set_new(output->root, "migrations", migrations);
}

static void show_names(struct hp_output *output, const char *key, const char *const *names, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++) {
		hp_output_text(output, "%s: %s", key, names[i]);
		json_array_append_new(array, json_string(names[i]));
	}
	json_object_set_new(output->root, key, array);
}

static void show_targets(struct hp_output *output, const struct hp_patchfile *file)
{
	json_t *targets = json_array();

	for (size_t i = 0; i < file->n_targets; i++) {
		const struct hp_patch_target *target = &file->targets[i];
		char id[2 * sizeof(target->build_id) + 1] = "";
		for (size_t k = 0; k < target->build_id_size; k++)
			snprintf(id + 2 * k, 3, "%02x", target->build_id[k]);
		hp_output_text(output, "is for: %s, build-id %s", target->name, id);
		json_array_append_new(targets, json_pack("{s:s, s:s}", "name", target->name, "build_id", id));
	}
	json_object_set_new(output->root, "targets", targets);
}

static void show_units(struct hp_output *output, const struct hp_patchfile *file)
{
	json_t *units = json_array(), *messages = json_array();

	if (file->n_messages)
		hp_output_text(output, "when it was built:");
	for (size_t i = 0; i < file->n_messages; i++) {
		hp_output_text(output, "  %s", file->messages[i].text);
		json_array_append_new(messages, json_string(file->messages[i].text));
	}
	hp_output_text(output, "compiled from:");
	for (size_t i = 0; i < file->n_units; i++) {
		const struct hp_patch_unit *unit = &file->units[i];
		hp_output_text(output, "  %s%s%s%s%s", unit->source, *unit->folder ? " in " : "", unit->folder,
		               *unit->command ? ": " : "", unit->command);
		json_array_append_new(units, json_pack("{s:s, s:s, s:s, s:s}", "source", unit->source, "file",
		                                       unit->file, "folder", unit->folder, "command", unit->command));
	}
	json_object_set_new(output->root, "messages", messages);
	json_object_set_new(output->root, "units", units);
}

/* -- Old and new code ------------------------------------------------------------------------------------------ */

static bool list_new(const struct hp_patchfile *file, const struct hp_patch_change *change, struct hp_listing *ret)
{
	const struct hp_patch_symbol *symbol = &file->symbols[change->symbol];
	const struct hp_patch_section *section = &file->sections[symbol->section];
	struct hp_listing_field *fields = calloc(section->n_relocs + 1, sizeof(*fields));
	size_t n = 0;

	for (size_t i = 0; fields && i < section->n_relocs; i++) {
		const struct hp_patch_reloc *reloc = &section->relocs[i];
		struct hp_field field = {0};
		hp_field_of(reloc->type, &field);
		if (reloc->offset >= symbol->value && field.size)
			fields[n++] = (struct hp_listing_field){reloc->offset - symbol->value, field.size,
			                                        file->symbols[reloc->symbol].name};
	}
	bool ok = fields && section->bytes &&
	          hp_listing_make(section->bytes + symbol->value, symbol->size, fields, n, ret);
	free(fields);
	return ok;
}

static bool list_old(const struct hp_patchfile *file, const struct hp_patch_change *change, struct hp_listing *ret)
{
	const struct hp_patch_section *section = &file->sections[change->old_section];
	struct hp_listing_field *fields = calloc(change->n_masks + 1, sizeof(*fields));

	for (size_t i = 0; fields && i < change->n_masks; i++)
		fields[i] = (struct hp_listing_field){change->masks[i].offset, change->masks[i].length, NULL};
	bool ok = fields && section->bytes &&
	          hp_listing_make(section->bytes, section->size, fields, change->n_masks, ret);
	free(fields);
	return ok;
}

struct rows {
	struct hp_output *output;
	json_t *array;
};

static void show_row(void *arg, const struct hp_line *old_line, const struct hp_line *new_line, bool same)
{
	struct rows *rows = arg;
	const char *mark = same ? " " : !old_line ? ">" : !new_line ? "<" : "|";

	hp_output_text(rows->output, "  %-46.46s %s %s", old_line ? old_line->text : "", mark,
	               new_line ? new_line->text : "");
	json_array_append_new(rows->array, json_pack("{s:s?, s:s?, s:b}", "old", old_line ? old_line->text : NULL,
	                                             "new", new_line ? new_line->text : NULL, "same", same));
}

static void show_code(struct hp_output *output, const struct hp_patchfile *file, json_t *codes,
                      const struct hp_patch_change *change)
{
	struct hp_listing old_listing = {0}, new_listing = {0};
	struct rows rows = {output, json_array()};

	hp_output_text(output, "\n%s:", change->name);
	if (!change->old_section)
		hp_output_text(output, "  the patch file does not hold the old code");
	else if (!list_old(file, change, &old_listing) || !list_new(file, change, &new_listing) ||
	         !hp_listing_compare(&old_listing, &new_listing, show_row, &rows))
		hp_output_text(output, "  the code cannot be shown");
	hp_listing_free(&old_listing);
	hp_listing_free(&new_listing);
	json_array_append_new(codes, json_pack("{s:s, s:o}", "name", change->name, "rows", rows.array));
}

/* -- All ------------------------------------------------------------------------------------------------------- */

static void show(struct hp_output *output, const struct hp_patchfile *file, bool diff)
{
	json_t *codes = json_array();

	hp_output_text(output, "patch '%s'%s%s, made by %s", file->name, *file->description ? ": " : "",
	               file->description, file->producer);
	json_object_set_new(output->root, "name", json_string(file->name));
	json_object_set_new(output->root, "description", json_string(file->description));
	json_object_set_new(output->root, "producer", json_string(file->producer));
	show_targets(output, file);
	show_changes(output, file);
	show_defines(output, file);
	show_callbacks(output, file);
	show_bindings(output, file);
	show_names(output, "requires", file->requires, file->n_requires);
	show_names(output, "replaces", file->replaces, file->n_replaces);
	show_units(output, file);
	for (size_t i = 0; diff && i < file->n_changes; i++)
		show_code(output, file, codes, &file->changes[i]);
	if (diff)
		json_object_set(output->root, "code", codes);
	json_decref(codes);
}

enum { DIFF = 0x100 };

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {{"diff", no_argument, NULL, DIFF}, HP_COMMON_OPTIONS};
	struct hp_output output;
	struct hp_patchfile *file = NULL;
	struct hp_err err;
	bool diff = false;
	int option, status = HP_EXIT_DONE;

	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1)
		if (option == DIFF)
			diff = true;
		else if (!hp_common_option(command, &output, option, &status))
			goto usage;
	if (argc - optind != 1) {
		status = hp_usage(command, "one patch file is needed");
		goto usage;
	}
	int r = hp_patchfile_read(argv[optind], &file, &err);
	if (r < 0)
		return hp_output_end(&output, hp_output_failure(&output, HP_EXIT_REFUSED, &err, "nothing was shown"));
	show(&output, file, diff);
	hp_patchfile_free(file);
	return hp_output_end(&output, status);
usage:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_show = {
	.name = "show",
	.summary = "show what is in a patch file",
	.arguments = "[--diff] FILE",
	.help = "  --diff            old and new code side by side\n",
	.run = run,
};
