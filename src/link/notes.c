#include "link/notes.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"

enum { VERSION = 2 };

/* -- Writing --------------------------------------------------------------------------------------------------- */

struct writer {
	uint8_t *bytes;
	size_t size, room;
	bool failed;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
	if (w->size + n > w->room && !w->failed) {
		size_t room = 2 * (w->size + n) + 256;
		uint8_t *grown = realloc(w->bytes, room);
		w->failed = !grown;
		if (grown) {
			w->bytes = grown;
			w->room = room;
		}
	}
	if (w->failed)
		return;
	memcpy(w->bytes + w->size, bytes, n);
	w->size += n;
}

static void put_number(struct writer *w, uint64_t value, size_t size)
{
	put(w, &value, size); /* little-endian, as all that arch.h knows */
}

static void put_string(struct writer *w, const char *string)
{
	size_t length = string ? strlen(string) : 0;
	put_number(w, length, 4);
	put(w, string ? string : "", length);
}

int hp_notes_write(const struct hp_notes *notes, void **ret_bytes, size_t *ret_size, struct hp_err *err)
{
	struct writer w = {0};

	put_number(&w, VERSION, 4);
	put_string(&w, notes->file);
	put_string(&w, notes->description);
	put_string(&w, notes->producer);
	put_number(&w, notes->n_requires, 4);
	for (size_t i = 0; i < notes->n_requires; i++)
		put_string(&w, notes->requires[i]);
	put_number(&w, notes->n_changes, 4);
	for (size_t i = 0; i < notes->n_changes; i++) {
		const struct hp_note_change *change = &notes->changes[i];
		put_number(&w, change->entry, 8);
		put_number(&w, change->size, 8);
		put_string(&w, change->name);
		put_string(&w, change->unit);
		put_string(&w, change->image);
	}
	put_number(&w, notes->n_defines, 4);
	for (size_t i = 0; i < notes->n_defines; i++) {
		const struct hp_note_define *define = &notes->defines[i];
		put_number(&w, define->kind, 1);
		put_number(&w, define->flags, 1);
		put_number(&w, define->address, 8);
		put_number(&w, define->size, 8);
		put_number(&w, define->contents, 8);
		put_string(&w, define->name);
		put_string(&w, define->unit);
		put_string(&w, define->source);
		put_string(&w, define->scope);
	}
	if (w.failed) {
		free(w.bytes);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the notes of a patch");
	}
	*ret_bytes = w.bytes;
	*ret_size = w.size;
	return 0;
}

/* -- Reading --------------------------------------------------------------------------------------------------- */

struct reader {
	struct hp_cursor c;
	char *strings; /* where the next one goes: together they are shorter than the notes */
};

static const char *take_string(struct reader *r)
{
	size_t length = hp_take(&r->c, 4);
	char *string = r->strings;

	if (r->c.bad || length > (size_t)(r->c.end - r->c.at)) {
		r->c.bad = true;
		return "";
	}
	memcpy(string, r->c.at, length);
	string[length] = '\0';
	r->c.at += length;
	r->strings += length + 1;
	return string;
}

/* How many follow, each of at least `least` bytes. */
static size_t take_count(struct reader *r, size_t least)
{
	size_t n = hp_take(&r->c, 4);
	if (n > (size_t)(r->c.end - r->c.at) / least)
		r->c.bad = true;
	return r->c.bad ? 0 : n;
}

static void take_changes(struct reader *r, struct hp_notes *notes)
{
	size_t n = take_count(r, 28);

	notes->changes = calloc(n + 1, sizeof(*notes->changes));
	for (size_t i = 0; notes->changes && i < n; i++) {
		struct hp_note_change *change = &notes->changes[notes->n_changes++];
		change->entry = hp_take(&r->c, 8);
		change->size = hp_take(&r->c, 8);
		change->name = take_string(r);
		change->unit = take_string(r);
		change->image = take_string(r);
	}
}

static void take_defines(struct reader *r, struct hp_notes *notes)
{
	size_t n = take_count(r, 42);

	notes->defines = calloc(n + 1, sizeof(*notes->defines));
	for (size_t i = 0; notes->defines && i < n; i++) {
		struct hp_note_define *define = &notes->defines[notes->n_defines++];
		define->kind = (unsigned)hp_take(&r->c, 1);
		define->flags = (unsigned)hp_take(&r->c, 1);
		define->address = hp_take(&r->c, 8);
		define->size = hp_take(&r->c, 8);
		define->contents = hp_take(&r->c, 8);
		define->name = take_string(r);
		define->unit = take_string(r);
		define->source = take_string(r);
		define->scope = take_string(r);
	}
}

static void take_all(struct reader *r, struct hp_notes *notes)
{
	if (hp_take(&r->c, 4) != VERSION)
		r->c.bad = true;
	notes->file = take_string(r);
	notes->description = take_string(r);
	notes->producer = take_string(r);
	size_t n = take_count(r, 4);
	notes->requires = calloc(n + 1, sizeof(*notes->requires));
	for (size_t i = 0; notes->requires && i < n; i++)
	notes->requires[notes->n_requires++] = take_string(r);
	take_changes(r, notes);
	take_defines(r, notes);
}

int hp_notes_read(const void *bytes, size_t size, struct hp_notes **ret_notes, struct hp_err *err)
{
	struct hp_notes *notes = calloc(1, sizeof(*notes));
	struct reader r = {.c = {.at = bytes, .end = (const uint8_t *)bytes + size}};

	if (notes)
		r.strings = notes->strings = malloc(size + 4); /* a length of 4 bytes makes room for the NUL */
	if (r.strings)
		take_all(&r, notes);
	if (!r.strings || !notes->requires || !notes->changes || !notes->defines) {
		hp_notes_free(notes);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the notes of a patch");
	}
	if (r.c.bad || r.c.at != r.c.end) {
		hp_notes_free(notes);
		return hp_err_set(err, HOTPATCH_EINVAL,
		                  "the notes of a patch cannot be read: they were written by another "
		                  "version of hotpatch");
	}
	*ret_notes = notes;
	return 0;
}

void hp_notes_free(struct hp_notes *notes)
{
	if (!notes)
		return;
	free(notes->requires);
	free(notes->changes);
	free(notes->defines);
	free(notes->strings);
	free(notes);
}
