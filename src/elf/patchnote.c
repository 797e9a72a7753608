#include "elf/patchnote.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"

enum { OLD_SIZE_MAX = 1 << 28 };

struct notes {
	struct hp_patchfile *file;
	struct hp_cursor all; /* the notes not read yet */
	struct hp_cursor in;  /* of the present note, what is not read yet */
	size_t number;        /* of the present note, from 1 */
	char *strings;        /* where the next one goes */
	struct hp_err *err;
};

static int damaged(const struct notes *n, const char *why)
{
	return hp_err_set(n->err, HOTPATCH_ENOTELF, "the patch file '%s' is damaged: its note %zu %s", n->file->path,
	                  n->number, why);
}

/* -- Fields ---------------------------------------------------------------------------------------------------- */

/* Copied, for the NUL behind it: there is room, since a length of four bytes stood in front of each. */
static const char *take_string(struct notes *n)
{
	size_t length = (uint32_t)hp_take(&n->in, 4);
	char *string = n->strings;

	if (n->in.bad || (size_t)(n->in.end - n->in.at) < length || memchr(n->in.at, 0, length)) {
		n->in.bad = true;
		return "";
	}
	memcpy(string, n->in.at, length);
	string[length] = '\0';
	n->in.at += length;
	n->strings += length + 1;
	return string;
}

static uint32_t take_symbol(struct notes *n, bool is_defined)
{
	uint32_t symbol = (uint32_t)hp_take(&n->in, 4);

	if (!symbol || symbol >= n->file->n_symbols || (n->file->symbols[symbol].section != 0) != is_defined) {
		n->in.bad = true;
		return 0;
	}
	if (is_defined && !(n->file->sections[n->file->symbols[symbol].section].flags & SHF_ALLOC))
		n->in.bad = true;
	return symbol;
}

/* UNIT notes stand before those that speak of them. */
static uint32_t take_unit(struct notes *n)
{
	uint32_t unit = (uint32_t)hp_take(&n->in, 4);

	if (unit != HP_NO_UNIT && unit >= n->file->n_units)
		n->in.bad = true;
	return unit;
}

static enum hp_patch_kind take_kind(struct notes *n)
{
	unsigned kind = (unsigned)hp_take(&n->in, 1);

	if (kind > HP_PATCH_IFUNC)
		n->in.bad = true;
	return (enum hp_patch_kind)kind;
}

/* How many items of at least `least` bytes follow: more than fit are none. */
static size_t take_count(struct notes *n, size_t least)
{
	size_t count = (uint32_t)hp_take(&n->in, 4);

	if (n->in.bad || count > (size_t)(n->in.end - n->in.at) / least) {
		n->in.bad = true;
		return 0;
	}
	return count;
}

/* -- Kinds of notes -------------------------------------------------------------------------------------------- */

static int read_header(struct notes *n)
{
	uint32_t version = (uint32_t)hp_take(&n->in, 4);

	if (!n->in.bad && version != HP_PATCH_VERSION)
		return hp_err_set(
			n->err, HOTPATCH_ENOTELF,
			"the patch file '%s' is of version %u, this hotpatch reads version %u: build it again "
			"with this one",
			n->file->path, version, HP_PATCH_VERSION);
	n->file->flags = (uint32_t)hp_take(&n->in, 4);
	if (n->file->flags & ~(uint32_t)HP_PATCH_GROUND)
		return damaged(n, "has flags that are not known");
	n->file->name = take_string(n);
	n->file->description = take_string(n);
	n->file->producer = take_string(n);
	return n->in.bad || *n->file->name ? 0 : damaged(n, "gives the patch no name");
}

static int read_target(struct notes *n)
{
	struct hp_patch_target *target = &n->file->targets[n->file->n_targets++];

	target->name = take_string(n);
	size_t size = take_count(n, 1);
	if (size > sizeof(target->build_id))
		return damaged(n, "has a build-id that is too long");
	memcpy(target->build_id, n->in.at, size);
	target->build_id_size = size;
	n->in.at += size;
	return 0;
}

static int read_unit(struct notes *n)
{
	struct hp_patch_unit *unit = &n->file->units[n->file->n_units++];

	unit->file = take_string(n);
	unit->source = take_string(n);
	unit->folder = take_string(n);
	unit->command = take_string(n);
	size_t count = take_count(n, 13);
	unit->locals = calloc(count + 1, sizeof(*unit->locals));
	if (!unit->locals)
		return hp_err_set(n->err, HOTPATCH_ENOMEM, "no memory to read '%s'", n->file->path);
	for (; unit->n_locals < count; unit->n_locals++) {
		struct hp_patch_local *local = &unit->locals[unit->n_locals];
		local->name = take_string(n);
		local->kind = take_kind(n);
		local->size = hp_take(&n->in, 8);
	}
	return 0;
}

static int read_masks(struct notes *n, struct hp_patch_change *change)
{
	size_t count = take_count(n, 8);
	uint64_t at = 0;

	change->masks = calloc(count + 1, sizeof(*change->masks));
	if (!change->masks)
		return hp_err_set(n->err, HOTPATCH_ENOMEM, "no memory to read '%s'", n->file->path);
	for (; change->n_masks < count; change->n_masks++) {
		struct hp_mask *mask = &change->masks[change->n_masks];
		mask->offset = (uint32_t)hp_take(&n->in, 4);
		mask->length = (uint32_t)hp_take(&n->in, 4);
		if (mask->offset < at || (uint64_t)mask->offset + mask->length > change->old_size)
			return damaged(n, "has a mask that does not ascend or leaves the old code");
		at = (uint64_t)mask->offset + mask->length;
	}
	return 0;
}

static int read_change(struct notes *n)
{
	struct hp_patch_change *change = &n->file->changes[n->file->n_changes++];

	change->symbol = take_symbol(n, true);
	change->unit = take_unit(n);
	change->name = take_string(n);
	change->path = take_string(n);
	change->old_size = hp_take(&n->in, 8);
	for (size_t i = 0; i < HP_HASH_SIZE; i++)
		change->old_hash[i] = (uint8_t)hp_take(&n->in, 1);
	if (n->in.bad || !*change->name || !change->old_size || change->old_size > OLD_SIZE_MAX)
		return damaged(n, "does not say what is changed");
	const struct hp_patch_symbol *symbol = &n->file->symbols[change->symbol];
	if (symbol->type != STT_FUNC || !symbol->size || !(n->file->sections[symbol->section].flags & SHF_EXECINSTR))
		return damaged(n, "has new code that is no function");
	int r = read_masks(n, change);
	change->old_section = (uint32_t)hp_take(&n->in, 4);
	if (r == 0 && change->old_section >= n->file->n_sections)
		return damaged(n, "has old code in no section");
	return r;
}

static int read_binding(struct notes *n)
{
	uint32_t index = (uint32_t)n->file->n_bindings;
	struct hp_patch_binding *binding = &n->file->bindings[n->file->n_bindings++];

	binding->symbol = take_symbol(n, false);
	binding->kind = take_kind(n);
	binding->flags = (unsigned)hp_take(&n->in, 1);
	binding->unit = take_unit(n);
	binding->name = take_string(n);
	binding->scope = take_string(n);
	binding->size = hp_take(&n->in, 8);
	if (n->in.bad || !*binding->name)
		return damaged(n, "does not say what is bound");
	struct hp_patch_symbol *symbol = &n->file->symbols[binding->symbol];
	if (symbol->binding != UINT32_MAX)
		return damaged(n, "binds a symbol that another one binds");
	symbol->binding = index;
	return 0;
}

static int read_define(struct notes *n)
{
	struct hp_patch_define *define = &n->file->defines[n->file->n_defines++];

	define->symbol = take_symbol(n, true);
	define->kind = take_kind(n);
	define->flags = (unsigned)hp_take(&n->in, 1);
	define->unit = take_unit(n);
	define->name = take_string(n);
	define->scope = take_string(n);
	define->size = hp_take(&n->in, 8);
	return 0;
}

/* Of the binding or the definition before it. */
static int read_contents(struct notes *n)
{
	struct hp_patchfile *file = n->file;
	uint32_t symbol = (uint32_t)hp_take(&n->in, 4);
	uint64_t contents = hp_take(&n->in, 8);

	if (file->n_bindings && file->bindings[file->n_bindings - 1].symbol == symbol)
		file->bindings[file->n_bindings - 1].contents = contents;
	else if (file->n_defines && file->defines[file->n_defines - 1].symbol == symbol)
		file->defines[file->n_defines - 1].contents = contents;
	else
		return damaged(n, "does not say which constant holds what");
	return 0;
}

static int read_reinit(struct notes *n)
{
	struct hp_patch_reinit *reinit = &n->file->reinits[n->file->n_reinits++];
	uint32_t symbol = take_symbol(n, false);

	reinit->symbol = take_symbol(n, true);
	reinit->binding = n->in.bad ? 0 : n->file->symbols[symbol].binding;
	if (n->in.bad || reinit->binding == UINT32_MAX)
		return damaged(n, "does not say which variable gets a new value");
	const struct hp_patch_binding *binding = &n->file->bindings[reinit->binding];
	if (!binding->size || binding->size != n->file->symbols[reinit->symbol].size)
		return damaged(n, "has a value of another size than its variable");
	return 0;
}

static int read_callback(struct notes *n)
{
	struct hp_patch_callback *callback = &n->file->callbacks[n->file->n_callbacks++];
	uint32_t kind = (uint32_t)hp_take(&n->in, 4);

	if (kind > HP_POST_REVERT)
		return damaged(n, "has a callback of a kind that is not known");
	callback->kind = (enum hp_patch_callback_kind)kind;
	callback->symbol = take_symbol(n, true);
	return 0;
}

static int read_migration(struct notes *n)
{
	struct hp_patch_migration *migration = &n->file->migrations[n->file->n_migrations++];
	struct hp_cursor back;

	migration->type = take_string(n);
	migration->forward = take_symbol(n, true);
	back = n->in;
	if (hp_take(&back, 4) == 0)
		n->in = back;
	else
		migration->back = take_symbol(n, true);
	return 0;
}

static int read_requires(struct notes *n)
{
	n->file->requires[n->file->n_requires++] = take_string(n);
	return 0;
}

static int read_replaces(struct notes *n)
{
	n->file->replaces[n->file->n_replaces++] = take_string(n);
	return 0;
}

static int read_message(struct notes *n)
{
	struct hp_patch_message *message = &n->file->messages[n->file->n_messages++];

	message->kind = (uint32_t)hp_take(&n->in, 4);
	message->text = take_string(n);
	return 0;
}

static int read_digest(struct notes *n)
{
	if (n->file->digest || n->in.end - n->in.at != HP_HASH_SIZE)
		return damaged(n, "is not the one digest there is to be");
	n->file->digest = n->in.at;
	n->in.at = n->in.end;
	return 0;
}

/* -- All of them ----------------------------------------------------------------------------------------------- */

static int (*const readers[HP_NOTE_TYPES])(struct notes *n) = {
	[HP_NOTE_HEADER] = read_header,     [HP_NOTE_TARGET] = read_target,     [HP_NOTE_UNIT] = read_unit,
	[HP_NOTE_CHANGE] = read_change,     [HP_NOTE_BINDING] = read_binding,   [HP_NOTE_DEFINE] = read_define,
	[HP_NOTE_REINIT] = read_reinit,     [HP_NOTE_CALLBACK] = read_callback, [HP_NOTE_REQUIRES] = read_requires,
	[HP_NOTE_REPLACES] = read_replaces, [HP_NOTE_MESSAGE] = read_message,   [HP_NOTE_MIGRATE] = read_migration,
	[HP_NOTE_DIGEST] = read_digest,     [HP_NOTE_CONTENTS] = read_contents,
};

/* The next note's type and bytes: 1, 0 at the end, negative. */
static int take_note(struct notes *n, uint32_t *ret_type)
{
	if (n->all.at == n->all.end)
		return 0;
	n->number++;
	size_t name_size = hp_take(&n->all, 4), size = hp_take(&n->all, 4);
	*ret_type = (uint32_t)hp_take(&n->all, 4);
	if (n->all.bad || name_size != sizeof(HP_NOTE_NAME) || n->all.end - n->all.at < 12 ||
	    memcmp(n->all.at, HP_NOTE_NAME "\0\0\0", 12) != 0)
		return damaged(n, "is not one of hotpatch's");
	n->all.at += 12;
	size_t padded = (size + 3) & ~(size_t)3, left = (size_t)(n->all.end - n->all.at);
	if (padded > left)
		return damaged(n, "is cut short");
	n->in = (struct hp_cursor){n->all.at, n->all.at + size, false};
	n->all.at += padded;
	return 1;
}

/* How many there are of each type. */
static int count_notes(struct notes n, size_t counts[HP_NOTE_TYPES])
{
	uint32_t type;
	int more;

	while ((more = take_note(&n, &type)) > 0) {
		if (type & (uint32_t)HP_NOTE_OPTIONAL)
			continue;
		if (!type || type >= HP_NOTE_TYPES)
			return damaged(&n, "is of a kind that is not known");
		if ((type == HP_NOTE_HEADER) != (n.number == 1))
			return damaged(&n, "is not where the header is to be");
		counts[type]++;
	}
	if (more == 0 && !counts[HP_NOTE_HEADER])
		return damaged(&n, "is missing");
	return more;
}

static bool make_room(struct hp_patchfile *file, const size_t counts[HP_NOTE_TYPES], size_t size)
{
	file->targets = calloc(counts[HP_NOTE_TARGET] + 1, sizeof(*file->targets));
	file->units = calloc(counts[HP_NOTE_UNIT] + 1, sizeof(*file->units));
	file->changes = calloc(counts[HP_NOTE_CHANGE] + 1, sizeof(*file->changes));
	file->bindings = calloc(counts[HP_NOTE_BINDING] + 1, sizeof(*file->bindings));
	file->defines = calloc(counts[HP_NOTE_DEFINE] + 1, sizeof(*file->defines));
	file->reinits = calloc(counts[HP_NOTE_REINIT] + 1, sizeof(*file->reinits));
	file->callbacks = calloc(counts[HP_NOTE_CALLBACK] + 1, sizeof(*file->callbacks));
	file->migrations = calloc(counts[HP_NOTE_MIGRATE] + 1, sizeof(*file->migrations));
	file->requires = calloc(counts[HP_NOTE_REQUIRES] + 1, sizeof(*file->requires));
	file->replaces = calloc(counts[HP_NOTE_REPLACES] + 1, sizeof(*file->replaces));
	file->messages = calloc(counts[HP_NOTE_MESSAGE] + 1, sizeof(*file->messages));
	file->strings = malloc(size + 1);
	return file->targets && file->units && file->changes && file->bindings && file->defines && file->reinits &&
	       file->callbacks && file->migrations && file->requires && file->replaces && file->messages &&
	       file->strings;
}

static int check_bindings(const struct notes *n)
{
	for (size_t i = 1; i < n->file->n_symbols; i++)
		if (!n->file->symbols[i].section && n->file->symbols[i].binding == UINT32_MAX)
			return hp_err_set(n->err, HOTPATCH_ENOTELF,
			                  "the patch file '%s' is damaged: nothing says what its symbol '%s' is",
			                  n->file->path, n->file->symbols[i].name);
	return 0;
}

int hp_patchnotes_read(struct hp_patchfile *file, const uint8_t *bytes, size_t size, struct hp_err *err)
{
	struct notes n = {.file = file, .all = {bytes, bytes + size, false}, .err = err};
	size_t counts[HP_NOTE_TYPES] = {0};
	uint32_t type;
	int more, r;

	if ((r = count_notes(n, counts)) < 0)
		return r;
	if (!make_room(file, counts, size))
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to read '%s'", file->path);
	n.strings = file->strings;
	while ((more = take_note(&n, &type)) > 0) {
		if (type & (uint32_t)HP_NOTE_OPTIONAL)
			continue;
		if ((r = readers[type](&n)) < 0)
			return r;
		if (n.in.bad || n.in.at != n.in.end)
			return damaged(&n, "does not hold what its kind says");
	}
	return more < 0 ? more : check_bindings(&n);
}
