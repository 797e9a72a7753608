#include "make/diff.h"

#include <stdlib.h>
#include <string.h>

#include "make/generated.h"
#include "types/array.h"
#include "make/spoken.h"

#define NO_PAIR SIZE_MAX

/* An old and a new atom that are compared. */
struct pair {
	uint32_t old_atom, new_atom;
	bool differs;
	bool is_moved;     /* differs for no other reason than that labels stand elsewhere in a function that differs */
	size_t because;    /* the pair it has it from, NO_PAIR */
	size_t first_user; /* of the edges that lead here */
};

/* The pair `user` refers to some other. */
struct edge {
	size_t user, used, next;
	bool is_label;         /* data that refers to a place inside of a function, */
	bool stands_elsewhere; /* and to another one in the old function */
};

struct comparison {
	struct hp_diff *diff;
	struct pair *pairs;
	size_t n_pairs;
	struct edge *edges;
	size_t n_edges;
	size_t *table; /* open addressing: index of a pair + 1 */
	size_t n_table;
	bool failed; /* memory was out */
};

/* -- Matching -------------------------------------------------------------------------------------------------- */

struct key {
	const char *scope;
	uint32_t atom;
};

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;
	int r = strcmp(x->scope, y->scope);
	return r ? r : x->atom < y->atom ? -1 : x->atom > y->atom;
}

static struct key *sorted_keys(const struct hp_atoms *atoms, size_t *ret_count)
{
	struct key *keys = calloc(atoms->count + 1, sizeof(*keys));
	size_t count = 0;

	for (uint32_t i = 0; keys && i < atoms->count; i++)
		if (hp_atom_is_named(&atoms->items[i]))
			keys[count++] = (struct key){atoms->items[i].scope, i};
	if (count)
		qsort(keys, count, sizeof(*keys), compare_keys);
	*ret_count = count;
	return keys;
}

static bool is_code(const struct hp_atom *atom)
{
	return atom->kind == HP_ATOM_FUNCTION || atom->kind == HP_ATOM_IFUNC;
}

static bool is_machine_code(const struct hp_atom *atom)
{
	return is_code(atom) || atom->kind == HP_ATOM_PART;
}

/* A number that the compiler gave and nothing explains. */
static bool is_numbered(const struct hp_atom *atom)
{
	const char *dot = strrchr(atom->name, '.');
	return !atom->variable && dot && dot != atom->name && dot[1] && dot[strspn(dot + 1, "0123456789") + 1] == '\0';
}

static int refuse_numbered(const struct hp_atoms *atoms, const struct hp_atom *atom, struct hp_err *err)
{
	return hp_err_set(
		err, HOTPATCH_EREFUSED,
		"%s: nothing but the compiler's number tells which variable of the old program it is; compile "
		"both objects with -g",
		hp_atom_describe(atoms, atom).text);
}

static void match(struct hp_diff *diff, uint32_t old_atom, uint32_t new_atom)
{
	const struct hp_atom *a = &diff->old_atoms->items[old_atom], *b = &diff->new_atoms->items[new_atom];

	if (is_code(a) != is_code(b))
		return;
	diff->old_of[new_atom] = old_atom;
	diff->new_of[old_atom] = new_atom;
}

static int match_keys(struct hp_diff *diff, const struct key *olds, size_t n_olds, const struct key *news,
                      size_t n_news, struct hp_err *err)
{
	for (size_t i = 0, k = 0; i < n_news; i++) {
		const struct hp_atom *atom = &diff->new_atoms->items[news[i].atom];
		if (!diff->new_atoms->info && is_numbered(atom) && !is_code(atom))
			return refuse_numbered(diff->new_atoms, atom, err);
		while (k < n_olds && strcmp(olds[k].scope, news[i].scope) < 0)
			k++;
		if (k < n_olds && strcmp(olds[k].scope, news[i].scope) == 0)
			match(diff, olds[k++].atom, news[i].atom);
	}
	return 0;
}

static int match_atoms(struct hp_diff *diff, struct hp_err *err)
{
	size_t n_olds, n_news;
	struct key *olds = sorted_keys(diff->old_atoms, &n_olds), *news = sorted_keys(diff->new_atoms, &n_news);
	int r = HOTPATCH_ENOMEM;

	if (olds && news)
		r = match_keys(diff, olds, n_olds, news, n_news, err);
	else
		hp_err_set(err, r, "no memory to compare two objects");
	free(olds);
	free(news);
	return r;
}

/* -- Pairs and edges ------------------------------------------------------------------------------------------- */

static size_t hash_pair(const struct comparison *c, uint32_t old_atom, uint32_t new_atom)
{
	uint64_t h = ((uint64_t)old_atom << 32 | new_atom) * UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(h >> 20) & (c->n_table - 1);
}

static bool grow_table(struct comparison *c)
{
	size_t n = c->n_table ? 2 * c->n_table : 256, *table = calloc(n, sizeof(*table));

	if (!table)
		return false;
	free(c->table);
	c->table = table;
	c->n_table = n;
	for (size_t i = 0; i < c->n_pairs; i++) {
		size_t at = hash_pair(c, c->pairs[i].old_atom, c->pairs[i].new_atom);
		while (table[at])
			at = (at + 1) & (n - 1);
		table[at] = i + 1;
	}
	return true;
}

static size_t pair_of(struct comparison *c, uint32_t old_atom, uint32_t new_atom)
{
	if (2 * c->n_pairs >= c->n_table && !grow_table(c))
		goto failed;
	size_t at = hash_pair(c, old_atom, new_atom);
	for (; c->table[at]; at = (at + 1) & (c->n_table - 1)) {
		const struct pair *pair = &c->pairs[c->table[at] - 1];
		if (pair->old_atom == old_atom && pair->new_atom == new_atom)
			return c->table[at] - 1;
	}
	struct pair *pairs = hp_array_grow(c->pairs, c->n_pairs, sizeof(*pairs));
	if (!pairs)
		goto failed;
	c->pairs = pairs;
	pairs[c->n_pairs] =
		(struct pair){.old_atom = old_atom, .new_atom = new_atom, .because = NO_PAIR, .first_user = NO_PAIR};
	c->table[at] = c->n_pairs + 1;
	return c->n_pairs++;
failed:
	c->failed = true;
	return 0;
}

static void add_edge(struct comparison *c, size_t user, const struct hp_ref *a, const struct hp_ref *b, bool is_label)
{
	size_t used = pair_of(c, a->atom, b->atom);
	struct edge *edges = hp_array_grow(c->edges, c->n_edges, sizeof(*edges));

	if (!edges) {
		c->failed = true;
		return;
	}
	c->edges = edges;
	edges[c->n_edges] = (struct edge){user, used, c->pairs[used].first_user, is_label, a->at != b->at};
	c->pairs[used].first_user = c->n_edges++;
}

/* -- Comparing one pair ---------------------------------------------------------------------------------------- */

enum { PADDING_MAX = 32 };

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
	for (uint64_t i = 0; bytes && i < size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* What follows a nameless constant may be padding. */
static bool same_size(const struct hp_atom *a, const uint8_t *x, const struct hp_atom *b, const uint8_t *y)
{
	uint64_t less = a->size < b->size ? a->size : b->size, more = a->size + b->size - less;

	if (a->size == b->size)
		return true;
	if (a->kind != HP_ATOM_PIECE || *a->name || *b->name || more - less >= PADDING_MAX)
		return false;
	const uint8_t *longer = a->size > b->size ? x : y;
	return !longer || is_zero(longer + less, more - less);
}

/* A string of a unit that ASan looks at. */
static bool is_frame(const struct hp_diff *diff, const struct hp_atom *atom)
{
	return diff->has_frames && atom->kind == HP_ATOM_PIECE && !atom->n_refs;
}

static bool has_frames(const struct hp_atoms *atoms)
{
	for (size_t i = 0; i < atoms->object->n_symbols; i++)
		if (!atoms->object->symbols[i].section && strncmp(atoms->object->symbols[i].name, "__asan_", 7) == 0)
			return true;
	return false;
}

/* The fields of relocations are zero in objects that have addends, so that bytes can be compared as they are. */
static bool same_bytes(const struct hp_diff *diff, const struct hp_atom *a, const struct hp_atom *b)
{
	const uint8_t *x = hp_atom_bytes(diff->old_atoms, a), *y = hp_atom_bytes(diff->new_atoms, b);
	uint64_t size = a->size < b->size ? a->size : b->size;

	if (is_frame(diff, a) && is_frame(diff, b) && x && y && hp_is_same_frame(x, a->size, y, b->size))
		return true;
	if (!same_size(a, x, b, y))
		return false;
	if (!x || !y)
		return is_zero(x, size) && is_zero(y, size);
	if (hp_begins_with_line(diff->old_atoms, a) && hp_begins_with_line(diff->new_atoms, b))
		return memcmp(x, y, 8) == 0 && memcmp(x + 16, y + 16, size - 16) == 0;
	return memcmp(x, y, size) == 0;
}

/* A place inside of a function, by its address in data: where it stands says nothing of the data. */
static bool is_label(const struct comparison *c, size_t user, const struct hp_ref *a, const struct hp_ref *b)
{
	const struct hp_diff *diff = c->diff;
	const struct hp_atom *from = &diff->new_atoms->items[c->pairs[user].new_atom];

	return !is_machine_code(from) && is_machine_code(&diff->old_atoms->items[a->atom]) &&
	       is_machine_code(&diff->new_atoms->items[b->atom]) && a->at != 0 && b->at != 0;
}

static bool same_named(struct comparison *c, size_t user, const struct hp_ref *a, const struct hp_ref *b)
{
	const struct hp_diff *diff = c->diff;
	const struct hp_atom *x = &diff->old_atoms->items[a->atom], *y = &diff->new_atoms->items[b->atom];

	if (diff->old_of[b->atom] != a->atom)
		return false;
	if (is_label(c, user, a, b)) {
		add_edge(c, user, a, b, true);
		return true;
	}
	if (a->at != b->at)
		return false;
	if (x->kind == HP_ATOM_CONSTANT && y->kind == HP_ATOM_VARIABLE)
		return false; /* what nobody wrote to before is written to now */
	if ((x->kind == HP_ATOM_CONSTANT && y->kind == HP_ATOM_CONSTANT) || (is_code(x) && a->at != 0))
		add_edge(c, user, a, b, false);
	return true;
}

static bool same_target(struct comparison *c, size_t user, const struct hp_ref *a, const struct hp_ref *b)
{
	const struct hp_diff *diff = c->diff;

	if (a->atom == HP_NO_ATOM || b->atom == HP_NO_ATOM) {
		const char *x = a->atom == HP_NO_ATOM ? a->name : diff->old_atoms->items[a->atom].name;
		const char *y = b->atom == HP_NO_ATOM ? b->name : diff->new_atoms->items[b->atom].name;
		return a->at == b->at && strcmp(x, y) == 0;
	}
	bool x_is_named = hp_atom_is_named(&diff->old_atoms->items[a->atom]);
	bool y_is_named = hp_atom_is_named(&diff->new_atoms->items[b->atom]);
	if (x_is_named && y_is_named)
		return same_named(c, user, a, b);
	bool label = is_label(c, user, a, b);
	if (x_is_named != y_is_named || (a->at != b->at && !label))
		return false;
	add_edge(c, user, a, b, label);
	return true;
}

static bool same_contents(struct comparison *c, size_t index)
{
	const struct hp_atom *a = &c->diff->old_atoms->items[c->pairs[index].old_atom];
	const struct hp_atom *b = &c->diff->new_atoms->items[c->pairs[index].new_atom];

	if (a->n_refs != b->n_refs || !same_bytes(c->diff, a, b))
		return false;
	for (size_t i = 0; i < a->n_refs; i++) {
		const struct hp_ref *x = &a->refs[i], *y = &b->refs[i];
		if (x->offset != y->offset || x->type != y->type || !same_target(c, index, x, y))
			return false;
	}
	return true;
}

/* -- All pairs ------------------------------------------------------------------------------------------------- */

/* Pairs are added while they are compared; each is compared once. */
static void compare_pairs(struct comparison *c)
{
	for (size_t i = 0; i < c->n_pairs && !c->failed; i++)
		if (!same_contents(c, i))
			c->pairs[i].differs = true;
}

/* From the n pairs on the stack, which differ, to all that refer to them; by labels in a round of its own. */
static void spread_from(struct comparison *c, size_t *stack, size_t n, bool by_labels)
{
	while (n) {
		size_t index = stack[--n];
		for (size_t e = c->pairs[index].first_user; e != NO_PAIR; e = c->edges[e].next) {
			struct pair *user = &c->pairs[c->edges[e].user];
			if (user->differs || (c->edges[e].is_label && !by_labels))
				continue;
			user->differs = true;
			user->is_moved = by_labels;
			user->because = index;
			stack[n++] = c->edges[e].user;
		}
	}
}

static size_t all_that_differ(const struct comparison *c, size_t *stack)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_pairs; i++)
		if (c->pairs[i].differs)
			stack[n++] = i;
	return n;
}

/* Tables that lead elsewhere in functions that are the same: the difference is theirs. */
static size_t all_that_lead_elsewhere(struct comparison *c, size_t *stack)
{
	size_t n = 0;

	for (size_t e = 0; e < c->n_edges; e++) {
		size_t user = c->edges[e].user;
		if (!c->edges[e].stands_elsewhere || c->pairs[c->edges[e].used].differs || c->pairs[user].differs)
			continue;
		stack[n++] = user;
	}
	for (size_t i = 0; i < n; i++)
		c->pairs[stack[i]].differs = true;
	return n;
}

/* Functions that differ come first, then tables of labels that differ by themselves, then those whose labels only moved
 * with their function. */
static bool spread(struct comparison *c)
{
	size_t *stack = calloc(c->n_pairs + c->n_edges + 1, sizeof(*stack));

	if (!stack)
		return false;
	spread_from(c, stack, all_that_differ(c, stack), false);
	spread_from(c, stack, all_that_lead_elsewhere(c, stack), false);
	spread_from(c, stack, all_that_differ(c, stack), true);
	free(stack);
	return true;
}

static void keep_result(const struct comparison *c)
{
	struct hp_diff *diff = c->diff;

	for (size_t i = 0; i < c->n_pairs; i++) {
		const struct pair *pair = &c->pairs[i];
		if (!pair->differs || diff->old_of[pair->new_atom] != pair->old_atom)
			continue;
		diff->differs[pair->new_atom] = true;
		diff->is_moved[pair->new_atom] = pair->is_moved;
		if (pair->because != NO_PAIR)
			diff->because[pair->new_atom] = c->pairs[pair->because].new_atom;
	}
}

static int compare_atoms(struct hp_diff *diff, struct hp_err *err)
{
	struct comparison c = {.diff = diff};

	for (uint32_t i = 0; i < diff->new_atoms->count; i++)
		if (diff->old_of[i] != HP_NO_ATOM)
			pair_of(&c, diff->old_of[i], i);
	compare_pairs(&c);
	if (!c.failed && !spread(&c))
		c.failed = true;
	if (!c.failed)
		keep_result(&c);
	free(c.pairs);
	free(c.edges);
	free(c.table);
	return c.failed ? hp_err_set(err, HOTPATCH_ENOMEM, "no memory to compare two objects") : 0;
}

/* -- The difference -------------------------------------------------------------------------------------------- */

static uint32_t *no_atoms(size_t count)
{
	uint32_t *atoms = malloc((count + 1) * sizeof(*atoms));

	for (size_t i = 0; atoms && i < count; i++)
		atoms[i] = HP_NO_ATOM;
	return atoms;
}

int hp_diff_make(struct hp_atoms *old_atoms, struct hp_atoms *new_atoms, struct hp_diff **ret_diff, struct hp_err *err)
{
	struct hp_diff *diff = calloc(1, sizeof(*diff));
	int r = HOTPATCH_ENOMEM;

	if (!diff) {
		hp_atoms_free(old_atoms);
		hp_atoms_free(new_atoms);
		return hp_err_set(err, r, "no memory to compare two objects");
	}
	diff->old_atoms = old_atoms;
	diff->new_atoms = new_atoms;
	diff->has_frames = has_frames(old_atoms) && has_frames(new_atoms);
	diff->old_of = no_atoms(new_atoms->count);
	diff->new_of = no_atoms(old_atoms->count);
	diff->because = no_atoms(new_atoms->count);
	diff->differs = calloc(new_atoms->count + 1, sizeof(*diff->differs));
	diff->is_moved = calloc(new_atoms->count + 1, sizeof(*diff->is_moved));
	if (!diff->old_of || !diff->new_of || !diff->because || !diff->differs || !diff->is_moved)
		hp_err_set(err, r, "no memory to compare two objects");
	else if ((r = match_atoms(diff, err)) == 0)
		r = compare_atoms(diff, err);
	if (r < 0)
		hp_diff_free(diff);
	else
		*ret_diff = diff;
	return r;
}

void hp_diff_free(struct hp_diff *diff)
{
	if (!diff)
		return;
	hp_atoms_free(diff->old_atoms);
	hp_atoms_free(diff->new_atoms);
	free(diff->old_of);
	free(diff->new_of);
	free(diff->because);
	free(diff->differs);
	free(diff->is_moved);
	free(diff);
}

static bool is_one_of(const char *name, char *const *names, size_t n_names)
{
	for (size_t i = 0; i < n_names; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

bool hp_diff_limit(struct hp_diff *diff, char *const *names, size_t n_names)
{
	diff->is_partial = true;
	for (size_t i = 0; i < diff->new_atoms->count; i++) {
		const struct hp_atom *atom = &diff->new_atoms->items[i];
		if (!is_code(atom) || is_one_of(atom->name, names, n_names))
			continue;
		if (diff->old_of[i] == HP_NO_ATOM)
			return false;
		diff->differs[i] = false;
	}
	return true;
}

static void forget_old(struct hp_diff *diff, size_t new_atom)
{
	if (diff->old_of[new_atom] != HP_NO_ATOM)
		diff->new_of[diff->old_of[new_atom]] = HP_NO_ATOM;
	diff->old_of[new_atom] = HP_NO_ATOM;
	diff->differs[new_atom] = false;
}

bool hp_diff_limit_copies(struct hp_diff *diff, char *const *names, size_t n_names)
{
	diff->is_partial = diff->has_copies = true;
	for (size_t i = 0; i < diff->new_atoms->count; i++) {
		const struct hp_atom *atom = &diff->new_atoms->items[i];
		uint32_t old = diff->old_of[i];
		if (atom->kind == HP_ATOM_VARIABLE &&
		    (old == HP_NO_ATOM || diff->old_atoms->items[old].kind != HP_ATOM_VARIABLE))
			return false;
		if (!is_code(atom) || is_one_of(atom->name, names, n_names))
			continue;
		if (atom->is_global)
			return false;
		forget_old(diff, i);
	}
	return true;
}

bool hp_diff_is_changed(const struct hp_diff *diff, uint32_t new_atom)
{
	return diff->new_atoms->items[new_atom].kind == HP_ATOM_FUNCTION && diff->differs[new_atom];
}

bool hp_diff_is_live(const struct hp_diff *diff, uint32_t new_atom)
{
	const struct hp_atom *atom = &diff->new_atoms->items[new_atom];

	if (diff->old_of[new_atom] == HP_NO_ATOM)
		return false;
	if (is_code(atom))
		return true;
	const struct hp_atom *old_atom = &diff->old_atoms->items[diff->old_of[new_atom]];
	return old_atom->kind == HP_ATOM_VARIABLE || (atom->kind == HP_ATOM_CONSTANT && !diff->differs[new_atom]);
}
