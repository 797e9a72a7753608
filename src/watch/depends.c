#include "watch/depends.h"

#include <stdlib.h>
#include <string.h>

#include "types/array.h"

#define NO_BODY SIZE_MAX

/* The body `from` names the body `to`. */
struct edge {
	size_t from, to;
	bool is_called; /* what is named is called there, and nothing else */
};

struct name {
	const char *text;
	size_t n, body;
};

struct work {
	const struct hp_bodies *bodies;
	const struct hp_atoms *base;
	struct name *names; /* sorted */
	struct edge *edges;
	size_t n_edges;
	bool *is_in_table; /* per body: something beside functions has its address */
	struct hp_depends result;
	bool failed; /* memory was out */
};

/* -- Names ----------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	size_t n = x->n < y->n ? x->n : y->n;
	int r = strncmp(x->text, y->text, n);
	return r ? r : x->n < y->n ? -1 : x->n > y->n;
}

static void sort_names(struct work *w)
{
	for (size_t i = 0; i < w->bodies->n; i++) {
		const struct hp_body *body = &w->bodies->v[i];
		w->names[i] = (struct name){w->bodies->text + body->name, body->n_name, i};
	}
	if (w->bodies->n)
		qsort(w->names, w->bodies->n, sizeof(*w->names), compare_names);
}

static size_t find_body(const struct work *w, const char *text, size_t n)
{
	struct name key = {text, n, 0},
		    *found = w->bodies->n ? bsearch(&key, w->names, w->bodies->n, sizeof(key), compare_names) : NULL;
	return found ? found->body : NO_BODY;
}

static const struct hp_atom *find_function(const struct work *w, size_t body)
{
	const struct hp_body *b = &w->bodies->v[body];

	for (uint32_t i = 0; i < w->base->count; i++) {
		const struct hp_atom *atom = &w->base->items[i];
		if (atom->kind == HP_ATOM_FUNCTION && strlen(atom->name) == b->n_name &&
		    strncmp(atom->name, w->bodies->text + b->name, b->n_name) == 0)
			return atom;
	}
	return NULL;
}

/* -- Who names whom -------------------------------------------------------------------------------------------- */

static void add_edge(struct work *w, size_t from, size_t to, bool is_called)
{
	struct edge *edges = hp_array_grow(w->edges, w->n_edges, sizeof(*edges));

	if (!edges) {
		w->failed = true;
		return;
	}
	w->edges = edges;
	edges[w->n_edges++] = (struct edge){from, to, is_called};
}

static void take_word(void *arg, const struct hp_word *word)
{
	struct work *w = arg;
	size_t to = find_body(w, word->text, word->n);

	if (to == NO_BODY || word->body == to)
		return;
	if (word->body != SIZE_MAX)
		add_edge(w, word->body, to, word->is_called);
	else if (!word->is_called) /* else it is declared */
		w->is_in_table[to] = true;
}

/* Of code: a function, or what was split off one (its name with a dot behind). The body it is of. */
static size_t owner_of(const struct work *w, const struct hp_atom *atom)
{
	bool is_code = atom->kind == HP_ATOM_FUNCTION || atom->kind == HP_ATOM_PART;
	return is_code ? find_body(w, atom->name, strcspn(atom->name, ".")) : NO_BODY;
}

static void take_object(struct work *w)
{
	for (uint32_t i = 0; i < w->base->count; i++) {
		const struct hp_atom *atom = &w->base->items[i];
		size_t from = owner_of(w, atom);
		for (size_t k = 0; k < atom->n_refs && from != NO_BODY; k++) {
			uint32_t to = atom->refs[k].atom;
			size_t body = to == HP_NO_ATOM ? NO_BODY : owner_of(w, &w->base->items[to]);
			if (body != NO_BODY && body != from)
				add_edge(w, from, body, true);
		}
	}
}

/* -- What is kept ---------------------------------------------------------------------------------------------- */

static enum hp_kept *kept(struct work *w, size_t body)
{
	return &w->result.kept[body];
}

static void take_edits(struct work *w, char *const *edits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t body = find_body(w, edits[i], strlen(edits[i]));
		if (body == NO_BODY)
			w->result.why = "a function that differs is not found in its text";
		else
			*kept(w, body) = HP_KEPT_EDIT;
	}
}

/* Until nothing is added any more. */
static void add_callers(struct work *w)
{
	for (bool is_more = true; is_more;) {
		is_more = false;
		for (size_t i = 0; i < w->n_edges; i++) {
			if (*kept(w, w->edges[i].to) != HP_KEPT_EDIT || *kept(w, w->edges[i].from) == HP_KEPT_EDIT)
				continue;
			*kept(w, w->edges[i].from) = HP_KEPT_EDIT;
			is_more = true;
		}
	}
}

/* A global function is called as everybody calls it; of a static one the part has its own. */
static bool is_called_live(const struct work *w, size_t body)
{
	const struct hp_atom *atom = find_function(w, body);
	return atom && atom->is_global;
}

static void add_copies(struct work *w)
{
	for (bool is_more = true; is_more;) {
		is_more = false;
		for (size_t i = 0; i < w->n_edges; i++) {
			const struct edge *edge = &w->edges[i];
			if (*kept(w, edge->from) == HP_KEPT_NOT || *kept(w, edge->to) != HP_KEPT_NOT ||
			    is_called_live(w, edge->to))
				continue;
			*kept(w, edge->to) = HP_KEPT_COPY;
			is_more = true;
		}
	}
}

/* Another name of the place would change with it. */
static bool has_other_name(const struct work *w, const struct hp_atom *atom)
{
	for (size_t i = 0; i < w->base->object->n_symbols; i++) {
		const struct hp_object_symbol *symbol = &w->base->object->symbols[i];
		if (symbol->section == atom->section && symbol->value == atom->offset && symbol->type == STT_FUNC &&
		    strcmp(symbol->name, atom->name) != 0)
			return true;
	}
	return false;
}

/* Of a place that the atoms have under another name. A static one is called by nobody then but those that are compiled
 * with it. */
static bool is_other_name(const struct work *w, size_t body)
{
	const struct hp_body *b = &w->bodies->v[body];

	for (size_t i = 0; i < w->base->object->n_symbols; i++) {
		const struct hp_object_symbol *symbol = &w->base->object->symbols[i];
		if (symbol->section && symbol->bind != STB_LOCAL && strlen(symbol->name) == b->n_name &&
		    strncmp(symbol->name, w->bodies->text + b->name, b->n_name) == 0)
			return true;
	}
	return false;
}

static void find_entries(struct work *w)
{
	for (size_t i = 0; i < w->bodies->n; i++) {
		const struct hp_atom *atom = *kept(w, i) == HP_KEPT_EDIT ? find_function(w, i) : NULL;
		if (*kept(w, i) == HP_KEPT_EDIT && w->is_in_table[i])
			w->result.why = "a table has the address of a function that changes, or of one that calls it";
		if (atom)
			*kept(w, i) = HP_KEPT_ENTRY;
		if (atom ? has_other_name(w, atom) : *kept(w, i) == HP_KEPT_EDIT && is_other_name(w, i))
			w->result.why = "a function that changes shares its code with another";
	}
}

/* The address of a copy is another than that of the live one. */
static void check_addresses(struct work *w)
{
	for (size_t i = 0; i < w->n_edges; i++) {
		enum hp_kept to = *kept(w, w->edges[i].to);
		if (*kept(w, w->edges[i].from) != HP_KEPT_NOT && !w->edges[i].is_called &&
		    (to == HP_KEPT_COPY || to == HP_KEPT_EDIT))
			w->result.why = "the address of a static function is taken beside the change";
	}
}

/* What is compiled alone is to be quicker. */
static void check_size(struct work *w)
{
	size_t all = 0, part = 0;

	for (size_t i = 0; i < w->bodies->n; i++) {
		size_t size = w->bodies->v[i].close - w->bodies->v[i].open;
		all += size;
		part += *kept(w, i) == HP_KEPT_NOT ? 0 : size;
	}
	if (part > all / 2)
		w->result.why = "with what depends on the change it is most of the file";
}

static bool make_room(struct work *w)
{
	w->names = calloc(w->bodies->n + 1, sizeof(*w->names));
	w->is_in_table = calloc(w->bodies->n + 1, sizeof(*w->is_in_table));
	w->result.kept = calloc(w->bodies->n + 1, sizeof(*w->result.kept));
	return w->names && w->is_in_table && w->result.kept;
}

static void work_out(struct work *w, char *const *edits, size_t n_edits)
{
	sort_names(w);
	hp_bodies_each_word(w->bodies, take_word, w);
	take_object(w);
	take_edits(w, edits, n_edits);
	add_callers(w);
	add_copies(w);
	find_entries(w);
	check_addresses(w);
	check_size(w);
}

int hp_depends_read(const struct hp_bodies *bodies, char *const *edits, size_t n_edits, const struct hp_atoms *base,
                    struct hp_depends *ret_depends, struct hp_err *err)
{
	struct work w = {.bodies = bodies, .base = base};

	if (make_room(&w))
		work_out(&w, edits, n_edits);
	else
		w.failed = true;
	free(w.names);
	free(w.edges);
	free(w.is_in_table);
	if (w.failed) {
		hp_depends_free(&w.result);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for what depends on a change");
	}
	*ret_depends = w.result;
	return 0;
}

void hp_depends_free(struct hp_depends *depends)
{
	free(depends->kept);
	*depends = (struct hp_depends){0};
}
