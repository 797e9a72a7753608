/* soak - everything at once, by chance, for as long as one likes.
 *
 *     soak [SECONDS [SEED]]
 *
 * Threads that come and go call twelve functions, which call each other, sleep, block, take signals and locks; two
 * threads change the functions, in sets and alone, in every mode, to bodies, closures and functions of libraries; the
 * first thread forks. The seed decides all choices of each thread, not how the threads meet.
 *
 * The oracle (oracle.h) knows which definitions each call may have seen, and what else must not happen. An operation
 * that is refused is refused for a reason that may be, and a change of a thread's own function always. In the end
 * everything can be undone, and every closure's context was destroyed.
 *
 * Seen to fail: with strict groups changed by DRAIN and FORCE too, within 20 ms; with threads in hotpatch_poll taken
 * for gone, which destroyed a closure under a thread, after some seconds.
 */
#include "oracle.h"

#include <sys/wait.h>

enum { WORKERS = 8, CHANGERS = 2, ALTERNATE = 1 << 18 };

/* -- Changes ------------------------------------------------------------------------------------------------- */

static const char *const library_path[] = {NULL, "./soak.libA.so", "./soak.libB.so"};
static const long library_stamp[] = {0, STAMP_A, STAMP_B};

static long stamp_in(const struct group *group, int place)
{
	return group->kind == LIBRARIES ? library_stamp[place] : place;
}

static struct hotpatch_options options_by_chance(uint64_t *random, bool strict)
{
	static const enum hotpatch_mode modes[] = {HOTPATCH_WAIT, HOTPATCH_TRY, HOTPATCH_DRAIN, HOTPATCH_FORCE};

	return (struct hotpatch_options){
		.size = sizeof(struct hotpatch_options),
		.unprepared = true,
		.mode = modes[chance(random, strict ? 2 : 4)],
		.timeout_ms = 1 + chance(random, 300),
		.stall_ms = 1 + chance(random, 20),
	};
}

static void change_begins(struct group *group, long stamp)
{
	unsigned long number = atomic_load(&group->begun) + 1;

	atomic_store(&group->history[number % HISTORY], stamp);
	atomic_store(&group->begun, number);
}

static bool change_ends(struct group *group, int code, const struct hotpatch_options *options)
{
	unsigned long number = atomic_load(&group->begun);
	bool live = code == 0 || (code == HOTPATCH_EINPROGRESS && options->mode == HOTPATCH_DRAIN);

	if (!live)
		atomic_store(&group->history[number % HISTORY], atomic_load(&group->history[(number - 1) % HISTORY]));
	atomic_store(&group->applied, number);
	if (!live && code != HOTPATCH_EBUSY && code != HOTPATCH_ETIMEDOUT && code != HOTPATCH_EDEADLK)
		violation("a change of '%s' in mode %d: %s: %s", group->name, options->mode, hotpatch_code_name(code),
		          hotpatch_error()->message);
	atomic_fetch_add(code == 0 ? &n_changes : &n_refused[-code], 1);
	return live;
}

/* Applies what is not on the group's stack, reverts what is, wherever it lies there. */
static int change_stack(struct group *group, int place, const struct hotpatch_options *options)
{
	int after[BODIES + 1], n = 0, code;
	bool applied;

	for (int i = 0; i < group->n_stack; i++)
		if (group->stack[i] != place)
			after[n++] = group->stack[i];
	applied = n < group->n_stack;
	if (!applied)
		after[n++] = place;
	change_begins(group, n > 0 ? stamp_in(group, after[n - 1]) : 0);
	if (group->kind == SET)
		code = applied ? hotpatch_revert_with(group->patch[place], options)
		               : hotpatch_apply_with(group->patch[place], options);
	else
		code = applied ? hotpatch_unload_with(library_path[place], options)
		               : hotpatch_load_at(hotpatch_marks_(), library_path[place], options);
	if (change_ends(group, code, options)) {
		memcpy(group->stack, after, sizeof(after));
		group->n_stack = n;
	}
	return code;
}

static int change_to_closure(struct group *group, const struct function *function,
                             const struct hotpatch_options *options)
{
	static _Atomic long stamps = 1000;
	struct context *context = context_new(atomic_fetch_add(&stamps, 1));
	int code;

	change_begins(group, context->stamp);
	code = hotpatch_closure_at(hotpatch_marks_(), function->name, function->entry, function->closure, context,
	                           context_destroy, options);
	if (!change_ends(group, code, options)) {
		if (atomic_load(&context->state) != ALIVE)
			violation("the context of a closure that was refused was destroyed");
		atomic_store(&context->state, UNUSED_YET);
	}
	return code;
}

static int change_alone(struct group *group, unsigned choice, const struct hotpatch_options *options)
{
	const struct function *function = &functions[group->first];
	long now = stamp_now(group);
	int code;

	if (choice > BODIES + 1)
		return change_to_closure(group, function, options);
	change_begins(group, choice == BODIES + 1 ? group->first == PLAIN ? STAMP_C : 0 : choice);
	if (choice == 0 || (choice == BODIES + 1 && group->first != PLAIN))
		code = now == 0 ? 0 : hotpatch_restore_at(hotpatch_marks_(), function->name, function->entry, options);
	else if (choice == BODIES + 1)
		code = hotpatch_lib_at(hotpatch_marks_(), function->name, function->entry, "./soak.libC.so", options);
	else
		code = hotpatch_fn_at(hotpatch_marks_(), function->name, function->entry, function->body[choice],
		                      options);
	change_ends(group, code, options);
	return code;
}

static int change(struct group *group, uint64_t *random, const struct hotpatch_options *options)
{
	switch (group->kind) {
	case SET:
		return change_stack(group, 1 + (int)chance(random, BODIES), options);
	case LIBRARIES:
		return change_stack(group, 1 + (int)chance(random, 2), options);
	default:
		return change_alone(group, chance(random, BODIES + 5), options);
	}
}

/* From inside the group's own function: refused, unless only what lies beneath its definition is taken away. */
static void change_own(struct visit *v, int g)
{
	struct group *group = &groups[g];
	struct hotpatch_options options = options_by_chance(&v->random, true);
	long before;
	int code;

	if (!group->strict || group->kind != SET || pthread_mutex_trylock(&group->lock) != 0)
		return;
	before = stamp_now(group);
	code = change(group, &v->random, &options);
	if (code == 0 && stamp_now(group) != before)
		violation("'%s' was changed by a thread inside it", group->name);
	pthread_mutex_unlock(&group->lock);
}

static int count(const struct hotpatch_info *info, void *arg)
{
	*(unsigned *)arg += info->level;
	return 0;
}

static void *changer(void *arg)
{
	uint64_t random = random_of(1000 + (unsigned)(uintptr_t)arg);
	unsigned levels = 0;

	while (!atomic_load(&stop)) {
		struct group *group = &groups[chance(&random, GROUPS)];
		struct hotpatch_options options = options_by_chance(&random, group->strict);

		if (pthread_mutex_trylock(&group->lock) == 0) {
			change(group, &random, &options);
			pthread_mutex_unlock(&group->lock);
		}
		if (chance(&random, 16) == 0)
			hotpatch_for_each(count, &levels);
		if (chance(&random, 16) == 0)
			hotpatch_reclaim();
		if (chance(&random, 4) == 0)
			sleep_us(chance(&random, 3000));
	}
	return arg;
}

/* -- Callers ------------------------------------------------------------------------------------------------- */

static void visit_by_chance(uint64_t *random, int depth, bool in_handler)
{
	struct visit v = {.random = *random, .depth = depth, .in_handler = in_handler};

	enter(&v, choose(&v, -1));
	*random = v.random;
}

static _Thread_local int handlers;
static _Thread_local uint64_t handler_random;

static void on_signal(int signo)
{
	int saved = errno;

	(void)signo;
	atomic_fetch_add_explicit(&n_signals, 1, memory_order_relaxed);
	if (handlers++ < 2 && handler_random != 0)
		visit_by_chance(&handler_random, 2, true);
	handlers--;
	errno = saved;
}

struct worker {
	pthread_t thread;
	bool started;
	_Atomic int tid;
	atomic_bool over;
	uint64_t random;
};

static void *worker(void *arg)
{
	struct worker *self = arg;
	unsigned visits = 1 + chance(&self->random, 2000);
	bool alternate = chance(&self->random, 2);
	stack_t stack = {.ss_size = ALTERNATE, .ss_sp = alternate ? malloc(ALTERNATE) : NULL};
	sigset_t all, before;

	handler_random = random_of(chance(&self->random, 1 << 20));
	if (alternate)
		sigaltstack(&stack, NULL);
	atomic_store(&self->tid, thread_id());
	for (unsigned i = 0; i < visits && !atomic_load(&stop); i++) {
		bool deaf = chance(&self->random, 64) == 0;

		if (deaf)
			sigfillset(&all), pthread_sigmask(SIG_SETMASK, &all, &before);
		visit_by_chance(&self->random, (int)chance(&self->random, 7), false);
		if (deaf)
			pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (chance(&self->random, 8) == 0)
			sleep_us(chance(&self->random, 5000));
	}
	atomic_store(&self->tid, 0);
	handler_random = 0;
	if (alternate) {
		stack.ss_flags = SS_DISABLE;
		sigaltstack(&stack, NULL);
		free(stack.ss_sp);
	}
	atomic_store(&self->over, true);
	return arg;
}

/* Calls that do nothing: what they take is what a caller was held, and not scheduled. */
static void *gauge(void *arg)
{
	uint64_t random = random_of(2000);

	while (!atomic_load(&stop)) {
		struct visit v = {.random = random, .bare = true};
		struct timespec before, after;
		int64_t ns;

		clock_gettime(CLOCK_MONOTONIC, &before);
		enter(&v, (int)chance(&random, FUNCTIONS));
		clock_gettime(CLOCK_MONOTONIC, &after);
		ns = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
		if (ns > atomic_load(&longest_ns))
			atomic_store(&longest_ns, ns);
		if (chance(&random, 4) == 0)
			sleep_us(200);
	}
	return arg;
}

/* -- Children ------------------------------------------------------------------------------------------------ */

/* What was being changed by a thread that does not exist here may be either, and is only called. */
static void child(uint64_t random)
{
	struct hotpatch_options options = {.size = sizeof(options), .timeout_ms = 30000, .unprepared = true};
	struct visit v = {.random = random, .depth = 1};

	is_child = true;
	handler_random = 0;
	alarm(60);
	for (int i = 0; i < FUNCTIONS; i++)
		enter(&v, i), v.depth = 1;
	for (int g = 0; g < GROUPS; g++) {
		if (groups[g].kind == LIBRARIES || pthread_mutex_trylock(&groups[g].lock) != 0)
			continue;
		for (int i = 0; i < 3; i++) {
			int code = change(&groups[g], &random, &options);

			if (code != 0)
				violation("'%s' cannot be changed: %s", groups[g].name, hotpatch_error()->message);
			for (int f = groups[g].first; f < groups[g].first + groups[g].n; f++)
				enter(&v, f), v.depth = 1;
		}
	}
	_exit(0);
}

static void fork_one(uint64_t random)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		violation("fork: %s", strerror(errno));
	if (pid == 0)
		child(random);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			violation("waitpid: %s", strerror(errno));
	if (status != 0)
		violation("a child ended with status %x", status);
	atomic_fetch_add(&n_forks, 1);
}

/* -- The whole ----------------------------------------------------------------------------------------------- */

static struct worker workers[WORKERS];

static void tend_worker(struct worker *w, uint64_t *random)
{
	int tid = atomic_load(&w->tid);

	if (tid != 0 && chance(random, 8) == 0)
		syscall(SYS_tgkill, getpid(), tid, chance(random, 2) ? SIGUSR1 : SIGUSR2);
	if (w->started && !atomic_load(&w->over))
		return;
	if (w->started)
		thread_join(w->thread), atomic_fetch_sub(&n_threads, 1);
	w->started = false;
	if (atomic_load(&stop) || chance(random, 8))
		return;
	w->random = random_of((unsigned)atomic_fetch_add(&n_threads_started, 1));
	atomic_store(&w->over, false);
	w->thread = thread_start(worker, w);
	w->started = true;
	atomic_fetch_add(&n_threads, 1);
}

static void report(bool last)
{
	static unsigned long calls, changes;

	if (!last && (atomic_load(&n_calls) == calls || atomic_load(&n_changes) == changes))
		violation("nothing goes on any more: %lu calls, %lu changes", atomic_load(&n_calls), changes);
	calls = atomic_load(&n_calls);
	changes = atomic_load(&n_changes);
	printf("soak: %4llds: %lu changes, %lu calls, refused:", (long long)(now_ms() - start_ms) / 1000, changes,
	       calls);
	for (int i = 1; i < 64; i++)
		if (atomic_load(&n_refused[i]) > 0)
			printf(" %lu %s", atomic_load(&n_refused[i]), hotpatch_code_name(-i) + strlen("HOTPATCH_"));
	printf("; longest stall %.1f ms; %d threads of %lu, %lu children, %lu signals\n",
	       (double)atomic_load(&longest_ns) / 1e6, atomic_load(&n_threads) + CHANGERS + 2,
	       atomic_load(&n_threads_started), atomic_load(&n_forks), atomic_load(&n_signals));
	fflush(stdout);
}

static void prepare(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};

	ticks = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
	for (int g = 0; g < GROUPS; g++) {
		struct group *group = &groups[g];

		pthread_mutex_init(&group->lock, NULL);
		for (int f = group->first; f < group->first + group->n; f++)
			group_of[f] = g;
		for (int i = 1; group->kind == SET && i <= BODIES; i++) {
			group->patch[i] = hotpatch_new(group->name);
			for (int f = group->first; f < group->first + group->n; f++)
				CHECK_OK(hotpatch_replace_at(group->patch[i], hotpatch_marks_(), functions[f].name,
				                             functions[f].entry, functions[f].body[i], NULL));
		}
	}
}

/* Libraries may be kept by a word that was left behind somewhere. */
static int count_closure(const struct hotpatch_kept *kept, void *arg)
{
	*(int *)arg += strstr(kept->what, ".so") == NULL;
	return 0;
}

/* With nobody left in the way everything can be undone, and every context is destroyed. */
static void undo_all(void)
{
	struct hotpatch_options options = {.size = sizeof(options), .unprepared = true};
	struct visit v = {.bare = true};

	for (int g = 0; g < GROUPS; g++) {
		while (groups[g].n_stack > 0)
			if (change_stack(&groups[g], groups[g].stack[0], &options) != 0)
				violation("'%s' cannot be reverted: %s", groups[g].name, hotpatch_error()->message);
		if (groups[g].kind == ALONE && change_alone(&groups[g], 0, &options) != 0)
			violation("'%s' cannot be restored: %s", groups[g].name, hotpatch_error()->message);
	}
	for (int f = 0; f < FUNCTIONS; f++)
		if (enter(&v, f) != 0)
			violation("%s is not itself again", functions[f].name);
	int closures = 0;
	hotpatch_reclaim_each(count_closure, &closures);
	if (closures)
		violation("%d closures are still in use", closures);
	for (int i = 0; i < CONTEXTS; i++)
		if (atomic_load(&contexts[i].state) == ALIVE)
			violation("the context of closure %ld was never destroyed", contexts[i].stamp);
	for (int g = 0; g < GROUPS; g++)
		for (int i = 1; i <= BODIES && groups[g].kind == SET; i++)
			CHECK_OK(hotpatch_free(groups[g].patch[i]));
}

static bool tick(int64_t end_ms, int64_t *report_ms, uint64_t *random)
{
	static const uint64_t more = WORKERS + CHANGERS;
	bool going = atomic_load(&n_threads) > 0 || !atomic_load(&stop);

	alarm(120); /* the main thread itself hangs */
	if (write(ticks, &more, sizeof(more)) != sizeof(more))
		violation("write: %s", strerror(errno));
	for (int i = 0; i < WORKERS; i++)
		tend_worker(&workers[i], random);
	if (!atomic_load(&stop) && chance(random, 64) == 0)
		fork_one(*random);
	if (now_ms() >= *report_ms && !atomic_load(&stop))
		report(false), *report_ms += 10000;
	if (now_ms() >= end_ms)
		atomic_store(&stop, true);
	sleep_us(1000);
	return going;
}

int main(int argc, char **argv)
{
	int64_t seconds = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 60, report_ms;
	pthread_t others[CHANGERS + 1];
	uint64_t random;

	start_ms = now_ms();
	seed = argc > 2 && argv[2][0] != '\0' ? strtoull(argv[2], NULL, 0)
	                                      : (uint64_t)time(NULL) * 1000 + getpid() % 1000;
	printf("soak: seed %llu, %lld seconds\n", (unsigned long long)seed, (long long)seconds);
	fflush(stdout);
	random = random_of(3000);
	signal(SIGALRM, deadline_passed);
	prepare();
	for (uintptr_t i = 0; i < CHANGERS; i++)
		others[i] = thread_start(changer, (void *)i);
	others[CHANGERS] = thread_start(gauge, NULL);
	report_ms = start_ms + 10000;
	while (tick(start_ms + seconds * 1000, &report_ms, &random))
		;
	for (int i = 0; i <= CHANGERS; i++)
		thread_join(others[i]);
	report(true);
	undo_all();
	puts("soak: no violation");
	return 0;
}
