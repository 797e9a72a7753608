/* hotpatch.h - change function definitions in a running C program.
 *
 * Mark a function, then give it another body while threads call it:
 *
 *     HOTPATCHABLE int add(int a, int b) { return a + b; }
 *     ...
 *     hotpatch_fn(add, add_saturating);
 *
 * Every function here returns 0 or a negative HOTPATCH_E* code unless it says otherwise; hotpatch_error() has the
 * sentence that belongs to the code. All of them may be called from any thread at any time, but not from a signal
 * handler that can interrupt malloc, and not between fork and exec; what may be called from a handler says so.
 * Times are in milliseconds. Works from C11 and C++17, with gcc and clang.
 *
 * With -DHOTPATCH_DISABLE the marks vanish, nothing of the library is needed, and every call that would change
 * something returns HOTPATCH_EDISABLED.
 */
#ifndef HOTPATCH_H
#define HOTPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define HOTPATCH_VERSION_MAJOR 0
#define HOTPATCH_VERSION_MINOR 1
#define HOTPATCH_VERSION_PATCH 0

/* -- Errors ------------------------------------------------------------------------------------------------- */

/* X(name, value, text): every code once. The text says what the code means, not what happened this time. */
#define HOTPATCH_ERROR_LIST(X)                                                                                         \
	X(EINVAL, -1, "an argument makes no sense")                                                                    \
	X(ENOMEM, -2, "memory could not be had")                                                                       \
	X(ENOTFUNC, -3, "the address is not the entry of a function")                                                  \
	X(ENOTPREPARED, -4, "the function is not prepared for patching")                                               \
	X(ECODE, -5, "the code at the entry is not what it should be")                                                 \
	X(ETEXT, -6, "a policy of the system forbids writing to program text")                                         \
	X(ENOFILE, -7, "the file cannot be opened")                                                                    \
	X(ENOTELF, -8, "the file is not a shared library for this machine")                                            \
	X(ELOAD, -9, "the dynamic linker refused the library")                                                         \
	X(ENOSYM, -10, "no function of that name was found")                                                           \
	X(EAMBIGUOUS, -11, "more than one function has that name")                                                     \
	X(ETYPE, -12, "the types of old and new differ")                                                               \
	X(ENOTYPE, -13, "type information is missing")                                                                 \
	X(ENOINSPECT, -14, "libhotpatch-inspect is needed and could not be loaded")                                    \
	X(EDEADLK, -15, "the calling thread itself is inside the function")                                            \
	X(EBUSY, -16, "the function is in use, or another patch is being applied")                                     \
	X(ETIMEDOUT, -17, "the function was in use until the deadline")                                                \
	X(EINPROGRESS, -18, "the patch is live, but threads still run the old body")                                   \
	X(ESTATE, -19, "the patch is not in a state that allows this")                                                 \
	X(EVETO, -20, "a callback refused")                                                                            \
	X(ESIGNAL, -21, "the signal hotpatch needs is used by the program")                                            \
	X(ESYSTEM, -22, "the system refused something hotpatch needs")                                                 \
	X(ENOTSUP, -23, "not possible in this kind of program or on this machine")                                     \
	X(EDISABLED, -24, "the program was compiled with HOTPATCH_DISABLE")                                            \
	X(EREFUSED, -25, "the change cannot be made in a running program")                                             \
	X(EBUILD, -26, "the source could not be compiled or compared")                                                 \
	X(EGONE, -27, "the process is gone")

enum hotpatch_code {
	HOTPATCH_OK = 0,
#define HOTPATCH_X_(name, value, text) HOTPATCH_##name = (value),
	HOTPATCH_ERROR_LIST(HOTPATCH_X_)
#undef HOTPATCH_X_
};

/* One return address (or, in the innermost frame, instruction pointer) on a thread's stack. */
struct hotpatch_frame {
	uintptr_t address;
	const char *function; /* "" where no symbol is known */
	size_t offset;        /* of address in function, bytes */
	const char *image;    /* file name of the image, "" where it is in none */
};

/* A thread that stands in the way. */
struct hotpatch_blocker {
	int thread;           /* thread id; 0: none is in the frame, it is suspended (a coroutine's) */
	const char *name;     /* of the thread */
	const char *function; /* the old definition it is, or may be, in; "" where that is not known */
	const char *reason;   /* "is in", "may be in", "blocks the signal", ... */
	size_t n_frames;
	const struct hotpatch_frame *frames; /* innermost first */
};

struct hotpatch_error {
	int code;            /* HOTPATCH_OK or HOTPATCH_E* */
	const char *message; /* one sentence: what, 'which', why, what to do; last, whether anything changed */
	size_t n_blockers;
	const struct hotpatch_blocker *blockers;
};

/* -- Options ------------------------------------------------------------------------------------------------- */

enum hotpatch_mode {
	/* At no moment do two definitions run at once, and when 0 is returned no thread runs an old one. Callers
	 * wait at the gate, at most stall_ms per attempt; at the deadline HOTPATCH_ETIMEDOUT, nothing changed. */
	HOTPATCH_WAIT = 0,
	/* As HOTPATCH_WAIT, but one attempt; HOTPATCH_EBUSY when a function is in use, nothing changed. */
	HOTPATCH_TRY,
	/* Callers never wait: new calls take the new definition at once. When 0 is returned no thread runs an old
	 * one; at the deadline HOTPATCH_EINPROGRESS: the patch is live, the blockers still run the old body. */
	HOTPATCH_DRAIN,
	/* The switch happens at once and nothing is checked; old code is never freed. For patching what is on
	 * one's own stack, main included. */
	HOTPATCH_FORCE,
};

/* Given by name after the other arguments: hotpatch_fn(add, add2, .mode = HOTPATCH_TRY). 0 is the default of all. */
struct hotpatch_options {
	size_t size; /* filled in by the macros */
	enum hotpatch_mode mode;
	unsigned timeout_ms; /* until the call gives up; 0: 5000 */
	unsigned stall_ms;   /* longest a caller is held in one attempt; 0: 100 */
	bool unchecked;      /* do not compare types of old and new (libraries only) */
	bool unprepared;     /* also a function that is not prepared: a jump is written over its first instructions */
	bool scan_memory;    /* once no thread is in an old definition, search all writable memory for return addresses
	                      * into one, while all threads are held, at most stall_ms: for coroutines whose stacks are
	                      * not announced (hotpatch_stack_add). A word that looks like one stands in the way */
};

/* -- Marks --------------------------------------------------------------------------------------------------- */

#if defined(__cplusplus)
#define HOTPATCH_BEGIN_C_ extern "C" {
#define HOTPATCH_END_C_ }
#else
#define HOTPATCH_BEGIN_C_
#define HOTPATCH_END_C_
#endif

#ifndef HOTPATCH_DISABLE

/* With CET the NOPs follow endbr64, and of all prefixes only one of 5 bytes gives a jump whose second byte is
 * harmless alone (CMC); without, 6 bytes give CLC and leave room for a jump through memory. */
#if defined(__aarch64__) /* one instruction jumps; compilers put the NOPs behind a landing pad */
#define HOTPATCH_ENTRY_ patchable_function_entry(2, 0)
#elif defined(__CET__) && (__CET__ & 1)
#define HOTPATCH_ENTRY_ patchable_function_entry(7, 5)
#else
#define HOTPATCH_ENTRY_ patchable_function_entry(8, 6)
#endif

/* A compiler must not reason about the body at call sites. clang has no noipa, and folds results of noinline
 * functions into their callers; weak stops it. That is why clang refuses HOTPATCHABLE on a static function with
 * "weak declaration cannot have internal linkage": make the function extern, or compile with gcc.
 * A function in a section of its own naming is never split into hot and cold parts. */
#if defined(__clang__)
#define HOTPATCH_OPAQUE_ noinline, weak, disable_tail_calls
#else
#define HOTPATCH_OPAQUE_ noipa, optimize("no-optimize-sibling-calls")
#endif

/* A call in the last place must not become a jump: a thread that left an old definition so could not be told from one
 * that was never in it, and would go on into a new one; and a function that jumps to itself never passes its entry. */
#if defined(__clang__)
#define HOTPATCH_BODY_ noinline, disable_tail_calls
#else
#define HOTPATCH_BODY_ noinline, optimize("no-optimize-sibling-calls")
#endif

/* hotpatch build compiles every function into a section of its own, to compare them one by one. */
#ifdef HOTPATCH_NO_SECTION
#define HOTPATCH_SECTION_(name)
#else
#define HOTPATCH_SECTION_(name) , section(name)
#endif

/* In front of a function definition: calls of it can be redirected. */
#define HOTPATCHABLE __attribute__((HOTPATCH_OPAQUE_, aligned(16), HOTPATCH_ENTRY_ HOTPATCH_SECTION_("hotpatchable")))

/* The same, with a namespace path by which libraries find it: HOTPATCHABLE_AS("net::send"). The path may hold
 * anything but white space, commas, semicolons and quotes. */
#define HOTPATCHABLE_AS(path)                                                                                          \
	__attribute__((HOTPATCH_OPAQUE_, aligned(16), HOTPATCH_ENTRY_ HOTPATCH_SECTION_("hotpatchable." path)))

/* In front of a function definition in a shared library: it replaces the function of the same name (or path). In the
 * program itself: in front of a body for a set, which on revert is an old definition like any other. */
#define HOTPATCH __attribute__((HOTPATCH_BODY_, used, visibility("default") HOTPATCH_SECTION_("hotpatch")))
#define HOTPATCH_AS(path)                                                                                              \
	__attribute__((HOTPATCH_BODY_, used, visibility("default") HOTPATCH_SECTION_("hotpatch." path)))

#else
#define HOTPATCHABLE
#define HOTPATCHABLE_AS(path)
#define HOTPATCH
#define HOTPATCH_AS(path)
#define HOTPATCH_MARK_(what, kind, callback, forward, back, type)                                                      \
	__attribute__((unused)) static void hotpatch_unmarked_##what(void)                                             \
	{                                                                                                              \
		(void)(callback), (void)(forward), (void)(back);                                                       \
	}                                                                                                              \
	struct hotpatch_mark
#endif

HOTPATCH_BEGIN_C_

typedef void (*hotpatch_any)(void); /* a pointer to a function of whatever type */

struct hotpatch; /* a patch: a set of changes applied and reverted as one */

enum hotpatch_event {
	HOTPATCH_PRE_APPLY,   /* before anything is changed; may veto */
	HOTPATCH_POST_APPLY,  /* the patch is live */
	HOTPATCH_PRE_REVERT,  /* may veto */
	HOTPATCH_POST_REVERT, /* the old definitions hold again */
};

/* Non-zero from a PRE callback refuses the operation with HOTPATCH_EVETO (hotpatch_veto gives the reason); ignored from
 * a POST callback. Runs in the thread that applies or reverts; must not apply or revert anything itself. */
typedef int (*hotpatch_callback)(struct hotpatch *patch, enum hotpatch_event event, void *arg);

/* -- In changed source -----------------------------------------------------------------------------------------
 *
 * At the top of a file that `hotpatch build` makes a patch from; function is defined or declared above, and may be
 * static. A mark counts for the patch in whose change it, or a function it names, is new or differs; the program itself
 * passes over marks.
 *
 * HOTPATCH_PRE_APPLY(function)   int function(struct hotpatch *, enum hotpatch_event, void *), with NULL as the last:
 * HOTPATCH_POST_APPLY(function)  run as those of hotpatch_on, by the agent's thread, in the order they stand in
 * HOTPATCH_PRE_REVERT(function)
 * HOTPATCH_POST_REVERT(function)
 *
 * HOTPATCH_MIGRATE(type, forward, back)   type is the tag of a struct, union or enum (or the typedef of one without a
 *                                         tag) whose layout may differ in the patch, since void forward(void) gives
 *                                         live objects the new layout, and void back(void) the old one when the patch
 *                                         is reverted; back NULL: it cannot be. They run while callers of all changing
 *                                         functions are held and no thread is in an old or a new definition, so modes
 *                                         HOTPATCH_DRAIN and HOTPATCH_FORCE are refused. A changing function that they
 *                                         call is the one that holds afterwards. They take no lock that a held caller
 *                                         may own: malloc's only where malloc calls none of the changing functions.
 *                                         Callers wait until they end.
 */
#define HOTPATCH_PRE_APPLY(function) HOTPATCH_MARK_(pre_apply_##function, 0, function, NULL, NULL, "")
#define HOTPATCH_POST_APPLY(function) HOTPATCH_MARK_(post_apply_##function, 1, function, NULL, NULL, "")
#define HOTPATCH_PRE_REVERT(function) HOTPATCH_MARK_(pre_revert_##function, 2, function, NULL, NULL, "")
#define HOTPATCH_POST_REVERT(function) HOTPATCH_MARK_(post_revert_##function, 3, function, NULL, NULL, "")
#define HOTPATCH_MIGRATE(type, forward, back) HOTPATCH_MARK_(migrate_##type, 4, NULL, forward, back, #type)

/* What a mark leaves in an object: read from its file, by nobody in the program. */
struct hotpatch_mark {
	unsigned kind, line;
	hotpatch_callback callback;
	void (*forward)(void), (*back)(void);
	char type[64];
};
#ifndef HOTPATCH_DISABLE
#define HOTPATCH_MARK_(what, kind, callback, forward, back, type)                                                      \
	static struct hotpatch_mark hotpatch_mark_##what                                                               \
		__attribute__((used, section("hotpatch_marks"))) = {kind, __LINE__, callback, forward, back, type}
#endif

/* One change that is in force or lies beneath one that is; valid during the callback only. */
struct hotpatch_info {
	const char *function;   /* the function's name */
	hotpatch_any address;   /* its entry */
	const char *definition; /* name of the definition */
	hotpatch_any body;      /* the definition's code */
	const char *patch;      /* name of the patch; "" for a change made by hotpatch_fn, _closure or _lib */
	struct timespec since;  /* CLOCK_REALTIME */
	unsigned level;         /* 1: directly above the original, 2: above that, ... */
	bool current;           /* calls take this definition now */
};

/* A library or closure that hotpatch_reclaim has kept, and what refers to it; valid during the callback only. */
struct hotpatch_kept {
	const char *what;   /* path of the library; name of the function that the closure was on */
	const char *reason; /* a sentence */
	const char *place; /* where the word lies: image, mapping ("[heap]"), or "the stack of thread 71"; "" in none */
	uintptr_t address; /* of the word; 0 if it is none in memory */
	uintptr_t target;  /* what it points to; 0 if not known */
	const char *function; /* that lies there, "" where none is known */
	size_t offset;        /* of target in function, bytes */
	int thread;           /* whose stack or registers, or 0 */
};

/* Where this image's marked functions lie; an argument of the macros below, made by hotpatch_marks_(). */
struct hotpatch_marks {
	const char *patchable, *patchable_end, *patch, *patch_end;
};

#ifndef HOTPATCH_DISABLE

/* What the last failing call of this thread has to say; never NULL, code HOTPATCH_OK before the first failure. Valid
 * until this thread's next call of a hotpatch function. */
const struct hotpatch_error *hotpatch_error(void);

/* "HOTPATCH_EBUSY" for HOTPATCH_EBUSY; "HOTPATCH_OK" for 0; NULL for what is no code. Async-signal-safe. */
const char *hotpatch_code_name(int code);

/* The context of the closure that is being called. To be read first thing in the closure's body: the next call of any
 * closure by this thread, one in a signal handler included, replaces it. Async-signal-safe. */
void *hotpatch_context(void);

/* A new, empty set of changes; NULL when memory is out or name is NULL. Not thread safe on the same set: a set
 * belongs to one thread until it is applied. */
struct hotpatch *hotpatch_new(const char *name);

/* Frees a set. NULL is nothing to free. HOTPATCH_ESTATE and nothing freed while the patch is applied. */
int hotpatch_free(struct hotpatch *patch);

/* Has callback run at event; several for one event run in the order they were given. */
int hotpatch_on(struct hotpatch *patch, enum hotpatch_event event, hotpatch_callback callback, void *arg);

/* For a PRE callback: `return hotpatch_veto(patch, "%d requests are open", n);` refuses with that reason, of which 200
 * bytes are kept. Returns 1. NULL patch: there is nobody to tell. */
int hotpatch_veto(struct hotpatch *patch, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* More fields for objects that live already, whose structs cannot grow: memory that belongs to an object's address and
 * a number, which every field has its own of.
 *
 * attach: the memory, `size` bytes aligned to 16; made where there is none: zero, then init(memory, arg) runs before
 *         another thread can see it (init NULL: nothing). NULL where memory is out, or it is there with another size:
 *         HOTPATCH_ENOMEM, HOTPATCH_EINVAL.
 * get:    the memory, NULL where there is none.
 * detach: frees it, after free_inner(memory) (NULL: nothing); to be called before the object is freed, or its address
 *         gets the fields of what was there before. HOTPATCH_ENOSYM: there is none. object NULL: of all objects.
 *
 * Thread safe; init and free_inner must not call these functions. Memory is the caller's to share: who detaches sees to
 * it that no thread still uses it. */
void *hotpatch_shadow_attach(const void *object, unsigned long id, size_t size, void (*init)(void *memory, void *arg),
                             void *arg);
void *hotpatch_shadow_get(const void *object, unsigned long id);
int hotpatch_shadow_detach(const void *object, unsigned long id, void (*free_inner)(void *memory));

/* Calls callback for every change, functions in order of address, each from the lowest level up, until it returns
 * non-zero, which is returned. No lock is held: callback may call anything. */
int hotpatch_for_each(int (*callback)(const struct hotpatch_info *info, void *arg), void *arg);

/* A safe point: a transition that waits for the calling thread may complete here, although old definitions are on its
 * stack; they run on to their end. Costs a load when no transition is under way, else waits for its end, at most
 * stall_ms. */
void hotpatch_poll(void);

/* Announces memory that is used as a stack by code that switches stacks itself (coroutines, makecontext). Transitions
 * look for old definitions in it, for as long as it is announced. On aarch64 a call leaves its return address in a
 * register, so the memory in which the switching code saves registers must be announced too. remove: HOTPATCH_EINVAL if
 * it is not. */
int hotpatch_stack_add(const void *base, size_t size);
int hotpatch_stack_remove(const void *base);

/* Chooses the real-time signal that running threads are asked with; SIGRTMAX - 2 unless told. HOTPATCH_ESIGNAL if the
 * program handles it already, HOTPATCH_EINVAL if it is no real-time signal. */
int hotpatch_set_signal(int signo);

/* Frees what was replaced and is not needed any more: runs the destructors of closures that were replaced while in use
 * (DRAIN, FORCE) and have been left since, and unloads libraries (hotpatch_lib, _replace_lib, _load) of which no
 * definition is on a function, in a set or still run, and that nothing else refers to: no word of memory, no register,
 * no signal handler, timer or epoll descriptor points into them. Returns how many of both are kept.
 *
 * Memory is searched once while the program runs, and if nothing was found a second time while all other threads are
 * held, at most stall_ms; sleeping threads are woken for it, and their system calls begin again. A library's
 * destructors run in the calling thread, and cannot change anything. Pointers that a program has packed, offset or
 * written elsewhere (pipes, files) are not seen. */
int hotpatch_reclaim(void);

/* How hotpatch_serve is told more than nothing. */
struct hotpatch_serve_options {
	size_t size; /* filled in by the macro */
	const char
		*path; /* of the socket; NULL: where the command looks, as for a program started with `hotpatch run` */
};

/* What the macros below call. */
int hotpatch_serve_with(const struct hotpatch_serve_options *options);
int hotpatch_fn_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, hotpatch_any body,
                   const struct hotpatch_options *options);
int hotpatch_closure_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, hotpatch_any body,
                        void *context, void (*destroy)(void *), const struct hotpatch_options *options);
int hotpatch_lib_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn, const char *path,
                    const struct hotpatch_options *options);
int hotpatch_restore_at(const struct hotpatch_marks *marks, const char *name, hotpatch_any fn,
                        const struct hotpatch_options *options);
hotpatch_any hotpatch_original_at(hotpatch_any fn);
int hotpatch_replace_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *name, hotpatch_any fn,
                        hotpatch_any body, const struct hotpatch_options *options);
int hotpatch_replace_closure_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *name,
                                hotpatch_any fn, hotpatch_any body, void *context, void (*destroy)(void *),
                                const struct hotpatch_options *options);
int hotpatch_replace_lib_at(struct hotpatch *patch, const struct hotpatch_marks *marks, const char *path,
                            const struct hotpatch_options *options);
int hotpatch_apply_with(struct hotpatch *patch, const struct hotpatch_options *options);
int hotpatch_revert_with(struct hotpatch *patch, const struct hotpatch_options *options);
int hotpatch_load_at(const struct hotpatch_marks *marks, const char *path, const struct hotpatch_options *options);
int hotpatch_unload_with(const char *path, const struct hotpatch_options *options);
int hotpatch_reclaim_with(int (*callback)(const struct hotpatch_kept *kept, void *arg), void *arg,
                          const struct hotpatch_options *options);

/* The linker defines these where an image has such a section. */
extern const char __start_hotpatchable[] __attribute__((weak, visibility("hidden")));
extern const char __stop_hotpatchable[] __attribute__((weak, visibility("hidden")));
extern const char __start_hotpatch[] __attribute__((weak, visibility("hidden")));
extern const char __stop_hotpatch[] __attribute__((weak, visibility("hidden")));

static inline const struct hotpatch_marks *hotpatch_marks_(void)
{
	static const struct hotpatch_marks marks = {
		__start_hotpatchable,
		__stop_hotpatchable,
		__start_hotpatch,
		__stop_hotpatch,
	};
	return &marks;
}

#else /* HOTPATCH_DISABLE: the plain program */

static inline const struct hotpatch_error *hotpatch_error(void)
{
	static const struct hotpatch_error error = {
		HOTPATCH_EDISABLED,
		"hotpatch: the program was compiled with HOTPATCH_DISABLE; nothing was changed",
		0,
		NULL,
	};
	return &error;
}
static inline const char *hotpatch_code_name(int code)
{
	return code == HOTPATCH_EDISABLED ? "HOTPATCH_EDISABLED" : code == 0 ? "HOTPATCH_OK" : NULL;
}
static inline void *hotpatch_context(void)
{
	return NULL;
}
static inline struct hotpatch *hotpatch_new(const char *name)
{
	(void)name;
	return NULL;
}
static inline int hotpatch_free(struct hotpatch *patch)
{
	(void)patch;
	return 0;
}
static inline int hotpatch_on(struct hotpatch *patch, enum hotpatch_event event, hotpatch_callback callback, void *arg)
{
	(void)patch, (void)event, (void)callback, (void)arg;
	return HOTPATCH_EDISABLED;
}
static inline int hotpatch_veto(struct hotpatch *patch, const char *format, ...)
{
	(void)patch, (void)format;
	return 1;
}
static inline void *hotpatch_shadow_attach(const void *object, unsigned long id, size_t size,
                                           void (*init)(void *memory, void *arg), void *arg)
{
	(void)object, (void)id, (void)size, (void)init, (void)arg;
	return NULL;
}
static inline void *hotpatch_shadow_get(const void *object, unsigned long id)
{
	(void)object, (void)id;
	return NULL;
}
static inline int hotpatch_shadow_detach(const void *object, unsigned long id, void (*free_inner)(void *memory))
{
	(void)object, (void)id, (void)free_inner;
	return HOTPATCH_EDISABLED;
}
static inline int hotpatch_for_each(int (*callback)(const struct hotpatch_info *info, void *arg), void *arg)
{
	(void)callback, (void)arg;
	return 0;
}
static inline void hotpatch_poll(void) {}
static inline int hotpatch_stack_add(const void *base, size_t size)
{
	(void)base, (void)size;
	return HOTPATCH_EDISABLED;
}
static inline int hotpatch_stack_remove(const void *base)
{
	(void)base;
	return HOTPATCH_EDISABLED;
}
static inline int hotpatch_set_signal(int signo)
{
	(void)signo;
	return HOTPATCH_EDISABLED;
}
static inline int hotpatch_reclaim(void)
{
	return 0;
}
struct hotpatch_serve_options {
	size_t size;
	const char *path;
};
static inline int hotpatch_serve_with(const struct hotpatch_serve_options *options)
{
	(void)options;
	return HOTPATCH_EDISABLED;
}

#endif

HOTPATCH_END_C_

/* -- The macros ---------------------------------------------------------------------------------------------------
 *
 * hotpatch_fn(fn, body, ...)                        fn's calls run body from now on; bodies of another type do not
 *                                                   compile. A later hotpatch_fn, _closure or _lib takes its place.
 * hotpatch_closure(fn, body, ctx, destroy, ...)     the same; body finds ctx with hotpatch_context(). destroy (or NULL)
 *                                                   is called with ctx once, when the closure is replaced and left;
 *                                                   on failure it is not called, ctx stays the caller's.
 * hotpatch_lib(fn, path, ...)                       the function of fn's name (or path) in the shared library `path`,
 *                                                   whose type is compared with fn's from DWARF
 * hotpatch_restore(fn, ...)                         the original definition
 * hotpatch_original(fn)                             a typed pointer: inside a definition of fn the one beneath it,
 *                                                   elsewhere the original. Async-signal-safe, takes no lock; to be
 *                                                   called at once, not kept.
 * hotpatch_replace(p, fn, body, ...)                adds a change to a set; options: unprepared
 * hotpatch_replace_closure(p, fn, body, ctx, destroy, ...)
 * hotpatch_replace_lib(p, path, ...)                adds every function the library marks HOTPATCH; options: unchecked,
 *                                                   unprepared
 * hotpatch_apply(p, ...), hotpatch_revert(p, ...)   all functions of the set change at one instant
 * hotpatch_load(path, ...)                          applies every function the library marks HOTPATCH, as one patch
 * hotpatch_unload(path, ...)                        reverts it; the library stays mapped until hotpatch_reclaim
 * hotpatch_reclaim_each(callback, arg, ...)         hotpatch_reclaim, and callback for each thing it keeps, until that
 *                                                   returns non-zero; options: timeout_ms, stall_ms
 * hotpatch_serve(...)                               starts the agent, a thread by which the command `hotpatch` applies
 *                                                   patches to this process; option: path. 0 also where it runs
 * already; HOTPATCH_ESYSTEM where it can have no socket or thread
 *
 * `...` are options by name.
 */
#ifdef HOTPATCH_DISABLE

/* The arguments are evaluated, so that what is used only here counts as used. */
#define HOTPATCH_OFF_1_(a, ...) ((void)(a), (int)HOTPATCH_EDISABLED)
#define HOTPATCH_OFF_2_(a, b, ...) ((void)(a), (void)(b), (int)HOTPATCH_EDISABLED)
#define HOTPATCH_OFF_3_(a, b, c, ...) ((void)(a), (void)(b), (void)(c), (int)HOTPATCH_EDISABLED)
/* But a context is not made: nobody would free it. */
#define HOTPATCH_OFF_CLOSURE_(fn, body, ctx, destroy, ...)                                                             \
	((void)(fn), (void)(body), (void)sizeof(ctx), (void)(destroy), (int)HOTPATCH_EDISABLED)
#define hotpatch_fn(...) HOTPATCH_OFF_2_(__VA_ARGS__, 0)
#define hotpatch_closure(...) HOTPATCH_OFF_CLOSURE_(__VA_ARGS__, 0)
#define hotpatch_lib(...) HOTPATCH_OFF_2_(__VA_ARGS__, 0)
#define hotpatch_restore(...) HOTPATCH_OFF_1_(__VA_ARGS__, 0)
#define hotpatch_original(fn) (&*(fn))
#define hotpatch_replace(...) HOTPATCH_OFF_3_(__VA_ARGS__, 0)
#define hotpatch_replace_closure(p, ...) ((void)(p), HOTPATCH_OFF_CLOSURE_(__VA_ARGS__, 0))
#define hotpatch_replace_lib(...) HOTPATCH_OFF_2_(__VA_ARGS__, 0)
#define hotpatch_apply(...) HOTPATCH_OFF_1_(__VA_ARGS__, 0)
#define hotpatch_revert(...) HOTPATCH_OFF_1_(__VA_ARGS__, 0)
#define hotpatch_load(...) HOTPATCH_OFF_1_(__VA_ARGS__, 0)
#define hotpatch_unload(...) HOTPATCH_OFF_1_(__VA_ARGS__, 0)
#define hotpatch_serve(...) ((int)HOTPATCH_EDISABLED)
#define hotpatch_reclaim_each(callback, ...) ((void)(callback), 0)

#elif !defined(__cplusplus)

#define HOTPATCH_SIZE_ .size = sizeof(struct hotpatch_options)
#define HOTPATCH_OPTIONS_(...) (&(struct hotpatch_options){__VA_ARGS__})
#define HOTPATCH_SAME_(fn, body)                                                                                       \
	((void)sizeof(struct {                                                                                         \
		_Static_assert(__builtin_types_compatible_p(__typeof__(&*(fn)), __typeof__(&*(body))),                 \
		               "hotpatch: the new body has another type than the function it replaces");               \
		int hotpatch_unused;                                                                                   \
	}))

#define hotpatch_fn(...) HOTPATCH_FN_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_FN_(fn, body, ...)                                                                                    \
	(HOTPATCH_SAME_(fn, body), hotpatch_fn_at(hotpatch_marks_(), #fn, (hotpatch_any)(fn), (hotpatch_any)(body),    \
	                                          HOTPATCH_OPTIONS_(__VA_ARGS__)))
#define hotpatch_closure(...) HOTPATCH_CLOSURE_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_CLOSURE_(fn, body, ctx, destroy, ...)                                                                 \
	(HOTPATCH_SAME_(fn, body),                                                                                     \
	 hotpatch_closure_at(hotpatch_marks_(), #fn, (hotpatch_any)(fn), (hotpatch_any)(body), (ctx), (destroy),       \
	                     HOTPATCH_OPTIONS_(__VA_ARGS__)))
#define hotpatch_lib(...) HOTPATCH_LIB_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_LIB_(fn, path, ...)                                                                                   \
	hotpatch_lib_at(hotpatch_marks_(), #fn, (hotpatch_any)(fn), (path), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_restore(...) HOTPATCH_RESTORE_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_RESTORE_(fn, ...)                                                                                     \
	hotpatch_restore_at(hotpatch_marks_(), #fn, (hotpatch_any)(fn), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_original(fn) ((__typeof__(&*(fn)))hotpatch_original_at((hotpatch_any)(fn)))
#define hotpatch_replace(...) HOTPATCH_REPLACE_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_REPLACE_(p, fn, body, ...)                                                                            \
	(HOTPATCH_SAME_(fn, body), hotpatch_replace_at((p), hotpatch_marks_(), #fn, (hotpatch_any)(fn),                \
	                                               (hotpatch_any)(body), HOTPATCH_OPTIONS_(__VA_ARGS__)))
#define hotpatch_replace_closure(...) HOTPATCH_REPLACE_CLOSURE_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_REPLACE_CLOSURE_(p, fn, body, ctx, destroy, ...)                                                      \
	(HOTPATCH_SAME_(fn, body),                                                                                     \
	 hotpatch_replace_closure_at((p), hotpatch_marks_(), #fn, (hotpatch_any)(fn), (hotpatch_any)(body), (ctx),     \
	                             (destroy), HOTPATCH_OPTIONS_(__VA_ARGS__)))
#define hotpatch_replace_lib(...) HOTPATCH_REPLACE_LIB_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_REPLACE_LIB_(p, path, ...)                                                                            \
	hotpatch_replace_lib_at((p), hotpatch_marks_(), (path), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_apply(...) HOTPATCH_APPLY_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_APPLY_(p, ...) hotpatch_apply_with((p), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_revert(...) HOTPATCH_REVERT_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_REVERT_(p, ...) hotpatch_revert_with((p), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_load(...) HOTPATCH_LOAD_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_LOAD_(path, ...) hotpatch_load_at(hotpatch_marks_(), (path), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_unload(...) HOTPATCH_UNLOAD_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_UNLOAD_(path, ...) hotpatch_unload_with((path), HOTPATCH_OPTIONS_(__VA_ARGS__))
#define hotpatch_serve(...)                                                                                            \
	hotpatch_serve_with(                                                                                           \
		&(struct hotpatch_serve_options){.size = sizeof(struct hotpatch_serve_options), __VA_ARGS__})
#define hotpatch_reclaim_each(...) HOTPATCH_RECLAIM_EACH_(__VA_ARGS__, HOTPATCH_SIZE_)
#define HOTPATCH_RECLAIM_EACH_(callback, arg, ...)                                                                     \
	hotpatch_reclaim_with((callback), (arg), HOTPATCH_OPTIONS_(__VA_ARGS__))

#else /* C++17: no designated initialisers, so `.mode = x` becomes a statement `options.mode = x;` */

template <class F> inline hotpatch_any hotpatch_cast_(F *fn)
{
	return reinterpret_cast<hotpatch_any>(fn);
}
template <class F> inline F *hotpatch_original_of_(F *fn)
{
	return reinterpret_cast<F *>(hotpatch_original_at(hotpatch_cast_(fn)));
}
/* Two functions of different types deduce no F: that is the compile-time check. */
template <class F> inline void hotpatch_the_new_body_must_have_the_same_type_(F *, F *) {}

#define HOTPATCH_SET_0_
#define HOTPATCH_SET_1_(a) hotpatch_options_ a;
#define HOTPATCH_SET_2_(a, b) HOTPATCH_SET_1_(a) hotpatch_options_ b;
#define HOTPATCH_SET_3_(a, b, c) HOTPATCH_SET_2_(a, b) hotpatch_options_ c;
#define HOTPATCH_SET_4_(a, b, c, d) HOTPATCH_SET_3_(a, b, c) hotpatch_options_ d;
#define HOTPATCH_WITH_(...)                                                                                            \
	struct hotpatch_options hotpatch_options_ =                                                                    \
		{sizeof(struct hotpatch_options), HOTPATCH_WAIT, 0, 0, false, false, false};                           \
	__VA_ARGS__
#define HOTPATCH_CALL_(set, call) ([&]() -> int { HOTPATCH_WITH_(set) return call; }())
/* Picks by the number of arguments; `fixed` of them are not options. */
#define HOTPATCH_PICK_9_(a, b, c, d, e, f, g, h, name, ...) name

#define HOTPATCH_FN_SET_(set, fn, body)                                                                                \
	HOTPATCH_CALL_(set, (hotpatch_the_new_body_must_have_the_same_type_(&*(fn), &*(body)),                         \
	                     hotpatch_fn_at(hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)), hotpatch_cast_(&*(body)),  \
	                                    &hotpatch_options_)))
#define HOTPATCH_FN_2_(fn, body) HOTPATCH_FN_SET_(HOTPATCH_SET_0_, fn, body)
#define HOTPATCH_FN_3_(fn, body, a) HOTPATCH_FN_SET_(HOTPATCH_SET_1_(a), fn, body)
#define HOTPATCH_FN_4_(fn, body, a, b) HOTPATCH_FN_SET_(HOTPATCH_SET_2_(a, b), fn, body)
#define HOTPATCH_FN_5_(fn, body, a, b, c) HOTPATCH_FN_SET_(HOTPATCH_SET_3_(a, b, c), fn, body)
#define HOTPATCH_FN_6_(fn, body, a, b, c, d) HOTPATCH_FN_SET_(HOTPATCH_SET_4_(a, b, c, d), fn, body)
#define hotpatch_fn(...)                                                                                               \
	HOTPATCH_PICK_9_(__VA_ARGS__, _, _, HOTPATCH_FN_6_, HOTPATCH_FN_5_, HOTPATCH_FN_4_, HOTPATCH_FN_3_,            \
	                 HOTPATCH_FN_2_, _, _)                                                                         \
	(__VA_ARGS__)

#define HOTPATCH_CLOSURE_SET_(set, fn, body, ctx, destroy)                                                             \
	HOTPATCH_CALL_(set, (hotpatch_the_new_body_must_have_the_same_type_(&*(fn), &*(body)),                         \
	                     hotpatch_closure_at(hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)),                       \
	                                         hotpatch_cast_(&*(body)), (ctx), (destroy), &hotpatch_options_)))
#define HOTPATCH_CLOSURE_4_(fn, body, ctx, destroy) HOTPATCH_CLOSURE_SET_(HOTPATCH_SET_0_, fn, body, ctx, destroy)
#define HOTPATCH_CLOSURE_5_(fn, body, ctx, destroy, a) HOTPATCH_CLOSURE_SET_(HOTPATCH_SET_1_(a), fn, body, ctx, destroy)
#define HOTPATCH_CLOSURE_6_(fn, body, ctx, destroy, a, b)                                                              \
	HOTPATCH_CLOSURE_SET_(HOTPATCH_SET_2_(a, b), fn, body, ctx, destroy)
#define HOTPATCH_CLOSURE_7_(fn, body, ctx, destroy, a, b, c)                                                           \
	HOTPATCH_CLOSURE_SET_(HOTPATCH_SET_3_(a, b, c), fn, body, ctx, destroy)
#define HOTPATCH_CLOSURE_8_(fn, body, ctx, destroy, a, b, c, d)                                                        \
	HOTPATCH_CLOSURE_SET_(HOTPATCH_SET_4_(a, b, c, d), fn, body, ctx, destroy)
#define hotpatch_closure(...)                                                                                          \
	HOTPATCH_PICK_9_(__VA_ARGS__, HOTPATCH_CLOSURE_8_, HOTPATCH_CLOSURE_7_, HOTPATCH_CLOSURE_6_,                   \
	                 HOTPATCH_CLOSURE_5_, HOTPATCH_CLOSURE_4_, _, _, _, _)                                         \
	(__VA_ARGS__)

/* The calls with one fixed argument x and the options, and those with two. */
#define HOTPATCH_ONE_1_(call, x) HOTPATCH_CALL_(HOTPATCH_SET_0_, call(x))
#define HOTPATCH_ONE_2_(call, x, a) HOTPATCH_CALL_(HOTPATCH_SET_1_(a), call(x))
#define HOTPATCH_ONE_3_(call, x, a, b) HOTPATCH_CALL_(HOTPATCH_SET_2_(a, b), call(x))
#define HOTPATCH_ONE_4_(call, x, a, b, c) HOTPATCH_CALL_(HOTPATCH_SET_3_(a, b, c), call(x))
#define HOTPATCH_ONE_5_(call, x, a, b, c, d) HOTPATCH_CALL_(HOTPATCH_SET_4_(a, b, c, d), call(x))
#define HOTPATCH_ONE_(...)                                                                                             \
	HOTPATCH_PICK_9_(__VA_ARGS__, _, _, HOTPATCH_ONE_5_, HOTPATCH_ONE_4_, HOTPATCH_ONE_3_, HOTPATCH_ONE_2_,        \
	                 HOTPATCH_ONE_1_, _, _)                                                                        \
	(__VA_ARGS__)
#define HOTPATCH_TWO_2_(call, x, y) HOTPATCH_CALL_(HOTPATCH_SET_0_, call(x, y))
#define HOTPATCH_TWO_3_(call, x, y, a) HOTPATCH_CALL_(HOTPATCH_SET_1_(a), call(x, y))
#define HOTPATCH_TWO_4_(call, x, y, a, b) HOTPATCH_CALL_(HOTPATCH_SET_2_(a, b), call(x, y))
#define HOTPATCH_TWO_5_(call, x, y, a, b, c) HOTPATCH_CALL_(HOTPATCH_SET_3_(a, b, c), call(x, y))
#define HOTPATCH_TWO_6_(call, x, y, a, b, c, d) HOTPATCH_CALL_(HOTPATCH_SET_4_(a, b, c, d), call(x, y))
#define HOTPATCH_TWO_(...)                                                                                             \
	HOTPATCH_PICK_9_(__VA_ARGS__, _, HOTPATCH_TWO_6_, HOTPATCH_TWO_5_, HOTPATCH_TWO_4_, HOTPATCH_TWO_3_,           \
	                 HOTPATCH_TWO_2_, _, _, _)                                                                     \
	(__VA_ARGS__)

#define HOTPATCH_LIB_CALL_(fn, path)                                                                                   \
	hotpatch_lib_at(hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)), (path), &hotpatch_options_)
#define HOTPATCH_RESTORE_CALL_(fn)                                                                                     \
	hotpatch_restore_at(hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)), &hotpatch_options_)
#define HOTPATCH_REPLACE_LIB_CALL_(p, path) hotpatch_replace_lib_at((p), hotpatch_marks_(), (path), &hotpatch_options_)
#define HOTPATCH_APPLY_CALL_(p) hotpatch_apply_with((p), &hotpatch_options_)
#define HOTPATCH_REVERT_CALL_(p) hotpatch_revert_with((p), &hotpatch_options_)
#define HOTPATCH_LOAD_CALL_(path) hotpatch_load_at(hotpatch_marks_(), (path), &hotpatch_options_)
#define HOTPATCH_UNLOAD_CALL_(path) hotpatch_unload_with((path), &hotpatch_options_)
#define HOTPATCH_RECLAIM_CALL_(callback, arg) hotpatch_reclaim_with((callback), (arg), &hotpatch_options_)

#define hotpatch_lib(...) HOTPATCH_TWO_(HOTPATCH_LIB_CALL_, __VA_ARGS__)
#define hotpatch_restore(...) HOTPATCH_ONE_(HOTPATCH_RESTORE_CALL_, __VA_ARGS__)
#define hotpatch_original(fn) hotpatch_original_of_(&*(fn))
#define HOTPATCH_REPLACE_SET_(set, p, fn, body)                                                                        \
	HOTPATCH_CALL_(set, (hotpatch_the_new_body_must_have_the_same_type_(&*(fn), &*(body)),                         \
	                     hotpatch_replace_at((p), hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)),                  \
	                                         hotpatch_cast_(&*(body)), &hotpatch_options_)))
#define HOTPATCH_REPLACE_3_(p, fn, body) HOTPATCH_REPLACE_SET_(HOTPATCH_SET_0_, p, fn, body)
#define HOTPATCH_REPLACE_4_(p, fn, body, a) HOTPATCH_REPLACE_SET_(HOTPATCH_SET_1_(a), p, fn, body)
#define hotpatch_replace(...)                                                                                          \
	HOTPATCH_PICK_9_(__VA_ARGS__, _, _, _, _, HOTPATCH_REPLACE_4_, HOTPATCH_REPLACE_3_, _, _, _)(__VA_ARGS__)
#define HOTPATCH_REPLACE_CLOSURE_SET_(set, p, fn, body, ctx, destroy)                                                  \
	HOTPATCH_CALL_(set,                                                                                            \
	               (hotpatch_the_new_body_must_have_the_same_type_(&*(fn), &*(body)),                              \
	                hotpatch_replace_closure_at((p), hotpatch_marks_(), #fn, hotpatch_cast_(&*(fn)),               \
	                                            hotpatch_cast_(&*(body)), (ctx), (destroy), &hotpatch_options_)))
#define HOTPATCH_REPLACE_CLOSURE_5_(p, fn, body, ctx, destroy)                                                         \
	HOTPATCH_REPLACE_CLOSURE_SET_(HOTPATCH_SET_0_, p, fn, body, ctx, destroy)
#define HOTPATCH_REPLACE_CLOSURE_6_(p, fn, body, ctx, destroy, a)                                                      \
	HOTPATCH_REPLACE_CLOSURE_SET_(HOTPATCH_SET_1_(a), p, fn, body, ctx, destroy)
#define hotpatch_replace_closure(...)                                                                                  \
	HOTPATCH_PICK_9_(__VA_ARGS__, _, _, HOTPATCH_REPLACE_CLOSURE_6_, HOTPATCH_REPLACE_CLOSURE_5_, _, _, _, _)      \
	(__VA_ARGS__)
#define hotpatch_replace_lib(...) HOTPATCH_TWO_(HOTPATCH_REPLACE_LIB_CALL_, __VA_ARGS__)
#define hotpatch_apply(...) HOTPATCH_ONE_(HOTPATCH_APPLY_CALL_, __VA_ARGS__)
#define hotpatch_revert(...) HOTPATCH_ONE_(HOTPATCH_REVERT_CALL_, __VA_ARGS__)
#define hotpatch_load(...) HOTPATCH_ONE_(HOTPATCH_LOAD_CALL_, __VA_ARGS__)
#define hotpatch_unload(...) HOTPATCH_ONE_(HOTPATCH_UNLOAD_CALL_, __VA_ARGS__)
#define hotpatch_serve(...)                                                                                            \
	([&]() -> int {                                                                                                \
		struct hotpatch_serve_options hotpatch_options_ = {sizeof(struct hotpatch_serve_options), nullptr};    \
		static_cast<void>(hotpatch_options_ __VA_ARGS__);                                                      \
		return hotpatch_serve_with(&hotpatch_options_);                                                        \
	}())
#define hotpatch_reclaim_each(...) HOTPATCH_TWO_(HOTPATCH_RECLAIM_CALL_, __VA_ARGS__)

#endif
#endif
