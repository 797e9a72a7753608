/* kinds.c - the kinds of call that are compared, each in a loop of its own.
 *
 * All loops are made from one template, so that they differ in the call only; bench/run compares the machine code of
 * the first two. The result of a call is the argument of the next: nothing can be hoisted or overlap, and what is
 * measured is the time until a call has returned. Everything that is called answers x + 1, so a loop's answer tells
 * whether every call was made.
 */
#define _LGPL_SOURCE
#include "kinds.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>

#include "hotpatch.h"
#include "must.h"

#ifdef __clang__
#define OPAQUE __attribute__((noinline, weak))
#else
#define OPAQUE __attribute__((noipa))
#endif

/* -- What is called ------------------------------------------------------------------------------------------ */

OPAQUE __attribute__((aligned(16))) uint64_t plain(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t unpatched(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t by_function(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t by_library(uint64_t x)
{
	return x + 1;
}

HOTPATCHABLE uint64_t by_closure(uint64_t x)
{
	return x + 1;
}

/* Long enough for a jump to be written over it. */
OPAQUE __attribute__((aligned(16))) uint64_t unprepared(uint64_t x)
{
	__asm__ volatile("nop");
	return x + 1;
}

static uint64_t closure(uint64_t x)
{
	return x + *(const uint64_t *)hotpatch_context();
}

/* -- What a program would do without hotpatch: a pointer, and something that protects it ------------------------ */

static _Atomic(step_fn) atomic_pointer = plain;
static _Atomic(step_fn) far_pointer; /* to a library: processors may take longer to jump that far */
static step_fn pointer = plain;      /* what the lock, the mutex, the counter and RCU protect */

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_ulong callers;

static inline uint64_t through_rwlock(uint64_t x)
{
	pthread_rwlock_rdlock(&rwlock);
	x = pointer(x);
	pthread_rwlock_unlock(&rwlock);
	return x;
}

static inline uint64_t through_memb(uint64_t x)
{
	urcu_memb_read_lock();
	x = rcu_dereference(pointer)(x);
	urcu_memb_read_unlock();
	return x;
}

/* With qsbr a reader is never outside but where it says so, which costs nothing per call, but has to be done. */
static inline uint64_t through_qsbr(uint64_t x, uint64_t i)
{
	urcu_qsbr_read_lock();
	x = rcu_dereference(pointer)(x);
	urcu_qsbr_read_unlock();
	if (i % KINDS_CALLS_PER_QUIESCENT_STATE == 0)
		urcu_qsbr_quiescent_state();
	return x;
}

static inline uint64_t through_counter(uint64_t x)
{
	atomic_fetch_add_explicit(&callers, 1, memory_order_acquire);
	x = pointer(x);
	atomic_fetch_sub_explicit(&callers, 1, memory_order_release);
	return x;
}

static inline uint64_t through_mutex(uint64_t x)
{
	pthread_mutex_lock(&mutex);
	x = pointer(x);
	pthread_mutex_unlock(&mutex);
	return x;
}

/* -- The loops ----------------------------------------------------------------------------------------------- */

#define LOOP(name, call)                                                                                               \
	OPAQUE __attribute__((aligned(64))) uint64_t loop_##name(uint64_t calls)                                       \
	{                                                                                                              \
		uint64_t x = 0;                                                                                        \
		for (uint64_t i = 0; i < calls; i++)                                                                   \
			x = call;                                                                                      \
		return x;                                                                                              \
	}

LOOP(plain, plain(x))
LOOP(unpatched, unpatched(x))
LOOP(by_function, by_function(x))
LOOP(by_library, by_library(x))
LOOP(by_closure, by_closure(x))
LOOP(unprepared, unprepared(x))
LOOP(atomic, atomic_load_explicit(&atomic_pointer, memory_order_acquire)(x))
LOOP(atomic_far, atomic_load_explicit(&far_pointer, memory_order_acquire)(x))
LOOP(rwlock, through_rwlock(x))
LOOP(memb, through_memb(x))
LOOP(qsbr, through_qsbr(x, i))
LOOP(counter, through_counter(x))
LOOP(mutex, through_mutex(x))

const struct kind kinds[N_KINDS] = {
	[KIND_PLAIN] = {"plain call", loop_plain},
	[KIND_UNPATCHED] = {"unpatched `HOTPATCHABLE`", loop_unpatched},
	[KIND_FUNCTION] = {"patched by a function", loop_by_function},
	[KIND_LIBRARY] = {"patched by a library", loop_by_library},
	[KIND_CLOSURE] = {"patched by a closure", loop_by_closure},
	[KIND_UNPREPARED] = {"patched, unprepared", loop_unprepared},
	[KIND_ATOMIC] = {"atomic function pointer", loop_atomic},
	[KIND_ATOMIC_FAR] = {"atomic function pointer to a library", loop_atomic_far},
	[KIND_QSBR] = {"liburcu (qsbr) around a pointer", loop_qsbr},
	[KIND_MEMB] = {"liburcu (memb) around a pointer", loop_memb},
	[KIND_COUNTER] = {"atomic counter around a pointer", loop_counter},
	[KIND_MUTEX] = {"mutex around a pointer", loop_mutex},
	[KIND_RWLOCK] = {"`pthread_rwlock`, the crate's way", loop_rwlock},
};

/* -- Before and after ---------------------------------------------------------------------------------------- */

static step_fn library_step(const char *library)
{
	void *handle = dlopen(library, RTLD_NOW);
	step_fn step = handle != NULL ? (step_fn)dlsym(handle, "far_step") : NULL;
	must(step != NULL, library);
	return step;
}

void kinds_patch(const char *library)
{
	static uint64_t one = 1;
	atomic_store(&far_pointer, library_step(library));
	must_patch(hotpatch_fn(by_function, plain));
	must_patch(hotpatch_lib(by_library, library));
	must_patch(hotpatch_closure(by_closure, closure, &one, NULL));
	must_patch(hotpatch_fn(unprepared, plain, .unprepared = true));
}

void kinds_restore(void)
{
	must_patch(hotpatch_restore(by_function));
	must_patch(hotpatch_restore(by_library));
	must_patch(hotpatch_restore(by_closure));
	must_patch(hotpatch_restore(unprepared));
}

void kinds_enter(void)
{
	urcu_memb_register_thread();
	urcu_qsbr_register_thread();
}

void kinds_leave(void)
{
	urcu_qsbr_unregister_thread();
	urcu_memb_unregister_thread();
}
