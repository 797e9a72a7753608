/* proof - whether anything refers to libraries that nobody holds, or to the memory of patches that were reverted.
 *
 *     candidates --search--> no word points into them --hold all threads, search again--> proven
 *                     |                                          |
 *                     +------- kept, and where the word lies ----+
 *
 * Pointers into a library can only be copied from where they are: so if at one instant there is none, in memory, in a
 * register or in the kernel, there will be none. That instant is made: every thread comes to the signal's handler,
 * where its registers lie on its stack, and stays there while memory is searched a second time, at most stall_ms.
 * Threads that sleep are woken for it, since nothing else tells their registers; their system calls are executed again.
 * The first search holds nobody, and is the last if it finds something.
 *
 * Not counted are words in the candidates themselves (but if one is kept, what it points to is kept as well), in
 * descriptions by the dynamic linker that go with the library (linker.h), in our own, and below the stack pointers of
 * the caller and of held threads. Everything that cannot be looked at counts as a reference.
 */
#ifndef HP_LIVE_PROOF_H
#define HP_LIVE_PROOF_H

#include "base/loaded.h"
#include "base/memory.h"
#include "live/session.h"

enum { HP_CANDIDATES_MAX = 32, HP_TARGETS_MAX = HP_CANDIDATES_MAX * 8, HP_SKIP_MAX = HP_CANDIDATES_MAX * 6 + 8 };

/* Something that was kept, copied so that the callback may do anything. */
struct hp_kept {
	char what[256], reason[256], place[96];
	uintptr_t address, target;
	int thread;
};

struct hp_candidate {
	struct hp_loaded *loaded; /* NULL: memory of a patch */
	bool kept;
	uint32_t from; /* other candidates whose memory refers to it, a bit each */
	struct hp_kept why;
};

struct hp_proof {
	struct hp_candidate v[HP_CANDIDATES_MAX];
	size_t n;
	struct hp_span targets[HP_TARGETS_MAX];
	size_t owner[HP_TARGETS_MAX], n_targets;
	struct hp_span skip[HP_SKIP_MAX];
	size_t n_skip;
	struct hp_memory *memory;
	struct hp_threads *threads; /* while they are held, and to tell whose a stack is */
	bool held;                  /* all threads are */
	uintptr_t frame;            /* where the caller's words begin on its stack */
};

/* Another candidate, kept if the memory that it is has too many pieces; and memory that is not counted. */
struct hp_candidate *hp_proof_add(struct hp_proof *proof, struct hp_loaded *loaded, const char *what);
void hp_proof_aim(struct hp_proof *proof, struct hp_candidate *candidate, struct hp_span target);
void hp_proof_skip(struct hp_proof *proof, const void *low, size_t size);

void hp_proof_keep(struct hp_candidate *candidate, const char *reason);
void hp_proof_keep_all(struct hp_proof *proof, const char *reason);
bool hp_proof_any_left(const struct hp_proof *proof);
void hp_proof_spread(struct hp_proof *proof); /* to what those that are kept refer to */

/* Under the registry: notes what of our own is not counted. frame: where the caller's words begin on its stack. */
void hp_proof_skip_ours(struct hp_proof *proof, const struct hp_session *session);

/* Keeps all that something refers to; saved: what the caller had in registers. */
int hp_proof_run(struct hp_proof *proof, const struct hp_saved_regs *saved, const struct hp_request *request,
                 struct hp_err *err) HP_MUST_CHECK;

#endif
