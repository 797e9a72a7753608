/* inspector - the contract between the runtime and libhotpatch-inspect.so.
 *
 * The runtime needs libc alone. What needs ELF files or DWARF read inside the program (names of static functions,
 * cold parts, namespace paths, types) is asked of the inspect plugin, which the runtime loads the first time it is
 * needed and calls through this table only. All addresses here are link-time virtual addresses, as in the file's symbol
 * table; the runtime adds and subtracts the load bias.
 *
 * Every function returns 0 or a negative HOTPATCH_E* code with err filled; ret_* are written only on success. They
 * allocate and take locks: never called while callers are held. The runtime calls them from one thread at a time.
 */
#ifndef HP_BASE_INSPECTOR_H
#define HP_BASE_INSPECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HP_INSPECTOR_VERSION 2
#define HP_INSPECTOR_SYMBOL "hp_inspector" /* the plugin exports `const struct hp_inspector hp_inspector` */

/* An ELF file that is, or is about to be, mapped. */
struct hp_module {
	const char *path;        /* to open; for the program itself "/proc/thread-self/exe", if it is that */
	const char *name;        /* to say in sentences */
	const uint8_t *build_id; /* as mapped; NULL where unknown or where the module has none */
	size_t build_id_size;    /* bytes; a file with another build-id is refused (HOTPATCH_ENOFILE) */
};

enum hp_mark {
	HP_MARK_NONE,
	HP_MARK_PATCHABLE, /* in section "hotpatchable" or "hotpatchable.PATH" */
	HP_MARK_PATCH,     /* in section "hotpatch" or "hotpatch.PATH" */
};

struct hp_symbol {
	char name[256]; /* linkage name, without the version behind '@' */
	char path[256]; /* namespace path, "" where it has none */
	char unit[256]; /* source file of a static function (STT_FILE, or DW_AT_name of its unit), else "" */
	uint64_t value; /* entry */
	uint64_t size;  /* bytes, 0 where unknown */
	bool is_static; /* STB_LOCAL */
	enum hp_mark mark;
};

struct hp_extent {
	uint64_t begin, end; /* [begin, end) */
};

/* A stretch of this process' memory. */
struct hp_range {
	uintptr_t low, high; /* [low, high) */
};

/* The live code around a function that was not prepared, for displace(): addresses are those of this process, not of
 * the file. */
struct hp_flow {
	const char *name;             /* to say */
	uintptr_t entry, jump;        /* of the function; where the jump is to be written */
	size_t jump_size;             /* bytes that are written: 1 where those behind stay as they are */
	const struct hp_range *parts; /* all its code, the one with the entry first */
	size_t n_parts;
	const struct hp_range *text, *data; /* of the image: what may be executed; what may be read and is not code */
	size_t n_text, n_data;
	uint64_t generation; /* another one after images were loaded or unloaded */
	/* The function that covers the address, by the image's unwind tables. */
	bool (*function_at)(uintptr_t address, struct hp_range *ret_function);
	/* Code as it was before hotpatch wrote to it; [at, at + n) lies in one function, or in none. */
	void (*read)(uintptr_t at, uint8_t *ret_bytes, size_t n);
	/* Data as it is; false where some of it cannot be read. */
	bool (*memory)(uintptr_t at, void *ret_bytes, size_t n);
};

/* The instructions under a jump, and what it takes to execute them elsewhere. */
enum hp_step_kind {
	HP_STEP_PLAIN,    /* the same bytes do the same anywhere */
	HP_STEP_RELATIVE, /* one operand, 4 bytes, is relative to the instruction's end */
	HP_STEP_BRANCH,   /* a conditional jump to target */
	HP_STEP_JUMP,     /* a jump to target; the last step */
	HP_STEP_CALL,     /* a call of target; the last step */
	HP_STEP_CALL_BY,  /* a call through the word at target; the last step */
};

struct hp_step {
	uint8_t at, length; /* bytes from the jump */
	uint8_t kind;       /* enum hp_step_kind */
	uint8_t operand;    /* of RELATIVE: where it lies in the instruction; of BRANCH: the condition's number */
	uintptr_t target;   /* of RELATIVE too: what the operand leads to */
};

enum { HP_STEPS_MAX = 5 };

struct hp_displaced {
	uint8_t n, size; /* steps; bytes of them all */
	struct hp_step v[HP_STEPS_MAX];
};

/* What functions() looks for; every field that is set must match. */
struct hp_query {
	const char *name; /* linkage name */
	const char *path; /* namespace path */
	bool marked;      /* only functions marked HOTPATCH */
};

struct hp_inspector {
	uint32_t version; /* HP_INSPECTOR_VERSION */
	uint32_t size;    /* of this table */

	/* The defined function whose extent [value, value + size) covers `value`. Aliases: the global, shortest name
	 * wins; a function's .cold part is answered with the name of the part. HOTPATCH_ENOSYM where none does. */
	int (*function_at)(const struct hp_module *module, uint64_t value, struct hp_symbol *ret_symbol,
	                   struct hp_err *err);

	/* Calls each for every defined function (STT_FUNC, not undefined, not a .cold or .part piece) that matches
	 * query, each entry address once, in order of address, until it returns non-zero, which is returned. 0 also
	 * where nothing matches. */
	int (*functions)(const struct hp_module *module, const struct hp_query *query,
	                 int (*each)(const struct hp_symbol *symbol, void *arg), void *arg, struct hp_err *err);

	/* The pieces a compiler split off the function at `value` (gcc NAME.cold, NAME.cold.N of the same unit).
	 * HOTPATCH_ENOSYM where the file has no symbol table, so that nothing can be known. */
	int (*parts)(const struct hp_module *module, uint64_t value, struct hp_extent *ret_parts, size_t max,
	             size_t *ret_count, struct hp_err *err);

	/* The same for a file without a symbol table, from live code: what the function may jump to (flow->parts[0];
	 * jump is of no matter) is taken for a part of it, unless it is known to be a function. More than is needed is
	 * safe. HOTPATCH_ENOSYM where it cannot be seen where control goes. */
	int (*exits)(const struct hp_module *module, uint64_t bias, const struct hp_flow *flow,
	             struct hp_range *ret_parts, size_t max, size_t *ret_count, struct hp_err *err);

	/* Whether the functions at two addresses have one type: return type, parameters, varargs, qualifiers, and the
	 * layout of every struct, union and enum reached, through pointers too. HOTPATCH_ETYPE with the first
	 * difference named, HOTPATCH_ENOTYPE where one side has no type information. */
	int (*same_type)(const struct hp_module *old_module, uint64_t old_value, const struct hp_module *new_module,
	                 uint64_t new_value, struct hp_err *err);

	/* The proof for a function that was not prepared: that control comes to the bytes the jump is written over from
	 * its first one alone, and what the instructions there are. HOTPATCH_ENOTPREPARED with the reason where that is
	 * not so or cannot be shown. */
	int (*displace)(const struct hp_flow *flow, struct hp_displaced *ret_displaced, struct hp_err *err);

	/* Whether the file is a shared library for this machine: HOTPATCH_ENOFILE, HOTPATCH_ENOTELF with the reason. */
	int (*check_library)(const struct hp_module *module, struct hp_err *err);

	/* Drops everything read so far. */
	void (*forget)(void);
};

/* -- The runtime's side (inspector.c, not part of the plugin) ---------------------------------------------------- */

/* The plugin, loaded the first time; HOTPATCH_ENOINSPECT where it is not installed. A static executable gets
 * symtab.h's, which has no entries for libraries. */
int hp_inspector_load(const struct hp_inspector **ret_inspector, struct hp_err *err) HP_MUST_CHECK;

/* The plugin is asked by one thread at a time, and images do not change meanwhile. May be taken again by its owner. */
void hp_inspector_lock(void);
void hp_inspector_unlock(void);
void hp_inspector_unlock_in_child(void); /* of fork, whose thread has another id than the one that locked */

struct hp_mapped;

/* How the plugin is told of a mapped image. */
struct hp_module hp_module_of(const struct hp_mapped *image);

/* What an address is called: the plugin's answer, else the dynamic linker's. */
struct hp_place {
	char function[128]; /* "" where no symbol is known */
	size_t offset;      /* bytes from its entry */
	char image[64];     /* "" where it is in none */
};

void hp_place_of(uintptr_t address, bool exact, struct hp_place *ret_place);

#endif
