#include "live/crash.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "arch/arch.h"
#include "base/mapped.h"
#include "base/readers.h"
#include "code/text.h"
#include "live/ask.h"
#include "live/session.h"
#include "live/survey.h"
#include "live/threads.h"

/* FREE is a place that nobody has; FILLING is being written; SEEN was looked at; CHOSEN ends the process. */
enum state { FREE, FILLING, KEPT, SEEN, CHOSEN };

enum {
	LOOKED_AT_WITHIN = 60, /* s */
	STACK_NEEDED = 6144,   /* bytes, of an alternate signal stack: walking takes most of them */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { N_SIGNALS = sizeof(signals) / sizeof(*signals) };

/* What of it is of interest; read by handlers. */
struct interest {
	struct hp_retired retired;
	struct hp_codes codes;
};

static struct hp_crash crashes[HP_CRASHES_MAX];
static _Atomic(struct interest *) interest;
static void (*_Atomic tell)(void); /* NULL: nobody wants to know */
static _Atomic int catcher;        /* the thread that does */
static _Atomic int process;        /* whose memory this is: a child of vfork has it, too */
static bool caught[N_SIGNALS];
static struct sigaction before[N_SIGNALS];

static int process_id(void)
{
	return (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

/* -- What is of interest ----------------------------------------------------------------------------------------- */

static void interest_free(void *memory)
{
	struct interest *old = memory;
	hp_codes_free(&old->codes);
	free(old);
}

int hp_crash_look_for(struct hp_codes *codes, struct hp_err *err)
{
	struct interest *next = calloc(1, sizeof(*next));
	if (!next) {
		hp_codes_free(codes);
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for what crashes are looked for in");
	}
	*next = (struct interest){.codes = *codes};
	*codes = (struct hp_codes){0};
	struct interest *old = atomic_exchange(&interest, next);
	hp_readers_retire(old ? &old->retired : NULL, interest_free);
	return 0;
}

/* -- In the thread that crashes ---------------------------------------------------------------------------------- */

/* From here on nothing allocates: it runs in a handler. */
#pragma GCC poison malloc calloc realloc free printf fprintf snprintf pthread_mutex_lock

/* Whether the thread did it itself: by an instruction, or with abort and raise. */
static bool is_its_own(const siginfo_t *info)
{
	return info->si_code > 0 || info->si_pid == process_id();
}

static bool read_word(uintptr_t address, uintptr_t *ret_word, void *unused)
{
	(void)unused;
	return hp_memory_read(address, ret_word, sizeof(*ret_word));
}

/* A call through a pointer that leads nowhere has pushed its return address, and nothing else has happened. */
static void step_out_of_nowhere(struct hp_regs *regs, struct hp_walk *walk)
{
	uintptr_t ip = regs->value[HP_REG_IP];
	const struct hp_mapped *image = hp_mapped_find(ip);
	if ((!image || !hp_mapped_is_code(image, ip)) && hp_arch_regs_leave_entry(regs, read_word, NULL))
		walk->frames[walk->n_frames++] = ip;
}

static void put_before(struct hp_walk *walk, const struct hp_walk *first)
{
	size_t room = HP_FRAMES_MAX - first->n_frames, n = walk->n_frames < room ? walk->n_frames : room;
	memmove(walk->frames + first->n_frames, walk->frames, n * sizeof(*walk->frames));
	memcpy(walk->frames, first->frames, first->n_frames * sizeof(*walk->frames));
	walk->n_frames = n + first->n_frames;
}

/* Whether a frame of it is in code of interest. A stack that cannot be walked, because it was written over, is when a
 * word on it says so. */
static bool is_of_interest(const ucontext_t *context, int tid, struct hp_walk *walk)
{
	struct hp_walk nowhere = {.n_frames = 0};
	struct hp_regs regs;
	bool is = false;
	hp_readers_enter();
	const struct interest *now = atomic_load(&interest);
	if (now) {
		uintptr_t top = hp_stack_top(tid, process_id());
		hp_arch_regs_from_signal(context, &regs);
		step_out_of_nowhere(&regs, &nowhere);
		enum hp_answer answer = hp_stack_walk(&now->codes, &regs, top, walk);
		put_before(walk, &nowhere);
		is = answer == HP_IN || (answer == HP_UNKNOWN && walk->owner != HP_OWNER_NONE);
	}
	hp_readers_leave();
	return is;
}

static struct hp_crash *take_place(void)
{
	for (size_t i = 0; i < HP_CRASHES_MAX; i++) {
		uint32_t free_one = FREE;
		if (atomic_compare_exchange_strong(&crashes[i].state, &free_one, FILLING))
			return &crashes[i];
	}
	return NULL;
}

/* On a stack that is too small, what lies beneath it would be written over. */
static bool has_room(const ucontext_t *context)
{
	uintptr_t low = (uintptr_t)context->uc_stack.ss_sp, here = (uintptr_t)__builtin_frame_address(0);
	if (context->uc_stack.ss_flags & SS_DISABLE || here - low >= context->uc_stack.ss_size)
		return true;
	return here - low >= STACK_NEEDED;
}

/* NULL: it is not to be. */
static struct hp_crash *keep(int signo, const siginfo_t *info, const ucontext_t *context)
{
	int tid = hp_thread_self();
	struct hp_walk walk;
	if (!atomic_load(&tell) || !is_its_own(info) || !has_room(context) || process_id() != atomic_load(&process) ||
	    tid == atomic_load(&catcher) || hp_session_is_of(tid) || !is_of_interest(context, tid, &walk))
		return NULL;
	struct hp_crash *crash = take_place();
	if (!crash)
		return NULL;
	crash->tid = tid;
	crash->signo = signo;
	crash->code = info->si_code;
	crash->address = info->si_code > 0 ? (uintptr_t)info->si_addr : 0;
	crash->walk = walk;
	uint32_t kept = KEPT;
	atomic_store(&crash->state, KEPT);
	if (!atomic_load(&tell)) /* just now: nobody will look */
		atomic_compare_exchange_strong(&crash->state, &kept, CHOSEN);
	return crash;
}

static uint64_t bit_of(int signo)
{
	return UINT64_C(1) << (signo - 1);
}

/* All but SIGTRAP are blocked here. What the thread had blocked stays so: somebody may wait for it (sigwait, signalfd).
 * Our own question is not answered: an alternate stack may have no room for that. */
static void allow_default_actions(const ucontext_t *context)
{
	uint64_t blocked;
	struct sigaction action;
	memcpy(&blocked, &context->uc_sigmask, sizeof(blocked)); /* the kernel's set is 8 bytes */
	blocked |= bit_of(hp_ask_signal());
	for (int signo = 1; signo <= 64; signo++)
		if (sigaction(signo, NULL, &action) == 0 &&
		    ((action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_DFL))
			blocked |= bit_of(signo);
	blocked &= ~bit_of(SIGTRAP);
	hp_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&blocked, 0, sizeof(blocked), 0, 0);
}

/* Who wants to know may be unable to look: it waits for a lock that this thread has. */
static void wait_for_choice(struct hp_crash *crash, const ucontext_t *context)
{
	struct timespec second = {1, 0};
	uint64_t deadline = hp_now() + (uint64_t)LOOKED_AT_WITHIN * 1000000000;
	uint64_t mask;
	uint32_t state;
	allow_default_actions(context);
	while ((state = atomic_load(&crash->state)) == SEEN || (state == KEPT && hp_now() < deadline))
		hp_syscall(SYS_futex, (long)&crash->state, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, state, (long)&second, 0, 0);
	hp_signals_block(&mask);
}

/* The same signal waits for the moment this handler returns, when the registers are those of the crash. An instruction
 * that faults need not fault again. A thread may send itself any siginfo (kernel/signal.c, do_rt_tgsigqueueinfo). */
static void end_by(int signo, siginfo_t *info, ucontext_t *context)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	int tid = hp_thread_self();
	sigaction(signo, &action, NULL);
	if (hp_syscall(SYS_rt_tgsigqueueinfo, process_id(), tid, signo, (long)info, 0, 0) != 0)
		hp_syscall(SYS_tgkill, process_id(), tid, signo, 0, 0, 0);
	sigdelset(&context->uc_sigmask, signo);
}

static void handler(int signo, siginfo_t *info, void *context)
{
	struct hp_crash *crash = keep(signo, info, context);
	void (*told)(void) = atomic_load(&tell);
	if (crash && told)
		told();
	if (crash) {
		hp_readers_give_up(); /* a handler of the program's that crashed may have interrupted our own code */
		wait_for_choice(crash, context);
	}
	end_by(signo, info, context);
}

/* -- The side of who wants to know ------------------------------------------------------------------------------- */

static bool is_ours(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handler;
}

static bool is_default(const struct sigaction *action)
{
	return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL;
}

uint64_t hp_crash_catch(void (*told)(void))
{
	struct sigaction ours = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK}, now;
	uint64_t bits = 0;
	sigfillset(&ours.sa_mask);
	sigdelset(&ours.sa_mask, SIGTRAP); /* what we call may be redirected (breakpoint.h) */
	atomic_store(&catcher, hp_thread_self());
	atomic_store(&process, process_id());
	atomic_store(&tell, told);
	for (size_t i = 0; i < N_SIGNALS; i++) {
		if (sigaction(signals[i], NULL, &now) != 0 || !is_default(&now))
			continue;
		caught[i] = sigaction(signals[i], &ours, &before[i]) == 0;
		bits |= caught[i] ? UINT64_C(1) << signals[i] : 0;
	}
	return bits;
}

static void stop_catching(void)
{
	struct sigaction now;
	atomic_store(&tell, NULL);
	for (size_t i = 0; i < N_SIGNALS; i++)
		if (caught[i] && sigaction(signals[i], NULL, &now) == 0 && is_ours(&now))
			sigaction(signals[i], &before[i], NULL);
	memset(caught, 0, sizeof(caught));
}

void hp_crash_release(void)
{
	stop_catching();
	struct interest *old = atomic_exchange(&interest, NULL);
	hp_readers_retire(old ? &old->retired : NULL, interest_free);
}

const struct hp_crash *hp_crash_at(unsigned index)
{
	return index < HP_CRASHES_MAX && atomic_load(&crashes[index].state) >= KEPT ? &crashes[index] : NULL;
}

bool hp_crash_is_kept(int tid)
{
	for (unsigned i = 0; i < HP_CRASHES_MAX; i++)
		if (atomic_load(&crashes[i].state) >= KEPT && crashes[i].tid == tid)
			return true;
	return false;
}

void hp_crash_note_seen(unsigned index)
{
	uint32_t kept = KEPT;
	atomic_compare_exchange_strong(&crashes[index].state, &kept, SEEN);
}

void hp_crash_let_go(void)
{
	for (size_t i = 0; i < HP_CRASHES_MAX; i++) {
		uint32_t state = atomic_load(&crashes[i].state);
		if ((state != KEPT && state != SEEN) ||
		    !atomic_compare_exchange_strong(&crashes[i].state, &state, CHOSEN))
			continue;
		hp_syscall(SYS_futex, (long)&crashes[i].state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0, 0, 0);
		return;
	}
}

void hp_crash_reset(void)
{
	stop_catching();
	for (size_t i = 0; i < HP_CRASHES_MAX; i++)
		atomic_store(&crashes[i].state, FREE);
}
