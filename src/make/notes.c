/* notes - the notes of the patch file, and the old code it keeps to be shown. */
#include "make/pack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/oldcode.h"

static bool is_listed_local(const struct hp_object_symbol *symbol)
{
	return symbol->bind == STB_LOCAL && symbol->section && *symbol->name && symbol->name[0] != '.' &&
	       (symbol->type == STT_FUNC || symbol->type == STT_OBJECT || symbol->type == STT_TLS);
}

static const struct hp_object *old_object(const struct hp_make_unit *unit)
{
	return unit->plain ? unit->plain : unit->diff->old_atoms->object;
}

static void write_unit(const struct hp_packing *p, const struct hp_make_unit *unit)
{
	const struct hp_object *object = old_object(unit);
	uint32_t count = 0;

	hp_patchwriter_note(p->writer, HP_NOTE_UNIT);
	hp_patchwriter_string(p->writer, unit->diff->old_atoms->unit);
	hp_patchwriter_string(p->writer, unit->source);
	hp_patchwriter_string(p->writer, unit->folder);
	hp_patchwriter_string(p->writer, unit->command);
	for (size_t i = 0; i < object->n_symbols; i++)
		count += is_listed_local(&object->symbols[i]);
	hp_patchwriter_number(p->writer, count, 4);
	for (size_t i = 0; i < object->n_symbols; i++) {
		const struct hp_object_symbol *symbol = &object->symbols[i];
		if (!is_listed_local(symbol))
			continue;
		hp_patchwriter_string(p->writer, symbol->name);
		hp_patchwriter_number(p->writer,
		                      symbol->type == STT_FUNC     ? HP_PATCH_FUNCTION
		                      : symbol->type == STT_OBJECT ? HP_PATCH_VARIABLE
		                                                   : HP_PATCH_THREAD_LOCAL,
		                      1);
		hp_patchwriter_number(p->writer, symbol->size, 8);
	}
}

static const struct hp_atom *old_of(const struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_diff *diff = p->units[unit].diff;
	return &diff->old_atoms->items[diff->old_of[index]];
}

static void note_change(const struct hp_packing *p, size_t unit, uint32_t index, const struct hp_old_code *code,
                        uint32_t old_section)
{
	const struct hp_atom *old = old_of(p, unit, index);

	hp_patchwriter_note(p->writer, HP_NOTE_CHANGE);
	hp_patchwriter_number(p->writer, p->places[unit][index].symbol, 4);
	hp_patchwriter_number(p->writer, old->is_global ? HP_NO_UNIT : (uint32_t)unit, 4);
	hp_patchwriter_string(p->writer, old->name);
	hp_patchwriter_string(p->writer, "");
	hp_patchwriter_number(p->writer, code->size, 8);
	hp_patchwriter_bytes(p->writer, code->hash, HP_HASH_SIZE);
	hp_patchwriter_number(p->writer, code->n_masks, 4);
	for (size_t i = 0; i < code->n_masks; i++) {
		hp_patchwriter_number(p->writer, code->masks[i].offset, 4);
		hp_patchwriter_number(p->writer, code->masks[i].length, 4);
	}
	hp_patchwriter_number(p->writer, old_section, 4);
}

static bool is_change(const struct hp_packing *p, size_t unit, uint32_t index)
{
	return hp_diff_is_changed(p->units[unit].diff, index);
}

/* What the old code refers to of its unit, where the patch does too: by what stands there in a process, units of one
 * name are told apart (remote/match.h). The code that the program has may be laid out otherwise, when it is of another
 * size. */
static void write_references(const struct hp_packing *p, size_t unit, const struct hp_atom *old, uint32_t section)
{
	const struct hp_diff *diff = p->units[unit].diff;

	for (size_t i = 0; i < old->n_refs; i++) {
		const struct hp_ref *ref = &old->refs[i];
		uint32_t atom = ref->atom == HP_NO_ATOM ? HP_NO_ATOM : diff->new_of[ref->atom];
		if (atom == HP_NO_ATOM || ref->offset >= old->size || diff->old_atoms->items[ref->atom].is_global ||
		    !p->places[unit][atom].binding)
			continue;
		struct hp_patch_reloc reloc = {.offset = ref->offset,
		                               .type = ref->type,
		                               .symbol = p->places[unit][atom].binding,
		                               .addend = ref->at - ref->tail};
		hp_patchwriter_reloc(p->writer, section, &reloc);
	}
}

/* The old code as the program has it, to be shown. */
static uint32_t keep_old_code(const struct hp_packing *p, size_t unit, uint32_t index, const struct hp_old_code *code)
{
	const struct hp_atom *old = old_of(p, unit, index);
	char name[300];

	snprintf(name, sizeof(name), ".hotpatch.old.%.250s", old->name);
	uint32_t section = hp_patchwriter_section(p->writer, name, SHT_PROGBITS, 0, 1, code->bytes, code->size);
	if (code->size == old->size)
		write_references(p, unit, old, section);
	return section;
}

static int write_change(const struct hp_packing *p, size_t unit, uint32_t index)
{
	struct hp_old_code code;
	int r = hp_old_code_find(old_object(&p->units[unit]), old_of(p, unit, index)->name, &code, p->err);

	if (r < 0)
		return r;
	note_change(p, unit, index, &code, keep_old_code(p, unit, index, &code));
	free(code.masks);
	return 0;
}

static int write_changes(const struct hp_packing *p)
{
	int r = 0;

	for (size_t unit = 0; unit < p->n_units; unit++)
		for (uint32_t i = 0; i < hp_packing_atoms(p, unit)->count && r == 0; i++)
			if (is_change(p, unit, i))
				r = write_change(p, unit, i);
	return r;
}

/* What a constant holds: a later patch finds the one it means by that. */
static void write_contents(const struct hp_packing *p, uint32_t symbol, uint64_t contents)
{
	if (!contents)
		return;
	hp_patchwriter_note(p->writer, HP_NOTE_CONTENTS);
	hp_patchwriter_number(p->writer, symbol, 4);
	hp_patchwriter_number(p->writer, contents, 8);
}

static void write_bindings(const struct hp_packing *p)
{
	for (size_t i = 0; i < p->n_bindings; i++) {
		const struct hp_packed_binding *b = &p->bindings[i];
		hp_patchwriter_note(p->writer, HP_NOTE_BINDING);
		hp_patchwriter_number(p->writer, b->symbol, 4);
		hp_patchwriter_number(p->writer, b->kind, 1);
		hp_patchwriter_number(p->writer, b->flags, 1);
		hp_patchwriter_number(p->writer, b->unit, 4);
		hp_patchwriter_string(p->writer, b->name);
		hp_patchwriter_string(p->writer, b->scope);
		hp_patchwriter_number(p->writer, b->size, 8);
		write_contents(p, b->symbol, b->contents);
	}
}

static void write_define(const struct hp_packing *p, size_t unit, uint32_t index)
{
	const struct hp_atom *atom = &hp_packing_atoms(p, unit)->items[index];
	const struct hp_contents *contents = &p->contents[unit][index];
	unsigned flags = (atom->is_global ? 0 : HP_DEFINE_STATIC) | (contents->is_own ? HP_DEFINE_OWN : 0);

	hp_patchwriter_note(p->writer, HP_NOTE_DEFINE);
	hp_patchwriter_number(p->writer, p->places[unit][index].symbol, 4);
	hp_patchwriter_number(p->writer, hp_packing_kind(atom), 1);
	hp_patchwriter_number(p->writer, flags, 1);
	hp_patchwriter_number(p->writer, unit, 4);
	hp_patchwriter_string(p->writer, atom->name);
	hp_patchwriter_string(p->writer, atom->scope);
	hp_patchwriter_number(p->writer, atom->size, 8);
	write_contents(p, p->places[unit][index].symbol, contents->hash);
}

static int write_defines(const struct hp_packing *p)
{
	for (size_t unit = 0; unit < p->n_units; unit++) {
		const struct hp_make_unit *u = &p->units[unit];
		for (uint32_t i = 0; i < hp_packing_atoms(p, unit)->count; i++) {
			const struct hp_atom *atom = &hp_packing_atoms(p, unit)->items[i];
			if (u->packed[i] && hp_atom_is_named(atom) && !atom->is_generated &&
			    !hp_diff_is_live(u->diff, i))
				write_define(p, unit, i);
			if (!hp_packing_is_reinit(p, unit, i))
				continue;
			hp_patchwriter_note(p->writer, HP_NOTE_REINIT);
			hp_patchwriter_number(p->writer, p->places[unit][i].binding, 4);
			hp_patchwriter_number(p->writer, p->places[unit][i].symbol, 4);
		}
	}
	return 0;
}

/* What the patch is for, by name and build-id. */
static int write_target(const struct hp_packing *p, const char *path)
{
	const char *slash = strrchr(path, '/');
	struct hp_image *image;
	int r = hp_image_open(path, path, &image, p->err);

	if (r < 0)
		return r;
	if (!image->build_id_size)
		r = hp_err_set(
			p->err, HOTPATCH_EREFUSED,
			"'%s' has no build-id by which to know it: link it with -Wl,--build-id, or leave --image out",
			path);
	hp_patchwriter_note(p->writer, HP_NOTE_TARGET);
	hp_patchwriter_string(p->writer, slash ? slash + 1 : path);
	hp_patchwriter_number(p->writer, image->build_id_size, 4);
	hp_patchwriter_bytes(p->writer, image->build_id, image->build_id_size);
	hp_image_close(image);
	return r;
}

static void write_marks(const struct hp_packing *p, size_t unit)
{
	const struct hp_source_marks *marks = &p->units[unit].marks;

	for (size_t i = 0; i < marks->count; i++) {
		const struct hp_source_mark *mark = &marks->items[i];
		bool migrates = mark->kind == HP_MARK_MIGRATE;
		hp_patchwriter_note(p->writer, migrates ? HP_NOTE_MIGRATE : HP_NOTE_CALLBACK);
		if (migrates)
			hp_patchwriter_string(p->writer, mark->type);
		else
			hp_patchwriter_number(p->writer, mark->kind, 4);
		hp_patchwriter_number(p->writer, p->places[unit][mark->function].symbol, 4);
		if (migrates)
			hp_patchwriter_number(p->writer,
			                      mark->back == HP_NO_ATOM ? 0 : p->places[unit][mark->back].symbol, 4);
	}
}

static void write_list(const struct hp_packing *p, enum hp_note_type type, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		hp_patchwriter_note(p->writer, type);
		hp_patchwriter_string(p->writer, names[i]);
	}
}

static bool is_ground(const struct hp_findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		if (findings->items[i].kind == HP_FOUND_ALLOWED || findings->items[i].kind == HP_FOUND_MIGRATED ||
		    findings->items[i].kind == HP_FOUND_SIGNATURE)
			return true;
	return false;
}

int hp_packing_notes(struct hp_packing *p, const struct hp_findings *findings)
{
	hp_patchwriter_note(p->writer, HP_NOTE_HEADER);
	hp_patchwriter_number(p->writer, HP_PATCH_VERSION, 4);
	hp_patchwriter_number(p->writer, is_ground(findings) ? HP_PATCH_GROUND : 0, 4);
	hp_patchwriter_string(p->writer, p->options->name);
	hp_patchwriter_string(p->writer, p->options->description ? p->options->description : "");
	hp_patchwriter_string(p->writer, "hotpatch " HP_VERSION);
	int r = 0;
	for (size_t i = 0; i < p->options->n_images && r == 0; i++)
		r = write_target(p, p->options->images[i]);
	for (size_t i = 0; i < p->n_units; i++)
		write_unit(p, &p->units[i]);
	if (r == 0)
		r = write_changes(p);
	if (r < 0)
		return r;
	write_bindings(p);
	write_defines(p);
	for (size_t i = 0; i < p->n_units; i++)
		write_marks(p, i);
	write_list(p, HP_NOTE_REQUIRES, p->options->requires, p->options->n_requires);
	write_list(p, HP_NOTE_REPLACES, p->options->replaces, p->options->n_replaces);
	for (size_t i = 0; i < findings->count; i++) {
		hp_patchwriter_note(p->writer, HP_NOTE_MESSAGE);
		hp_patchwriter_number(p->writer, findings->items[i].kind, 4);
		hp_patchwriter_string(p->writer, findings->items[i].sentence);
	}
	return 0;
}
