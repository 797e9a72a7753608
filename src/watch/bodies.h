/* bodies - preprocessed C taken apart into the bodies of its functions and all the rest, and put together again with
 * those bodies alone that are wanted.
 *
 *     # 1 "a.c"                                     # 1 "a.c"
 *     static int n;                                 static int n;
 *     int f(int a) { return n + puts(""); }    --->       int f(int a) { __builtin_abort(); }
 *     static int g(int a) { return a; }             __attribute__((used)) static int g(int a) { return a; }
 *
 * Every line stays where it is. A body is taken out only where it is certain what it is: that of `name(...) {` at the
 * top, where nothing says inline. All else (functions that return pointers to functions, parameters declared behind the
 * list) belongs to the rest. What stands for a function that is not wanted keeps its symbol, so that what refers to it
 * is compiled as ever; nobody may call it. It calls something, so that callers keep the stack as they have to for a
 * function that does: gcc does not where it has seen that a function does not need it. What calls nothing is left as it
 * is, for the same reason.
 */
#ifndef HP_WATCH_BODIES_H
#define HP_WATCH_BODIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hp_body {
	size_t name, n_name; /* where its name stands, and how long that is */
	size_t head;         /* where its definition begins */
	size_t open, close;  /* its braces */
	uint64_t before;     /* hash of the tokens between the body before it and its own */
	uint64_t hash;       /* of its tokens */
	bool is_fixed;       /* it belongs to the rest */
	bool is_leaf;        /* it calls nothing */
	bool has_pragma;
};

struct hp_bodies {
	char *text;
	size_t size;
	struct hp_body *v; /* in the order of the text */
	size_t n;
	uint64_t rest;   /* hash of all other tokens */
	const char *why; /* nothing may be taken out of this text; NULL */
};

/* Takes text, which is allocated, also on failure. What it has of like is not read again; NULL is fine.
 * HOTPATCH_ENOMEM. */
int hp_bodies_read(char *text, size_t size, const struct hp_bodies *like, struct hp_bodies *ret_bodies,
                   struct hp_err *err) HP_MUST_CHECK;
void hp_bodies_free(struct hp_bodies *bodies);

/* NULL where the texts have the same functions, and the same tokens but for those in bodies; else why they do not. */
const char *hp_bodies_differ(const struct hp_bodies *before, const struct hp_bodies *now);

/* The text with the bodies of the names alone. NULL without memory. */
char *hp_bodies_reduce(const struct hp_bodies *bodies, char *const *names, size_t n_names, size_t *ret_size);

/* What becomes of a body where functions depend on each other: depends.h. */
enum hp_kept {
	HP_KEPT_NOT,  /* its function is declared alone */
	HP_KEPT_COPY, /* for the others alone */
	HP_KEPT_EDIT,
	HP_KEPT_ENTRY, /* an edit that has a symbol in the base, which leads to it afterwards */
};

/* The text with those bodies, and declarations in place of all others. NULL without memory. */
char *hp_bodies_declare(const struct hp_bodies *bodies, const enum hp_kept *kept, size_t *ret_size);

/* A word of the text, behind which an opening parenthesis stands or not. */
struct hp_word {
	const char *text;
	size_t n;
	size_t body; /* SIZE_MAX: of none */
	bool is_called;
};

/* In the order of the text. What stands in braces outside of bodies is never called. */
void hp_bodies_each_word(const struct hp_bodies *bodies, void (*each)(void *arg, const struct hp_word *word),
                         void *arg);

/* The name of a function, allocated. */
char *hp_body_name(const struct hp_bodies *bodies, const struct hp_body *body);

#endif
