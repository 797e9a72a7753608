/* statics - the variables of an object by where they stand in the source, not by how the compiler numbered them.
 *
 *     static int count;                              "count"            .bss.count
 *     int serve(void) { static int count; ...        "serve/count"      .bss.count.1
 *                       { static int count; ... } }  "serve/count#1"    .bss.count.0
 *
 * Where no entry names the function (clang, of one that was put into others everywhere) the scope is "/count": the name
 * of the symbol has to tell.
 *
 * A static variable of a function that was put into others has one place all the same: every copy's entry leads to the
 * declaration it comes from.
 */
#ifndef HP_TYPES_STATICS_H
#define HP_TYPES_STATICS_H

#include "types/debuginfo.h"

struct hp_static {
	char *scope;
	uint64_t address; /* as objdwarf.h has it; with an offset for a part of an object */
	bool is_thread_local;
	bool is_partial; /* what lies there is not the variable itself, but what the compiler made of it */
	Dwarf_Die die;   /* has its type */
};

struct hp_statics {
	struct hp_static *items; /* by address, thread-locals last */
	size_t count;
};

/* HOTPATCH_ENOMEM, HOTPATCH_ENOTYPE. */
int hp_statics_read(struct hp_debuginfo *info, struct hp_statics *ret_statics, struct hp_err *err) HP_MUST_CHECK;

void hp_statics_free(struct hp_statics *statics);

/* The one at address; NULL where none is known. */
const struct hp_static *hp_statics_at(const struct hp_statics *statics, uint64_t address, bool is_thread_local);

/* A scope "/count" whose function only the symbol tells: clang calls it FUNCTION.NAME. Allocated. */
char *hp_static_complete(const char *scope, const char *symbol);

#endif
