#include "remote/match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link/relocate.h"
#include "remote/aims.h"
#include "remote/source.h"

/* A function that may be the one a change means. */
struct candidate {
	size_t change, image;
	const struct hp_name *name;
	uint64_t entry;
	bool same; /* its code is what the patch was made from */
};

/* A static of a unit that the old code in memory refers to: its unit has it there. */
struct witness {
	uint32_t unit;
	const char *name;
	uint64_t address;
	const struct candidate *from; /* of a static function: it speaks for its own group only; else NULL */
};

struct matcher {
	struct hp_view *view;
	const struct hp_patchfile *file;
	struct hp_match *match;
	struct candidate *candidates; /* by change, then by image */
	size_t n_candidates, room;
	size_t *first; /* per change: its first candidate; the next one's is behind its last */
	struct witness *witnesses;
	size_t n_witnesses;
	struct hp_err *err;
};

static const char *image_name(const struct matcher *m, size_t image)
{
	return m->view->images.v[image].name;
}

static int no_memory(const struct matcher *m)
{
	return hp_err_set(m->err, HOTPATCH_ENOMEM, "no memory to match '%s'", m->file->path);
}

/* -- Candidates ------------------------------------------------------------------------------------------------ */

/* What gcc writes into STT_FILE is the last part of the path; what clang writes is as it was given. */
static bool is_file(const char *unit, const char *file)
{
	return strcmp(unit, file) == 0 || strcmp(hp_base_name(unit), hp_base_name(file)) == 0;
}

static bool is_function(const struct hp_name *name)
{
	return name->is_defined && (name->type == STT_FUNC || name->type == STT_GNU_IFUNC);
}

static int add_candidate(struct matcher *m, size_t change, size_t image, const struct hp_name *name)
{
	if (m->n_candidates == m->room) {
		size_t room = 2 * m->room + 16;
		void *grown = realloc(m->candidates, room * sizeof(*m->candidates));
		if (!grown)
			return no_memory(m);
		m->candidates = grown;
		m->room = room;
	}
	m->candidates[m->n_candidates++] = (struct candidate){
		.change = change,
		.image = image,
		.name = name,
		.entry = m->view->images.v[image].bias + name->value,
	};
	return 0;
}

/* A global function may have become a local symbol (hidden visibility, a version script): then it follows no STT_FILE
 * of its own, or that of its unit (lld). It is considered where the image has no global one. */
static bool may_be(const struct hp_patchfile *file, const struct hp_patch_change *change, const struct hp_name *name,
                   bool has_global)
{
	if (!is_function(name))
		return false;
	if (change->unit == HP_NO_UNIT)
		return !name->is_local || !has_global;
	return name->is_local && is_file(name->unit, file->units[change->unit].file);
}

static int gather_from(struct matcher *m, size_t change, size_t image)
{
	const struct hp_names *names;
	size_t n;
	bool has_global = false;
	int r = hp_view_names(m->view, image, &names, m->err);

	if (r < 0)
		return r;
	const struct hp_name *name = hp_names_find(names, m->file->changes[change].name, &n);
	for (size_t i = 0; i < n; i++)
		has_global |= is_function(&name[i]) && !name[i].is_local;
	for (size_t i = 0; i < n && r == 0; i++)
		if (may_be(m->file, &m->file->changes[change], &name[i], has_global))
			r = add_candidate(m, change, image, &name[i]);
	return r;
}

static int gather(struct matcher *m)
{
	m->first = calloc(m->file->n_changes + 1, sizeof(*m->first));
	int r = m->first ? 0 : no_memory(m);
	for (size_t i = 0; i < m->file->n_changes && r == 0; i++) {
		for (size_t image = 0; image < m->view->images.n && r == 0; image++)
			if (m->match->is_target[image])
				r = gather_from(m, i, image);
		m->first[i + 1] = m->n_candidates;
	}
	return r;
}

/* -- Their code ------------------------------------------------------------------------------------------------ */

enum { READ_MAX = 2 << 20 }; /* bytes in one request; a frame holds 3 MiB (doc/protocol.md) */

/* The patch file keeps what the old code refers to; where that leads in the process stands in the code. */
static int hear_witnesses(struct matcher *m, const struct candidate *candidate, const uint8_t *code)
{
	const struct hp_patch_change *change = &m->file->changes[candidate->change];
	const struct hp_patch_section *old = &m->file->sections[change->old_section];

	void *grown = realloc(m->witnesses, (m->n_witnesses + old->n_relocs + 1) * sizeof(*m->witnesses));
	if (!grown)
		return no_memory(m);
	m->witnesses = grown;
	for (size_t i = 0; i < old->n_relocs; i++) {
		const struct hp_patch_reloc *reloc = &old->relocs[i];
		uint32_t binding = m->file->symbols[reloc->symbol].binding;
		struct witness witness = {.from = change->unit == HP_NO_UNIT ? NULL : candidate};
		if (m->file->symbols[reloc->symbol].section || binding >= m->file->n_bindings ||
		    old->size != change->old_size ||
		    !hp_relocation_read(reloc, code + reloc->offset, candidate->entry + reloc->offset,
		                        &witness.address))
			continue;
		witness.unit = m->file->bindings[binding].unit;
		witness.name = m->file->bindings[binding].name;
		m->witnesses[m->n_witnesses++] = witness;
	}
	return 0;
}

static int compare_code(struct matcher *m, struct candidate *candidate, const struct hp_remote_range *range)
{
	const struct hp_patch_change *change = &m->file->changes[candidate->change];
	uint8_t hash[HP_HASH_SIZE];

	if (range->got != range->size)
		return 0;
	hp_code_hash(range->buffer, range->size, change->masks, change->n_masks, hash);
	candidate->same = memcmp(hash, change->old_hash, sizeof(hash)) == 0;
	return candidate->same ? hear_witnesses(m, candidate, range->buffer) : 0;
}

/* Reads and compares candidates from *at on, as many as one request takes. */
static int compare_some(struct matcher *m, size_t *at)
{
	size_t n = 0, bytes = 0, begin = *at;
	int r;

	for (; *at < m->n_candidates && bytes < READ_MAX; (*at)++, n++)
		bytes += m->file->changes[m->candidates[*at].change].old_size;
	struct hp_remote_range *ranges = calloc(n + 1, sizeof(*ranges));
	uint8_t *buffer = malloc(bytes + 1);
	if (!ranges || !buffer) {
		r = no_memory(m);
		goto out;
	}
	for (size_t i = 0, used = 0; i < n; i++) {
		const struct candidate *candidate = &m->candidates[begin + i];
		uint32_t size = (uint32_t)m->file->changes[candidate->change].old_size;
		ranges[i] =
			(struct hp_remote_range){.address = candidate->entry, .buffer = buffer + used, .size = size};
		used += size;
	}
	r = hp_remote_read(m->view->remote, true, ranges, n, m->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = compare_code(m, &m->candidates[begin + i], &ranges[i]);
out:
	free(ranges);
	free(buffer);
	return r;
}

static int compare_all(struct matcher *m)
{
	int r = 0;

	for (size_t i = 0; i < m->file->n_changes; i++)
		if (m->file->changes[i].old_size > READ_MAX / 2)
			return hp_err_set(m->err, HOTPATCH_ENOTSUP, "'%s': '%s' is too large: %llu bytes",
			                  m->file->path, m->file->changes[i].name,
			                  (unsigned long long)m->file->changes[i].old_size);
	for (size_t at = 0; at < m->n_candidates && r == 0;)
		r = compare_some(m, &at);
	return r;
}

/* -- The units ------------------------------------------------------------------------------------------------- */

struct group {
	size_t image;
	uint32_t number, score;
};

struct groups {
	struct group *v;
	size_t n;
};

static bool is_kind(const struct hp_name *name, enum hp_patch_kind kind)
{
	switch (kind) {
	case HP_PATCH_FUNCTION:
		return name->type == STT_FUNC;
	case HP_PATCH_VARIABLE:
		return name->type == STT_OBJECT;
	case HP_PATCH_THREAD_LOCAL:
		return name->type == STT_TLS;
	case HP_PATCH_IFUNC:
		return name->type == STT_GNU_IFUNC;
	default:
		return true;
	}
}

static int count_for(struct matcher *m, struct groups *groups, size_t image, uint32_t number)
{
	for (size_t i = 0; i < groups->n; i++)
		if (groups->v[i].image == image && groups->v[i].number == number) {
			groups->v[i].score++;
			return 0;
		}
	void *grown = realloc(groups->v, (groups->n + 1) * sizeof(*groups->v));
	if (!grown)
		return no_memory(m);
	groups->v = grown;
	groups->v[groups->n++] = (struct group){image, number, 1};
	return 0;
}

/* Every group with the unit's file name, and how many of the unit's names it has. */
static int score_groups(struct matcher *m, const struct hp_patch_unit *unit, size_t image, struct groups *groups)
{
	const struct hp_names *names;
	int r = hp_view_names(m->view, image, &names, m->err);

	for (size_t i = 0; i < unit->n_locals && r == 0; i++) {
		const struct hp_patch_local *local = &unit->locals[i];
		size_t n;
		const struct hp_name *name = hp_names_find(names, local->name, &n);
		for (size_t k = 0; k < n && r == 0; k++)
			if (name[k].is_local && name[k].is_defined && is_file(name[k].unit, unit->file) &&
			    is_kind(&name[k], local->kind) && (!local->size || local->size == name[k].size))
				r = count_for(m, groups, image, name[k].group);
	}
	return r;
}

/* A unit that lists its names but has none of the changed functions as they were is another one. */
static bool has_changes(const struct matcher *m, size_t unit, const struct group *group)
{
	for (size_t i = 0; i < m->file->n_changes; i++) {
		bool found = m->file->changes[i].unit != unit;
		for (size_t k = m->first[i]; k < m->first[i + 1] && !found; k++) {
			const struct candidate *c = &m->candidates[k];
			found = c->same && c->image == group->image && c->name->group == group->number;
		}
		if (!found)
			return false;
	}
	return true;
}

/* Whether the group has every static where the code in memory refers to it. */
static bool is_witnessed(const struct matcher *m, size_t unit, const struct group *group)
{
	uint64_t bias = m->view->images.v[group->image].bias;

	for (size_t i = 0; i < m->n_witnesses; i++) {
		const struct witness *w = &m->witnesses[i];
		size_t n, k = 0;
		if (w->unit != unit ||
		    (w->from && (w->from->image != group->image || w->from->name->group != group->number)))
			continue;
		const struct hp_name *name = hp_names_find(m->view->names[group->image], w->name, &n);
		while (k < n &&
		       !(name[k].is_local && name[k].group == group->number && bias + name[k].value == w->address))
			k++;
		if (k == n)
			return false;
	}
	return true;
}

static int refuse_units(const struct matcher *m, const struct hp_patch_unit *unit, const struct group *a,
                        const struct group *b)
{
	return hp_err_set(
		m->err, HOTPATCH_EAMBIGUOUS,
		"'%s' of '%s' may be any of several units of process %d that have the same name and contents: "
		"number %u of '%s' and number %u of '%s'",
		unit->file, m->file->path, (int)m->view->pid, a->number, image_name(m, a->image), b->number,
		image_name(m, b->image));
}

/* Whether one of the changed functions was compiled from the unit's source in that group. */
static bool is_from_source(const struct matcher *m, size_t unit, const struct group *group)
{
	const struct hp_patch_unit *u = &m->file->units[unit];

	for (size_t i = 0; i < m->n_candidates; i++) {
		const struct candidate *c = &m->candidates[i];
		if (c->same && m->file->changes[c->change].unit == unit && c->image == group->image &&
		    c->name->group == group->number)
			return hp_source_is(m->view->pid, &m->view->images.v[c->image], c->name->value, u->folder,
			                    u->source);
	}
	return false;
}

struct choice {
	const struct group *best, *second; /* second: as good as the best */
};

static struct choice best_group(const struct matcher *m, size_t unit, const struct groups *groups, bool by_source)
{
	struct choice choice = {NULL, NULL};

	for (size_t i = 0; i < groups->n; i++) {
		const struct group *group = &groups->v[i];
		if (!has_changes(m, unit, group) || !is_witnessed(m, unit, group) ||
		    (by_source && !is_from_source(m, unit, group)))
			continue;
		if (!choice.best || group->score > choice.best->score)
			choice = (struct choice){group, NULL};
		else if (group->score == choice.best->score)
			choice.second = group;
	}
	return choice;
}

/* What contents do not tell apart, the paths in DWARF may. */
static int choose_group(struct matcher *m, size_t unit, const struct groups *groups)
{
	struct choice choice = best_group(m, unit, groups, false);
	struct choice by_source = choice.second ? best_group(m, unit, groups, true) : choice;

	if (by_source.best)
		choice = by_source;
	if (choice.second)
		return refuse_units(m, &m->file->units[unit], choice.best, choice.second);
	if (choice.best)
		m->match->units[unit] = (struct hp_matched_unit){true, choice.best->image, choice.best->number};
	return 0;
}

/* The changed functions say where the unit is, also where it lists no names. */
static int score_candidates(struct matcher *m, size_t unit, struct groups *groups)
{
	int r = 0;

	for (size_t i = 0; i < m->n_candidates && r == 0; i++) {
		const struct candidate *c = &m->candidates[i];
		if (c->same && m->file->changes[c->change].unit == unit)
			r = count_for(m, groups, c->image, c->name->group);
	}
	return r;
}

static int find_unit(struct matcher *m, size_t unit)
{
	struct groups groups = {0};
	int r = score_candidates(m, unit, &groups);

	for (size_t image = 0; image < m->view->images.n && r == 0; image++)
		if (m->match->is_target[image])
			r = score_groups(m, &m->file->units[unit], image, &groups);
	if (r == 0)
		r = choose_group(m, unit, &groups);
	free(groups.v);
	return r;
}

/* -- The changes ----------------------------------------------------------------------------------------------- */

static bool is_in_unit(const struct matcher *m, const struct candidate *candidate)
{
	uint32_t unit = m->file->changes[candidate->change].unit;
	const struct hp_matched_unit *place = unit == HP_NO_UNIT ? NULL : &m->match->units[unit];

	return !place ||
	       (place->is_found && place->image == candidate->image && place->group == candidate->name->group);
}

/* " of 'util.c'" where it says more. */
static void say_unit(const struct matcher *m, const struct hp_patch_change *change, char *buffer, size_t room)
{
	buffer[0] = '\0';
	if (change->unit != HP_NO_UNIT)
		snprintf(buffer, room, " of '%s'", m->file->units[change->unit].file);
}

static int refuse_missing(struct matcher *m, size_t i)
{
	const struct hp_patch_change *change = &m->file->changes[i];
	char unit[300];
	size_t image = 0;

	say_unit(m, change, unit, sizeof(unit));
	while (image < m->view->images.n && !m->match->is_target[image])
		image++;
	const char *where = image < m->view->images.n ? image_name(m, image) : "any image";
	bool is_stripped = image < m->view->images.n && m->view->names[image] && !m->view->names[image]->has_locals;
	return hp_err_set(m->err, HOTPATCH_ENOSYM, "there is no function '%s'%s in '%s' of process %d%s", change->name,
	                  unit, where, (int)m->view->pid,
	                  is_stripped ? ": it is stripped, and its debug file is not installed" : "");
}

static int refuse_code(struct matcher *m, const struct candidate *candidate)
{
	const struct hp_patch_change *change = &m->file->changes[candidate->change];
	char unit[300];

	say_unit(m, change, unit, sizeof(unit));
	return hp_err_set(
		m->err, HOTPATCH_ECODE,
		"the code of '%s'%s at %#llx in '%s' of process %d is not what '%s' was made from; build the patch "
		"from the sources, and with the compiler, of what runs",
		change->name, unit, (unsigned long long)candidate->entry, image_name(m, candidate->image),
		(int)m->view->pid, m->file->path);
}

static int refuse_ambiguous(struct matcher *m, const struct candidate *a, const struct candidate *b)
{
	return hp_err_set(
		m->err, HOTPATCH_EAMBIGUOUS,
		"'%s' may be either of two functions of process %d whose code is the same: %#llx in '%s'%s%s and "
		"%#llx in '%s'%s%s",
		m->file->changes[a->change].name, (int)m->view->pid, (unsigned long long)a->entry,
		image_name(m, a->image), a->name->unit[0] ? " from " : "", a->name->unit, (unsigned long long)b->entry,
		image_name(m, b->image), b->name->unit[0] ? " from " : "", b->name->unit);
}

static void note_parts(const struct matcher *m, const struct candidate *candidate, struct hp_matched_change *change)
{
	const struct hp_names *names = m->view->names[candidate->image];
	uint64_t bias = m->view->images.v[candidate->image].bias;
	size_t n;
	const struct hp_name *pieces = hp_names_pieces(names, candidate->name->name, &n);

	change->old[0] = (struct hp_remote_extent){candidate->entry,
	                                           candidate->entry + m->file->changes[candidate->change].old_size};
	change->n_old = 1;
	for (const struct hp_name *piece = pieces; piece < pieces + n; piece++) {
		if (!hp_names_is_part(names, candidate->name, piece))
			continue;
		if (change->n_old == HP_OLD_PARTS_MAX) {
			change->n_old = 0; /* the agent finds out */
			return;
		}
		uint64_t low = bias + piece->value;
		change->old[change->n_old++] = (struct hp_remote_extent){low, low + piece->size};
	}
}

/* Another code by itself comes before a unit that is not meant because of it. Images ascend: of several candidates the
 * program's is named. */
static int check_code(struct matcher *m, size_t i)
{
	const struct candidate *any = NULL;

	for (size_t k = m->first[i]; k < m->first[i + 1]; k++) {
		if (m->candidates[k].same)
			return 0;
		any = any ? any : &m->candidates[k];
	}
	return any ? refuse_code(m, any) : 0;
}

static int choose_change(struct matcher *m, size_t i)
{
	const struct candidate *any = NULL, *best = NULL;

	for (size_t k = m->first[i]; k < m->first[i + 1]; k++) {
		const struct candidate *candidate = &m->candidates[k];
		any = candidate;
		if (!candidate->same || !is_in_unit(m, candidate))
			continue;
		if (best && best->entry != candidate->entry)
			return refuse_ambiguous(m, best, candidate);
		best = candidate;
	}
	if (!best)
		return any ? refuse_code(m, any) : refuse_missing(m, i);
	m->match->changes[i] = (struct hp_matched_change){.image = best->image, .entry = best->entry};
	note_parts(m, best, &m->match->changes[i]);
	return 0;
}

int hp_match_make(struct hp_view *view, const struct hp_patchfile *file, struct hp_match **ret_match,
                  struct hp_err *err)
{
	struct hp_match *match = calloc(1, sizeof(*match));
	struct matcher m = {.view = view, .file = file, .match = match, .err = err};
	int r = HOTPATCH_ENOMEM;

	if (match) {
		match->is_target = calloc(view->images.n + 1, sizeof(*match->is_target));
		match->changes = calloc(file->n_changes + 1, sizeof(*match->changes));
		match->units = calloc(file->n_units + 1, sizeof(*match->units));
	}
	if (!match || !match->is_target || !match->changes || !match->units) {
		no_memory(&m);
		goto out;
	}
	if ((r = hp_aims_find(view, file, match->is_target, NULL, err)) < 0 || (r = gather(&m)) < 0 ||
	    (r = compare_all(&m)) < 0)
		goto out;
	for (size_t i = 0; i < file->n_changes && r == 0; i++)
		r = check_code(&m, i);
	for (size_t i = 0; i < file->n_units && r == 0; i++)
		r = find_unit(&m, i);
	for (size_t i = 0; i < file->n_changes && r == 0; i++)
		r = choose_change(&m, i);
	if (r < 0)
		goto out;
	*ret_match = match;
	match = NULL;
out:
	free(m.candidates);
	free(m.first);
	free(m.witnesses);
	hp_match_free(match);
	return r;
}

void hp_match_free(struct hp_match *match)
{
	if (!match)
		return;
	free(match->is_target);
	free(match->changes);
	free(match->units);
	free(match);
}

/* -- What is not there -------------------------------------------------------------------------------------------- */

static int find_absent(struct matcher *m, struct hp_absence *absence)
{
	int r = hp_aims_find(m->view, m->file, m->match->is_target, absence->targets, m->err);

	if (r == 0)
		r = gather(m);
	for (size_t i = 0; i < m->file->n_changes; i++)
		absence->changes[i] = true;
	for (size_t i = 0; i < m->n_candidates; i++)
		absence->changes[m->candidates[i].change] = false;
	for (size_t i = 0; i < m->file->n_changes; i++)
		absence->n_changes += absence->changes[i];
	return r;
}

int hp_match_absent(struct hp_view *view, const struct hp_patchfile *file, struct hp_absence *ret_absence,
                    struct hp_err *err)
{
	struct hp_match match = {.is_target = calloc(view->images.n + 1, sizeof(*match.is_target))};
	struct matcher m = {.view = view, .file = file, .match = &match, .err = err};
	struct hp_absence absence = {calloc(file->n_changes + 1, sizeof(bool)),
	                             calloc(file->n_targets + 1, sizeof(bool)), 0};
	int r = match.is_target && absence.changes && absence.targets ? find_absent(&m, &absence) : no_memory(&m);

	free(match.is_target);
	free(m.candidates);
	free(m.first);
	if (r < 0)
		hp_absence_free(&absence);
	else
		*ret_absence = absence;
	return r;
}

void hp_absence_free(struct hp_absence *absence)
{
	free(absence->changes);
	free(absence->targets);
	*absence = (struct hp_absence){0};
}
