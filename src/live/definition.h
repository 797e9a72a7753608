/* definition - a body for a function: the original, a function pointer, a closure, a function of a library.
 *
 *     slot --> target: the body itself, or the landing of a closure, which leaves the context and jumps to the body
 *
 * A definition knows all its code (its parts), so that threads can be asked whether they are in it: the extent its
 * .eh_frame entry gives, and what the compiler split off it. It is counted: each layer and each patch that names it
 * holds one reference. When the last is gone it is freed if no thread can be in it; while one may be, it lingers on its
 * site.
 */
#ifndef HP_LIVE_DEFINITION_H
#define HP_LIVE_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "live/stacks.h"

enum { HP_PARTS_MAX = 8 };

struct hp_parts {
	struct {
		uintptr_t low, high; /* [low, high) */
	} v[HP_PARTS_MAX];
	size_t n;
};

struct hp_definition {
	uintptr_t target; /* what the slot holds */
	uintptr_t body;   /* the function */
	struct hp_parts parts;
	bool is_original; /* its entry is redirected: a thread exactly there is out */
	char *name;
	uintptr_t landing; /* 0: no context */
	void *context;
	void (*destroy)(void *);
	unsigned refs;
	struct hp_definition *next;           /* in its site's list of lingering ones */
	struct hp_definition *before, *after; /* in the list of all */
};

struct hp_named; /* site.h: how the program names a function to us */

/* The entry of the function that a pointer leads to, through linkage tables if need be. HOTPATCH_EINVAL, ENOTFUNC. */
int hp_function_entry(hotpatch_any fn, const char *name, uintptr_t *ret_entry, struct hp_err *err) HP_MUST_CHECK;

/* All code of the function at entry. HOTPATCH_ENOINSPECT where that takes the plugin and it cannot be had. */
int hp_function_parts(uintptr_t entry, const char *name, const struct hotpatch_marks *marks, struct hp_parts *ret_parts,
                      struct hp_err *err) HP_MUST_CHECK;

/* A definition with one reference, the caller's. */
int hp_definition_new(hotpatch_any body, const struct hp_named *named, struct hp_definition **ret_definition,
                      struct hp_err *err) HP_MUST_CHECK;
int hp_definition_new_closure(hotpatch_any body, const struct hp_named *named, void *context, void (*destroy)(void *),
                              struct hp_definition **ret_definition, struct hp_err *err) HP_MUST_CHECK;

/* Whether the function at entry is the body of a definition: its slots lead to the entry itself, so that must not be
 * redirected if it was not prepared for it. */
bool hp_definition_uses(uintptr_t entry);

/* The same of code whose parts are known: that of a linked object, which stays mapped. */
int hp_definition_new_known(uintptr_t body, const char *name, const struct hp_parts *parts,
                            struct hp_definition **ret_definition, struct hp_err *err) HP_MUST_CHECK;

/* Held across fork, so that the child's is free. */
void hp_definitions_lock(void);
void hp_definitions_unlock(void);

/* All the code a thread may be in while it runs the definition. HOTPATCH_ENOMEM. */
int hp_definition_add_code(const struct hp_definition *definition, struct hp_codes *codes, uint32_t owner,
                           struct hp_err *err) HP_MUST_CHECK;

/* Whether a thread in `old` cannot be told from one in `next`, nor has to be: the same function without a context. */
bool hp_definition_same_code(const struct hp_definition *old, const struct hp_definition *next);

/* Frees a definition that nobody refers to and no thread is in, without its destructor: the caller runs that. NULL is
 * nothing. */
void hp_definition_free(struct hp_definition *definition);

#endif
