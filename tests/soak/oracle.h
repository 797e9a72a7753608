/* oracle.h - which definitions a call may have seen, and what every definition does.
 *
 * Every definition returns its stamp. Each group of functions that change together counts its changes:
 *
 *     changer    history[n] = stamp, begun = n  | the change |  applied = n     (history[n] = history[n-1] if refused)
 *     caller     a = applied  | the call |  b = begun          its stamp must be one of history[a ... b]
 *
 * Groups that are changed with WAIT and TRY alone (strict) promise more: what is called inside a call has its stamp,
 * and a definition that is about to return is not older than the last change that has returned. A closure finds its
 * context alive from beginning to end, and its destructor finds nobody inside and runs once.
 */
#ifndef TESTS_SOAK_ORACLE_H
#define TESTS_SOAK_ORACLE_H

#include "../live/check.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "functions.h"

enum { CONTEXTS = 1 << 14, HISTORY = 1 << 12 };

static uint64_t seed;
static int64_t start_ms;
static atomic_bool stop;
static bool is_child;

/* -- Violations and chance ----------------------------------------------------------------------------------- */

__attribute__((format(printf, 1, 2), noreturn)) static void violation(const char *format, ...)
{
	char text[1024];
	va_list args;
	int n = snprintf(text, sizeof(text),
	                 "soak: VIOLATION (seed %llu, after %lld ms, thread %d%s): ", (unsigned long long)seed,
	                 (long long)(now_ms() - start_ms), thread_id(), is_child ? ", in a child" : "");

	va_start(args, format);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
	va_end(args);
	n = n < (int)sizeof(text) - 1 ? n : (int)sizeof(text) - 2;
	text[n++] = '\n';
	if (write(STDERR_FILENO, text, (size_t)n) != n)
		_exit(1);
	abort();
}

static unsigned chance(uint64_t *random, unsigned below)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (unsigned)(*random >> 33) % below;
}

static uint64_t random_of(unsigned who)
{
	uint64_t random = (seed + 1) * 0x9e3779b97f4a7c15 ^ (who + 1) * 0xbf58476d1ce4e5b9;

	random ^= random >> 29;
	return random ? random : 1;
}

/* -- The oracle ---------------------------------------------------------------------------------------------- */

enum kind { SET, ALONE, LIBRARIES };

static struct group {
	const char *name;
	enum kind kind;
	bool strict, closures;
	int first, n; /* functions */
	_Atomic unsigned long begun, applied;
	_Atomic long history[HISTORY];
	pthread_mutex_t lock;               /* one change at a time; callers do not take it */
	struct hotpatch *patch[BODIES + 1]; /* of a set */
	int stack[BODIES + 1], n_stack;     /* what is applied, lowest first: bodies or libraries */
} groups[GROUPS] = {
	{.name = "strict set", .kind = SET, .strict = true, .first = EVEN, .n = 4},
	{.name = "loose set", .kind = SET, .first = LOOSE, .n = 3},
	{.name = "plain", .kind = ALONE, .strict = true, .closures = true, .first = PLAIN, .n = 1},
	{.name = "closed", .kind = ALONE, .strict = true, .closures = true, .first = CLOSED, .n = 1},
	{.name = "forced", .kind = ALONE, .closures = true, .first = FORCED, .n = 1},
	{.name = "libraries", .kind = LIBRARIES, .strict = true, .first = LEFT, .n = 2},
};
static int group_of[FUNCTIONS];

static long stamp_now(struct group *group)
{
	return atomic_load(&group->history[atomic_load(&group->begun) % HISTORY]);
}

static bool may_be(struct group *group, unsigned long from, unsigned long to, long stamp)
{
	for (unsigned long i = from; i <= to; i++)
		if (atomic_load(&group->history[i % HISTORY]) == stamp)
			return true;
	return atomic_load(&group->begun) - from >= HISTORY; /* overwritten meanwhile: nothing can be said */
}

static _Atomic unsigned long n_calls, n_changes, n_refused[64], n_forks, n_signals, n_threads_started;
static _Atomic int n_threads;
static _Atomic int64_t longest_ns;

static long enter(struct visit *v, int function)
{
	struct group *group = &groups[group_of[function]];
	unsigned long from = atomic_load(&group->applied), to;
	long stamp = call(function, v);

	to = atomic_load(&group->begun);
	if (!may_be(group, from, to, stamp))
		violation("%s returned %ld; changes %lu to %lu of '%s', first %ld, last %ld", functions[function].name,
		          stamp, from, to, group->name, atomic_load(&group->history[from % HISTORY]),
		          atomic_load(&group->history[to % HISTORY]));
	atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
	return stamp;
}

/* -- What definitions do ------------------------------------------------------------------------------------- */

static pthread_mutex_t program_lock = PTHREAD_MUTEX_INITIALIZER;
static int ticks; /* eventfd: the first thread adds to it all the time */

static void change_own(struct visit *v, int group);

static void sleep_us(unsigned us)
{
	struct timespec time = {0, (long)us * 1000};

	nanosleep(&time, NULL);
}

static void hold_lock(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 5000000;
	if (until.tv_nsec >= 1000000000)
		until.tv_sec++, until.tv_nsec -= 1000000000;
	if (pthread_mutex_timedlock(&program_lock, &until) == 0) {
		sleep_us(50);
		pthread_mutex_unlock(&program_lock);
	}
}

static void spin(unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		__asm__ volatile("" ::: "memory");
}

static void block(struct visit *v)
{
	uint64_t tick;

	switch (chance(&v->random, 4)) {
	case 0:
		sleep_us(chance(&v->random, 2000));
		break;
	case 1:
		poll(NULL, 0, 1);
		break;
	case 2:
		sched_yield();
		break;
	default:
		if (!is_child && read(ticks, &tick, sizeof(tick)) < 0 && errno != EINTR)
			violation("read: %s", strerror(errno));
	}
}

static void act(struct visit *v, int group)
{
	void *memory;

	switch (chance(&v->random, 24)) {
	case 0:
		block(v);
		break;
	case 1:
		if (!v->in_handler && !is_child)
			hold_lock();
		break;
	case 2:
		if (!v->in_handler)
			memory = malloc(chance(&v->random, 5000) + 1), *(volatile char *)memory = 1, free(memory);
		break;
	case 3:
		if (!v->in_handler && v->active == 0)
			hotpatch_poll();
		break;
	case 4:
		if (chance(&v->random, 8) == 0)
			syscall(SYS_tgkill, getpid(), thread_id(), chance(&v->random, 2) ? SIGUSR1 : SIGUSR2);
		break;
	case 5:
		if (!v->in_handler && !is_child && chance(&v->random, 64) == 0)
			change_own(v, group);
		break;
	default:
		spin(chance(&v->random, 3000));
	}
}

static int choose(struct visit *v, int group)
{
	int function;

	if (group >= 0 && chance(&v->random, 3))
		return groups[group].first + (int)chance(&v->random, (unsigned)groups[group].n);
	do
		function = (int)chance(&v->random, FUNCTIONS);
	while (v->in_handler && groups[group_of[function]].closures);
	return function;
}

static void go_deeper(struct visit *v, int group)
{
	int depth = v->depth;

	while (v->depth > 0 && chance(&v->random, 4)) {
		v->depth -= 1 + (int)chance(&v->random, 2);
		enter(v, choose(v, group));
	}
	v->depth = depth - 1;
}

long run(struct visit *v, int function, long stamp, bool arguments_arrived)
{
	int g = group_of[function];
	struct group *group = &groups[g];
	unsigned long from;

	if (!arguments_arrived)
		violation("%s, definition %ld: arguments are not what they were", functions[function].name, stamp);
	if (v->bare)
		return stamp;
	if (v->inside[g]++ == 0)
		v->first[g] = stamp;
	else if (group->strict && v->first[g] != stamp)
		violation("%s is %ld inside a call of '%s' that began with %ld", functions[function].name, stamp,
		          group->name, v->first[g]);
	v->active += group->strict;
	act(v, g);
	go_deeper(v, g);
	from = atomic_load(&group->applied);
	if (group->strict && !may_be(group, from, atomic_load(&group->begun), stamp))
		violation("%s still runs definition %ld of '%s' after change %lu to %ld returned",
		          functions[function].name, stamp, group->name, from,
		          atomic_load(&group->history[from % HISTORY]));
	v->active -= group->strict;
	v->inside[g]--;
	return stamp;
}

/* -- Closures ------------------------------------------------------------------------------------------------ */

enum context_state { UNUSED_YET, ALIVE = 0x51f3, DESTROYED = 0xdead };

static struct context contexts[CONTEXTS];
static _Atomic int inside_context[CONTEXTS];
static _Atomic unsigned next_context;

/* Destroyed ones are used again 16384 contexts later. */
static struct context *context_new(long stamp)
{
	for (unsigned tries = 0; tries < CONTEXTS; tries++) {
		struct context *context = &contexts[atomic_fetch_add(&next_context, 1) % CONTEXTS];

		if (atomic_load(&context->state) == ALIVE)
			continue;
		context->stamp = stamp;
		atomic_store(&context->state, ALIVE);
		return context;
	}
	violation("all %d contexts are alive", CONTEXTS);
}

static void context_destroy(void *arg)
{
	struct context *context = arg;
	unsigned state = atomic_exchange(&context->state, DESTROYED);

	if (state != ALIVE)
		violation("the destructor of %ld finds its context in state %x", context->stamp, state);
	if (!is_child && atomic_load(&inside_context[context - contexts]) != 0)
		violation("the destructor of %ld runs while a thread is in the closure", context->stamp);
}

static long run_closure(struct visit *v, int function, struct context *context, bool arguments_arrived)
{
	long stamp;

	if (context < contexts || context >= contexts + CONTEXTS)
		violation("a closure of %s has %p for a context", functions[function].name, (void *)context);
	atomic_fetch_add(&inside_context[context - contexts], 1);
	if (atomic_load(&context->state) != ALIVE)
		violation("a closure of %s begins with a destroyed context", functions[function].name);
	stamp = run(v, function, context->stamp, arguments_arrived);
	if (atomic_load(&context->state) != ALIVE || context->stamp != stamp)
		violation("a closure of %s ends with a destroyed context", functions[function].name);
	atomic_fetch_sub(&inside_context[context - contexts], 1);
	return stamp;
}

#endif
