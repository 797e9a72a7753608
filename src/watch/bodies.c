#include "watch/bodies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "types/array.h"
#include "watch/mix.h"
#include "watch/tokens.h"

/* -- What stands at the top ------------------------------------------------------------------------------------ */

/* A declaration or a definition, as far as it was read. */
struct item {
	size_t head;              /* where it begins */
	bool is_begun, has_value; /* a token was read; one of them was = */
	bool is_inline;           /* a word of it says so */
	struct hp_token last;     /* outside of all parentheses */
	struct hp_token group;    /* what stands before the last pair of parentheses */
};

struct scan {
	struct hp_tokens r;
	struct hp_bodies *bodies;
	bool failed; /* memory was out */
	struct item item;
	struct hp_token *inlined; /* names that are declared inline */
	size_t n_inlined;
	struct hp_token *names; /* before parentheses, of the item */
	size_t n_names;
	bool has_pragma; /* in the last group */
	bool has_call;   /* maybe, in the last group */
	uint64_t hash;   /* of the tokens since the last brace of a body */
	const struct hp_bodies *like;
};

/* -- Hashes ---------------------------------------------------------------------------------------------------- */

/* Where lines begin, and how far tokens are from each other, is no difference. */
static enum hp_token_kind take_next(struct scan *s)
{
	enum hp_token_kind kind = hp_tokens_next(&s->r);

	s->hash = hp_mix_bytes(s->hash, s->r.text + s->r.token.at, s->r.token.n);
	return kind;
}

static uint64_t end_hash(struct scan *s)
{
	uint64_t hash = s->hash;

	s->hash = HP_MIX_BEGIN;
	return hash;
}

/* Of all tokens but those of bodies that may be taken out. */
static uint64_t hash_rest(const struct scan *s)
{
	const struct hp_bodies *bodies = s->bodies;
	uint64_t hash = s->hash;

	for (size_t i = 0; i < bodies->n; i++) {
		hash = hp_mix(hash, bodies->v[i].before);
		if (bodies->v[i].is_fixed)
			hash = hp_mix(hash, bodies->v[i].hash);
	}
	return hash;
}

/* -- Items ----------------------------------------------------------------------------------------------------- */

static void add_name(struct scan *s, struct hp_token **names, size_t *n, const struct hp_token *name)
{
	struct hp_token *v = hp_array_grow(*names, *n, sizeof(*v));

	if (!v) {
		s->failed = true;
		return;
	}
	*names = v;
	v[(*n)++] = *name;
}

static void end_item(struct scan *s)
{
	for (size_t i = 0; i < s->n_names && s->item.is_inline; i++)
		add_name(s, &s->inlined, &s->n_inlined, &s->names[i]);
	s->n_names = 0;
	s->item = (struct item){0};
}

/* Attributes by which one function's code has to do with another's. */
static void look_at_word(struct scan *s, size_t depth)
{
	static const char *const odd[] = {"alias",         "__alias__",         "ifunc",
	                                  "__ifunc__",     "flatten",           "__flatten__",
	                                  "target_clones", "__target_clones__", "optimize",
	                                  "__optimize__",  "weakref",           "__weakref__",
	                                  "simd",          "__simd__",          NULL};
	const struct hp_token *token = &s->r.token;
	const char *text = s->r.text + token->at;
	static const char word[] = "inline";

	if (depth >= 2 && hp_token_is_any(&s->r, token, odd))
		s->r.why = "an attribute ties functions to each other";
	if (token->n >= sizeof(word) - 1 && memmem(text, token->n, word, sizeof(word) - 1) &&
	    !memmem(text, token->n, "noinline", 8))
		s->item.is_inline = true;
}

static void look_at_pragma(struct scan *s)
{
	const struct hp_token *token = &s->r.token;
	static const char *const odd[] = {"optimize", "weak", "alias"};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		if (memmem(s->r.text + token->at, token->n, odd[i], strlen(odd[i])))
			s->r.why = "a pragma ties functions to each other";
}

static bool is_keyword(const struct scan *s, const struct hp_token *token)
{
	static const char *const words[] = {"__attribute__", "__attribute",   "__declspec", "_Alignas",
	                                    "alignas",       "typeof",        "__typeof__", "__typeof",
	                                    "typeof_unqual", "__asm__",       "asm",        "__asm",
	                                    "_Atomic",       "int",           "char",       "long",
	                                    "short",         "void",          "unsigned",   "signed",
	                                    "float",         "double",        "struct",     "union",
	                                    "enum",          "const",         "volatile",   "static",
	                                    "extern",        "return",        "if",         "while",
	                                    "for",           "switch",        "sizeof",     "_Static_assert",
	                                    "static_assert", "__extension__", "_BitInt",    NULL};
	return hp_token_is_any(&s->r, token, words);
}

/* Behind the bracket that belongs to the one that was read. */
static size_t skip_group(struct scan *s, bool is_looked_at)
{
	size_t depth = 1;

	s->has_pragma = s->has_call = false;
	while (depth) {
		enum hp_token_kind before = s->r.token.kind;
		struct hp_token word = s->r.token;
		switch (take_next(s)) {
		case HP_TOKEN_END:
			s->r.why = "its brackets do not match";
			return s->r.at;
		case HP_TOKEN_OPEN:
			if (!s->has_call) /* asking is dear */
				s->has_call =
					before == HP_TOKEN_NAME ? !is_keyword(s, &word) : before == HP_TOKEN_CLOSE;
			depth++;
			break;
		case HP_TOKEN_CLOSE:
			depth--;
			break;
		case HP_TOKEN_NAME:
			if (is_looked_at)
				look_at_word(s, depth);
			break;
		case HP_TOKEN_PRAGMA:
			s->has_pragma = true;
			break;
		default:
			break;
		}
	}
	return s->r.token.at;
}

/* One that is the same byte by byte has the same tokens: none looks over a brace, in front or behind. */
static const struct hp_body *find_alike(const struct scan *s, size_t open)
{
	const struct hp_bodies *like = s->like, *bodies = s->bodies;
	const struct hp_body *body = like && !like->why && bodies->n < like->n ? &like->v[bodies->n] : NULL;

	if (!body || body->close - body->open >= bodies->size - open ||
	    memcmp(like->text + body->open, bodies->text + open, body->close - body->open + 1) != 0)
		return NULL;
	return body;
}

static struct hp_body read_body(struct scan *s, size_t open)
{
	const struct hp_body *alike = find_alike(s, open);
	struct hp_body body = {.before = end_hash(s), .open = open};

	if (!alike) {
		body.close = skip_group(s, false);
		body.hash = end_hash(s);
		body.is_leaf = !s->has_call;
		body.has_pragma = s->has_pragma;
		return body;
	}
	body.close = open + (alike->close - alike->open);
	body.hash = alike->hash;
	body.is_leaf = alike->is_leaf;
	body.has_pragma = alike->has_pragma;
	s->r.at = body.close + 1;
	s->r.token = (struct hp_token){HP_TOKEN_CLOSE, body.close, 1};
	return body;
}

static void add_body(struct scan *s, size_t open)
{
	struct hp_bodies *bodies = s->bodies;
	struct hp_body *v = hp_array_grow(bodies->v, bodies->n, sizeof(*v)), body = read_body(s, open);

	if (!v) {
		s->failed = true;
		return;
	}
	body.name = s->item.group.at;
	body.n_name = s->item.group.n;
	body.head = s->item.head;
	body.is_fixed = s->item.is_inline || body.has_pragma;
	bodies->v = v;
	v[bodies->n++] = body;
}

/* A brace outside of parentheses: of a function, of a type, or of a value. */
static void take_brace(struct scan *s)
{
	struct item *item = &s->item;
	size_t open = s->r.token.at;
	bool is_behind_list = item->last.n && hp_token_mark(&s->r, &item->last) == ')';
	bool is_function = is_behind_list && !item->has_value && item->group.kind == HP_TOKEN_NAME && item->group.n &&
	                   !is_keyword(s, &item->group);
	/* "int (*f(int))(int) {", and "{" behind declarations of parameters; not "struct __attribute__((packed)) {". */
	bool is_other = !item->has_value &&
	                (!item->is_begun || (is_behind_list && !is_function && item->group.kind != HP_TOKEN_NAME));
	struct hp_token last = s->r.token;

	if (is_function)
		add_body(s, open);
	else
		skip_group(s, true);
	if (is_function || is_other) {
		end_item(s);
		return;
	}
	item->last = last;
	item->is_begun = true;
}

static void take_group(struct scan *s)
{
	struct item *item = &s->item;

	if (hp_token_mark(&s->r, &s->r.token) == '(') {
		item->group = item->last;
		if (item->last.kind == HP_TOKEN_NAME)
			add_name(s, &s->names, &s->n_names, &item->last);
	}
	skip_group(s, true);
	item->last = s->r.token;
}

static void take_token(struct scan *s)
{
	struct item *item = &s->item;

	if (!item->is_begun)
		item->head = s->r.token.at;
	if (s->r.token.kind == HP_TOKEN_OPEN && hp_token_mark(&s->r, &s->r.token) == '{') {
		take_brace(s);
		return;
	}
	item->is_begun = true;
	if (s->r.token.kind == HP_TOKEN_OPEN) {
		take_group(s);
		return;
	}
	if (s->r.token.kind == HP_TOKEN_CLOSE)
		s->r.why = "its brackets do not match";
	if (s->r.token.kind == HP_TOKEN_NAME)
		look_at_word(s, 0);
	item->has_value |= s->r.token.kind == HP_TOKEN_EQUALS;
	item->last = s->r.token;
}

static void scan_text(struct scan *s)
{
	while (take_next(s) != HP_TOKEN_END && !s->failed) {
		if (s->r.token.kind == HP_TOKEN_PRAGMA)
			look_at_pragma(s);
		else if (s->r.token.kind == HP_TOKEN_SEMICOLON)
			end_item(s);
		else
			take_token(s);
	}
}

/* Some that are defined without the word are declared with it. */
static void fix_inlined(const struct scan *s)
{
	const struct hp_bodies *bodies = s->bodies;

	for (size_t i = 0; i < bodies->n; i++)
		for (size_t k = 0; k < s->n_inlined && !bodies->v[i].is_fixed; k++)
			bodies->v[i].is_fixed = s->inlined[k].n == bodies->v[i].n_name &&
			                        strncmp(bodies->text + s->inlined[k].at,
			                                bodies->text + bodies->v[i].name, bodies->v[i].n_name) == 0;
}

int hp_bodies_read(char *text, size_t size, const struct hp_bodies *like, struct hp_bodies *ret_bodies,
                   struct hp_err *err)
{
	static const char marks[] = "hotpatch_marks";
	struct hp_bodies bodies = {.text = text, .size = size};
	struct scan s = {.r = {.text = text, .size = size}, .bodies = &bodies, .hash = HP_MIX_BEGIN, .like = like};

	scan_text(&s);
	fix_inlined(&s);
	bodies.rest = hash_rest(&s);
	bodies.why = s.r.why;
	if (memmem(text, size, marks, sizeof(marks) - 1))
		bodies.why = "it has callbacks";
	free(s.inlined);
	free(s.names);
	if (s.failed) {
		hp_bodies_free(&bodies);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the functions of a source");
	}
	*ret_bodies = bodies;
	return 0;
}

void hp_bodies_free(struct hp_bodies *bodies)
{
	free(bodies->text);
	free(bodies->v);
	*bodies = (struct hp_bodies){0};
}

/* -- Comparing and reducing ------------------------------------------------------------------------------------ */

const char *hp_bodies_differ(const struct hp_bodies *before, const struct hp_bodies *now)
{
	if (now->why || before->why)
		return now->why ? now->why : before->why;
	return before->n == now->n && before->rest == now->rest ? NULL : "more than the bodies of functions changed";
}

char *hp_body_name(const struct hp_bodies *bodies, const struct hp_body *body)
{
	return strndup(bodies->text + body->name, body->n_name);
}

static bool is_wanted(const struct hp_bodies *bodies, const struct hp_body *body, char *const *names, size_t n_names)
{
	for (size_t i = 0; i < n_names; i++)
		if (strlen(names[i]) == body->n_name && strncmp(names[i], bodies->text + body->name, body->n_name) == 0)
			return true;
	return false;
}

/* What is left of a body: its lines, and what says where they come from. */
static void put_lines(FILE *to, const char *text, size_t from, size_t end)
{
	while (from < end) {
		const char *newline = memchr(text + from, '\n', end - from);
		if (!newline)
			return;
		fputc('\n', to);
		from = (size_t)(newline - text) + 1;
		const char *stop = from < end ? memchr(text + from, '\n', end - from) : NULL;
		if (stop && text[from] == '#' && from + 2 < end && text[from + 1] == ' ')
			fwrite(text + from, 1, (size_t)(stop - text) - from, to);
	}
}

/* What comes last, and the whole of it; NULL: memory was out. */
static char *take_rest(const struct hp_bodies *bodies, size_t at, FILE *to, char **written)
{
	fwrite(bodies->text + at, 1, bodies->size - at, to);
	if (fclose(to) == 0)
		return *written;
	free(*written);
	return NULL;
}

char *hp_bodies_reduce(const struct hp_bodies *bodies, char *const *names, size_t n_names, size_t *ret_size)
{
	char *reduced = NULL;
	FILE *to = open_memstream(&reduced, ret_size);
	size_t at = 0;

	if (!to)
		return NULL;
	for (size_t i = 0; i < bodies->n; i++) {
		const struct hp_body *body = &bodies->v[i];
		if (body->is_fixed)
			continue;
		if (is_wanted(bodies, body, names, n_names)) {
			fwrite(bodies->text + at, 1, body->head - at, to);
			fputs("__attribute__((used)) ", to);
			at = body->head;
			continue;
		}
		if (body->is_leaf)
			continue;
		fwrite(bodies->text + at, 1, body->open + 1 - at, to);
		fputs(" __builtin_abort();", to);
		put_lines(to, bodies->text, body->open + 1, body->close);
		at = body->close;
	}
	return take_rest(bodies, at, to, &reduced);
}

/* -- With optimisation ----------------------------------------------------------------------------------------- */

char *hp_bodies_declare(const struct hp_bodies *bodies, const enum hp_kept *kept, size_t *ret_size)
{
	char *reduced = NULL;
	FILE *to = open_memstream(&reduced, ret_size);
	size_t at = 0;

	if (!to)
		return NULL;
	for (size_t i = 0; i < bodies->n; i++) {
		const struct hp_body *body = &bodies->v[i];
		bool is_left_out = kept[i] == HP_KEPT_NOT && !body->is_fixed;
		size_t until = is_left_out ? body->open : body->head;
		fwrite(bodies->text + at, 1, until - at, to);
		at = until;
		if (kept[i] == HP_KEPT_ENTRY)
			fputs("__attribute__((used)) ", to);
		if (!is_left_out)
			continue;
		fputc(';', to);
		put_lines(to, bodies->text, body->open + 1, body->close);
		at = body->close + 1;
	}
	return take_rest(bodies, at, to, &reduced);
}

static size_t body_at(const struct hp_bodies *bodies, size_t at, size_t *next)
{
	while (*next < bodies->n && bodies->v[*next].close < at)
		*next += 1;
	bool is_inside = *next < bodies->n && at > bodies->v[*next].open && at < bodies->v[*next].close;
	return is_inside ? *next : SIZE_MAX;
}

void hp_bodies_each_word(const struct hp_bodies *bodies, void (*each)(void *arg, const struct hp_word *word), void *arg)
{
	struct hp_tokens r = {.text = bodies->text, .size = bodies->size};
	size_t at_body = 0, depth = 0;
	enum hp_token_kind kind = hp_tokens_next(&r);

	while (kind != HP_TOKEN_END) {
		struct hp_word word = {bodies->text + r.token.at, r.token.n, body_at(bodies, r.token.at, &at_body),
		                       false};
		bool is_outside = word.body == SIZE_MAX, is_name = kind == HP_TOKEN_NAME;
		bool is_body_brace = at_body < bodies->n &&
		                     (r.token.at == bodies->v[at_body].open || r.token.at == bodies->v[at_body].close);
		if (is_outside && !is_body_brace && hp_token_mark(&r, &r.token) == '{')
			depth++;
		else if (is_outside && !is_body_brace && hp_token_mark(&r, &r.token) == '}' && depth)
			depth--;
		kind = hp_tokens_next(&r);
		word.is_called = hp_token_mark(&r, &r.token) == '(' && !(is_outside && depth);
		if (is_name)
			each(arg, &word);
	}
}
