#include "live/barrier.h"

#include <stdio.h>
#include <string.h>

#include "arch/arch.h"
#include "base/readers.h"
#include "code/text.h"
#include "live/ask.h"
#include "live/survey.h"

enum { MS = 1000000, PATIENCE = 2500 /* ms */, NAMED_MAX = 3 };

static void append_thread(char *list, size_t size, const struct hp_thread *thread, bool first)
{
	char path[64], name[32] = "";
	size_t used = strlen(list);
	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", thread->tid);
	FILE *file = fopen(path, "re");
	if (file) {
		if (fgets(name, sizeof(name), file))
			name[strcspn(name, "\n")] = 0;
		fclose(file);
	}
	bool keeps = thread->verdict == HP_VERDICT_UNKNOWN;
	snprintf(list + used, size - used, "%sthread %d '%s' %s", first ? "" : ", ", thread->tid, name,
	         keeps            ? "blocks it or waits for it"
	         : thread->unsent ? "cannot be sent it"
	                          : "has not answered");
}

static int refuse(const struct hp_threads *threads, struct hp_err *err)
{
	char list[400] = "";
	size_t n = 0;
	for (size_t i = 0; i < threads->n; i++)
		if (threads->v[i].verdict != HP_VERDICT_OUT && n++ < NAMED_MAX)
			append_thread(list, sizeof(list), &threads->v[i], n == 1);
	return hp_err_set(
		err, HOTPATCH_ESYSTEM,
		"membarrier, which makes other processors see new code, is refused (a kernel before 4.16, or a "
		"seccomp filter), and so is signal %d in its place: %s%s",
		hp_ask_signal(), list, n > NAMED_MAX ? ", and others" : "");
}

static void close_threads(struct hp_threads *threads)
{
	hp_threads_close_files(threads);
	hp_readers_retire(&threads->retired, hp_threads_close);
}

static bool list_threads(struct hp_threads **ret_threads, struct hp_err *err, int *ret_error)
{
	*ret_error = hp_threads_open(ret_threads, err);
	if (*ret_error)
		return false;
	(*ret_threads)->leaves_crashed = true; /* they take no signal, and execute no code that is written now */
	if (hp_threads_list(*ret_threads))
		return true;
	close_threads(*ret_threads);
	*ret_error = hp_err_set(err, HOTPATCH_ESYSTEM,
	                        "membarrier is refused, and threads come and go too fast for a signal in its place");
	return false;
}

/* Whoever has come since the list was made was begun by one that may not have answered yet. */
static int nobody_is_new(const struct hp_threads *threads, bool *ret_nobody, struct hp_err *err)
{
	struct hp_threads *now;
	int error;
	if (!list_threads(&now, err, &error))
		return error;
	*ret_nobody = hp_ask_covers(threads, now);
	close_threads(now);
	return 0;
}

static int ask_everyone(uint64_t deadline, bool *ret_done, struct hp_err *err)
{
	struct hp_threads *threads;
	int error;
	uint64_t mask;
	if (!list_threads(&threads, err, &error))
		return error;
	hp_signals_block(&mask);
	hp_ask_begin(threads, NULL);
	bool all = hp_ask_all(threads, NULL,
	                      &(struct hp_patience){.deadline = deadline, .one_look = true, .everyone = true});
	hp_ask_end(threads);
	hp_signals_restore(&mask);
	error = all ? nobody_is_new(threads, ret_done, err) : refuse(threads, err);
	close_threads(threads);
	return error;
}

static int barrier_by_signal(struct hp_err *err)
{
	uint64_t deadline = hp_now() + PATIENCE * (uint64_t)MS;
	bool done = false;
	int error = hp_ask_prepare(err);
	while (!error && !done) {
		error = ask_everyone(deadline, &done, err);
		if (!error && !done && hp_now() >= deadline)
			error = hp_err_set(
				err, HOTPATCH_ESYSTEM,
				"membarrier is refused, and threads are begun faster than they can be sent a "
				"signal in its place");
	}
	hp_arch_serialise();
	return error;
}

int hp_barrier_code(struct hp_err *err)
{
	return hp_text_barrier() ? 0 : barrier_by_signal(err);
}
