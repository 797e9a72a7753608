#include "watch/touched.h"

#include "watch/clock.h"
#include "watch/saves.h"
#include "watch/texts.h"

enum { SETTLE_MOST_MS = 2000 }; /* somebody writes without end */

static double due_in(bool is_open)
{
	return hp_clock_ms() + (is_open ? HP_OPEN_MS : HP_SETTLE_MS);
}

void hp_touched_file(struct hp_touched *touched, size_t index, bool is_open, bool was_read)
{
	struct hp_source_file *file = &touched->units->files[index];

	file->touched = true;
	file->due = due_in(is_open);
	file->is_open = is_open;
	file->was_read |= was_read;
	if (!touched->first_seen)
		touched->first_seen = hp_clock_ms();
}

void hp_touched_database(struct hp_touched *touched, bool is_open)
{
	touched->database_due = due_in(is_open);
}

void hp_touched_unit(struct hp_touched *touched, struct hp_source *unit, double delay_ms)
{
	struct hp_source_file *file = &touched->units->files[hp_units_file(touched->units, unit->compile->path)];
	double due = hp_clock_ms() + delay_ms;

	unit->is_dirty = true;
	file->due = file->touched && file->due > due ? file->due : due;
	file->touched = true;
}

void hp_touched_failed(struct hp_touched *touched, double delay_ms)
{
	for (size_t i = 0; i < touched->units->n; i++)
		if (touched->units->v[i]->is_failed)
			hp_touched_unit(touched, touched->units->v[i], delay_ms);
}

double hp_touched_rest_at(const struct hp_touched *touched)
{
	double due = touched->database_due, most = touched->first_seen + SETTLE_MOST_MS;
	bool is_touched = due > 0;

	for (size_t i = 0; i < touched->units->n_files; i++) {
		const struct hp_source_file *file = &touched->units->files[i];
		is_touched |= file->touched;
		due = file->touched && file->due > due ? file->due : due;
	}
	if (!is_touched)
		return 0;
	return touched->first_seen && due > most ? most : due > 1 ? due : 1;
}

bool hp_touched_is_at_rest(struct hp_touched *touched)
{
	double now = hp_clock_ms(), first = touched->first_seen;
	bool is_open = false;

	for (size_t i = 0; i < touched->units->n_files && first && now < first + SETTLE_MOST_MS; i++) {
		struct hp_source_file *file = &touched->units->files[i];
		if (!file->touched || !hp_saves_is_open(file->path))
			continue;
		file->due = now + HP_SETTLE_MS;
		is_open = true;
	}
	return !is_open;
}

size_t hp_touched_only(const struct hp_touched *touched)
{
	const struct hp_units *units = touched->units;
	size_t only = HP_NO_FILE;

	for (size_t i = 0; i < units->n_files && touched->first_seen && !touched->database_due; i++) {
		if (!units->files[i].touched)
			continue;
		if (only != HP_NO_FILE)
			return HP_NO_FILE;
		only = i;
	}
	bool is_closed =
		only != HP_NO_FILE && !units->files[only].is_open && !hp_saves_is_open(units->files[only].path);
	return is_closed ? only : HP_NO_FILE;
}

/* A file that has gone comes back, or its units are changed so that they do without. */
void hp_touched_compare(struct hp_touched *touched, size_t index)
{
	struct hp_source_file *file = &touched->units->files[index];
	uint64_t hash = hp_text_hash(file->path);

	file->touched = false;
	if (!file->was_read && (!hash || hash == file->hash))
		return;
	file->hash = hash;
	file->was_read = false;
	for (size_t i = 0; i < touched->units->n; i++)
		if (hp_unit_has_file(touched->units->v[i], index))
			touched->units->v[i]->is_dirty = true;
}

void hp_touched_compare_all(struct hp_touched *touched)
{
	for (size_t i = 0; i < touched->units->n_files; i++)
		if (touched->units->files[i].touched)
			hp_touched_compare(touched, i);
}
