#include "live/blockers.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

static const char *owner_name(const struct hp_walk *walk, const struct hp_wanted *wanted)
{
	return walk->n_frames && walk->owner < wanted->n ? wanted->sites[walk->owner]->name : "";
}

void hp_blockers_add(struct hp_outcome *outcome, int tid, const char *reason, const struct hp_walk *walk,
                     const struct hp_wanted *wanted)
{
	if (outcome->n_obstacles == HP_OBSTACLES_MAX)
		return;
	uintptr_t *frames = outcome->frames[outcome->n_obstacles];
	memcpy(frames, walk->frames, walk->n_frames * sizeof(*frames));
	outcome->obstacles[outcome->n_obstacles++] = (struct hp_obstacle){
		.tid = tid,
		.is_self = tid == 0 || tid == hp_thread_self(),
		.reason = reason,
		.function = owner_name(walk, wanted),
		.frames = frames,
		.n_frames = walk->n_frames,
	};
}

/* Of a thread that runs. Reasons live for ever. */
static const char *why_silent(const struct hp_thread *thread)
{
	if (thread->unsent == EAGAIN)
		return "runs, cannot be asked (too many signals are queued: RLIMIT_SIGPENDING) and may be in";
	if (thread->unsent)
		return "runs, cannot be asked (the system refuses queued signals) and may be in";
	return "runs, has not answered and may be in";
}

void hp_blockers_note(struct hp_outcome *outcome, const struct hp_threads *threads, const struct hp_wanted *wanted)
{
	for (size_t i = 0; i < threads->n; i++) {
		const struct hp_thread *thread = &threads->v[i];
		const char *reason = *thread->reason ? thread->reason : why_silent(thread);
		if (thread->verdict != HP_VERDICT_OUT)
			hp_blockers_add(outcome, thread->tid, reason, &thread->walk, wanted);
	}
}

bool hp_blockers_self(struct hp_outcome *outcome, const struct hp_codes *codes, uintptr_t frame,
                      const struct hp_wanted *wanted)
{
	struct hp_saved_regs saved;
	struct hp_regs regs;
	struct hp_walk walk = {.owner = HP_OWNER_NONE};
	int tid = hp_thread_self();
	uintptr_t top = hp_stack_top(tid, (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
	if (hp_stack_scan_own(codes, frame, top) == HP_OUT)
		return false;
	hp_arch_regs_save(&saved);
	hp_arch_regs_from_saved(&saved, &regs);
	enum hp_answer answer = hp_stack_walk(codes, &regs, top, &walk);
	if (answer == HP_OUT)
		return false;
	hp_blockers_add(outcome, tid, answer == HP_IN ? "is in" : "may be in", &walk, wanted);
	return true;
}
