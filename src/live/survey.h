/* survey - one question to all threads while nobody is held: is anybody in this code?
 *
 * For code that nobody can enter meanwhile: prefixes whose jump was taken back, the bytes a jump is about to be written
 * over, definitions that have left their site.
 */
#ifndef HP_LIVE_SURVEY_H
#define HP_LIVE_SURVEY_H

#include "live/ask.h"
#include "live/blockers.h"

struct hp_survey {
	struct hp_retired retired; /* handlers may still read it when it has ended */
	struct hp_codes codes;
	struct hp_threads *threads; /* whose verdicts say who was in the way */
};

/* Takes the codes, which are empty afterwards, whatever is returned. */
int hp_survey_open(struct hp_codes *codes, struct hp_survey **ret_survey, struct hp_err *err) HP_MUST_CHECK;

/* True is a proof that no other thread is in the codes: every one was asked since the call began. The calling thread
 * takes no signals meanwhile. */
bool hp_survey_ask(struct hp_survey *survey, const struct hp_patience *patience);

/* Whether a thread was taken for out in hotpatch_poll: then nothing may be freed. */
bool hp_survey_any_polls(const struct hp_survey *survey);

void hp_survey_close(struct hp_survey *survey);

/* All signals of the calling thread but SIGTRAP, blocked and given back. */
void hp_signals_block(uint64_t *ret_mask);
void hp_signals_restore(const uint64_t *mask);

#endif
