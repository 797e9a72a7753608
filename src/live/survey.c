#include "live/survey.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "live/ask.h"
#include "live/suspended.h"

enum { STALL = 100000000 }; /* ns */

/* The raw call: libc would leave its own two unblocked. What we call meanwhile may have a breakpoint at its entry. */
void hp_signals_block(uint64_t *ret_mask)
{
	uint64_t all = ~(UINT64_C(1) << (SIGTRAP - 1));
	hp_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&all, (long)ret_mask, sizeof(all), 0, 0);
}

void hp_signals_restore(const uint64_t *mask)
{
	hp_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)mask, 0, sizeof(*mask), 0, 0);
}

static void survey_free(void *memory)
{
	struct hp_survey *survey = memory;
	hp_codes_free(&survey->codes);
	free(survey);
}

int hp_survey_open(struct hp_codes *codes, struct hp_survey **ret_survey, struct hp_err *err)
{
	struct hp_survey *survey = calloc(1, sizeof(*survey));
	if (!survey) {
		hp_codes_free(codes);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to ask all threads");
	}
	survey->codes = *codes;
	*codes = (struct hp_codes){0};
	hp_codes_sort(&survey->codes);
	int error = hp_ask_prepare(err);
	if (!error)
		error = hp_threads_open(&survey->threads, err);
	if (error)
		hp_survey_close(survey);
	else
		*ret_survey = survey;
	return error;
}

bool hp_survey_ask(struct hp_survey *survey, const struct hp_patience *patience)
{
	struct hp_suspended suspended = {.frame = (uintptr_t)__builtin_frame_address(0)};
	struct hp_err ignored;
	uint64_t mask;
	bool clear = false;
	if (hp_suspended_open(&suspended, &ignored) != 0)
		return false;
	hp_signals_block(&mask);
	if (hp_threads_list(survey->threads)) {
		hp_ask_begin(survey->threads, &survey->codes);
		clear = hp_ask_all(survey->threads, &survey->codes, patience) &&
		        (!hp_suspended_matter(&suspended) ||
		         hp_suspended_look(&suspended, survey->threads, &survey->codes, STALL, patience->deadline) ==
		                 HP_LOOK_CLEAR);
		hp_ask_end(survey->threads);
	}
	hp_signals_restore(&mask);
	hp_suspended_close(&suspended);
	return clear;
}

bool hp_survey_any_polls(const struct hp_survey *survey)
{
	return hp_threads_any_polls(survey->threads);
}

void hp_survey_close(struct hp_survey *survey)
{
	if (survey->threads) {
		hp_threads_close_files(survey->threads);
		hp_readers_retire(&survey->threads->retired, hp_threads_close);
	}
	hp_readers_retire(&survey->retired, survey_free);
}
