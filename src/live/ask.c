#include "live/ask.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "base/readers.h"
#include "base/report.h"
#include "live/gate.h"
#include "live/masks.h"

/* Everything below runs in a signal handler or while callers are held. */
#pragma GCC poison malloc calloc realloc free printf fprintf snprintf pthread_cond_wait

/* -- State shared with handlers ---------------------------------------------------------------------------------- */

/* The question that is open: a handler compares its number with the one it was sent, before and after it reads the
 * rest, which is written while the number is 0. Without the second look a late handler would answer in the next
 * question's list, for another thread. */
static struct {
	struct hp_threads *_Atomic threads;
	const struct hp_codes *_Atomic codes;
	_Atomic uint32_t number; /* 0: none */
	_Atomic bool still;      /* who is out stays in the handler until it is released */
} question;

static uint32_t last_number;
static _Atomic uint32_t answers; /* a futex */
static _Atomic bool asker_sleeps;
static _Atomic int stragglers; /* questions cancelled whose signal may still arrive; may be -1 in between */
static _Atomic int chosen;     /* the signal; 0: the default */
static bool installed;
static struct sigaction program_action; /* what the program had */

int hp_ask_signal(void)
{
	int signo = atomic_load(&chosen);
	return signo ? signo : SIGRTMAX - 2;
}

static void futex_wake(_Atomic uint32_t *word)
{
	hp_syscall(SYS_futex, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0, 0, 0);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec timeout = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
	hp_syscall(SYS_futex, (long)word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, (long)&timeout, 0, 0);
}

static bool edge(struct hp_thread *thread, uint32_t from, uint32_t to)
{
	return atomic_compare_exchange_strong(&thread->ask, &from, to);
}

/* Partner: wait_asleep sets asker_sleeps before the kernel compares `answers`; here they are touched in reverse, so
 * that one of the two sees the other. */
void hp_ask_note_answer(void)
{
	atomic_fetch_add(&answers, 1);
	if (atomic_load(&asker_sleeps))
		futex_wake(&answers);
}

static void wait_asleep(uint32_t seen, uint64_t ns)
{
	atomic_store(&asker_sleeps, true);
	futex_wait(&answers, seen, ns);
	atomic_store(&asker_sleeps, false);
}

static void wait_awake(uint32_t seen, uint64_t until)
{
	while (atomic_load(&answers) == seen && hp_now() < until)
		for (int i = 0; i < 16; i++)
			hp_arch_pause();
}

/* -- In the thread that is asked --------------------------------------------------------------------------------- */

/* What a scan from the registers in `told` says; they become those of the caller if the signal met it waiting at the
 * gate. */
static enum hp_answer look_at_self(const struct hp_thread *thread, const struct hp_codes *codes, struct hp_told *told)
{
	static const struct hp_stack_words nothing;
	if (!told->top)
		told->top = hp_stack_top(thread->tid, (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
	uintptr_t ip = told->regs.value[HP_REG_IP], sp = told->regs.value[HP_REG_SP];
	if (ip != (uintptr_t)hp_gate_waiting && ip != (uintptr_t)hp_gate_calling)
		return hp_stack_scan_interrupted(codes, &told->regs, told->top);
	const struct hp_gate_frame *frame = *(const struct hp_gate_frame *const *)sp;
	if (!frame) { /* hotpatch_poll */
		told->polls = true;
		return HP_OUT;
	}
	hp_arch_regs_from_gate(frame, (uintptr_t)frame, &told->regs);
	return hp_stack_scan(codes, 0, (uintptr_t)&frame->return_address, told->top, &nothing);
}

/* Whether the registers in it are those of now: the kernel puts it on the stack that the handler runs on, right above
 * the handler's frame. What stands in for sigaction may call handlers later, with a copy (ThreadSanitizer does). */
static bool is_of_now(const ucontext_t *context)
{
	return (uintptr_t)context - (uintptr_t)__builtin_frame_address(0) < 65536;
}

static void give_answer(struct hp_thread *thread, enum hp_ask_state state)
{
	if (!edge(thread, HP_ASK_SENT, state)) {
		atomic_fetch_sub(&stragglers, 1);
		return;
	}
	hp_ask_note_answer();
	while (state != HP_ASK_OUT && atomic_load(&thread->ask) == state)
		futex_wait(&thread->ask, state, 1000000000);
}

/* Without codes the question is only whether the thread has come here since it was asked. */
static void answer(struct hp_thread *thread, const struct hp_codes *codes, const ucontext_t *context)
{
	struct hp_told *told = &thread->told;
	struct hp_saved_regs own;
	if (atomic_load(&thread->ask) != HP_ASK_SENT) { /* cancelled; partner: send_question. Only then told is ours */
		atomic_fetch_sub(&stragglers, 1);
		return;
	}
	*told = (struct hp_told){.top = thread->top, .live = (uintptr_t)context};
	hp_arch_regs_from_signal(context, &told->regs);
	if (!is_of_now(context)) { /* our own frames count, too; they lie below all that matters */
		told->live = (uintptr_t)__builtin_frame_address(0);
		hp_arch_regs_save(&own);
		hp_arch_regs_from_saved(&own, &told->regs);
	}
	if (!codes)
		hp_arch_serialise();
	if (!codes || look_at_self(thread, codes, told) == HP_OUT)
		give_answer(thread, atomic_load(&question.still) ? HP_ASK_STILL : HP_ASK_OUT);
	else
		give_answer(thread, HP_ASK_HELD);
}

/* A system call that we interrupted is executed again, unless another signal is about to interrupt it anyway: then its
 * EINTR may be what the program waits for. All signals are blocked here, so pending ones show. */
static void restart_syscall(ucontext_t *context)
{
	uint64_t pending = 0, blocked;
	hp_syscall(SYS_rt_sigpending, (long)&pending, sizeof(pending), 0, 0, 0, 0);
	memcpy(&blocked, &context->uc_sigmask, sizeof(blocked)); /* the kernel's set is 8 bytes */
	if ((pending & ~blocked) == 0)
		hp_arch_restart_syscall(context);
}

static void handler(int signo, siginfo_t *info, void *context)
{
	(void)signo;
	if (info->si_code != SI_QUEUE || info->si_pid != (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0))
		return;
	uint64_t value = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
	uint32_t number = (uint32_t)(value >> 32), index = (uint32_t)value;
	hp_readers_enter();
	bool open = atomic_load(&question.number) == number;
	struct hp_threads *threads = atomic_load(&question.threads);
	const struct hp_codes *codes = atomic_load(&question.codes);
	if (open && atomic_load(&question.number) == number)
		answer(&threads->v[index], codes, context);
	else
		atomic_fetch_sub(&stragglers, 1);
	hp_readers_leave();
	restart_syscall(context);
}

static struct hp_thread *find_self(struct hp_threads *threads)
{
	int self = hp_thread_self();
	for (size_t i = 0; i < threads->n; i++)
		if (threads->v[i].tid == self)
			return &threads->v[i];
	return NULL;
}

static void volunteer(struct hp_thread *thread, const struct hp_codes *codes, uint32_t number,
                      const ucontext_t *context)
{
	struct hp_told told; /* not thread->told: the asker may be reading an earlier answer */
	if (!thread || atomic_exchange(&thread->volunteered, number) == number)
		return;
	told.top = thread->top;
	told.polls = false;
	hp_arch_regs_from_signal(context, &told.regs);
	if (look_at_self(thread, codes, &told) == HP_OUT && !told.polls && edge(thread, HP_ASK_IDLE, HP_ASK_OUT))
		hp_ask_note_answer();
}

void hp_ask_volunteer(const ucontext_t *context)
{
	hp_readers_enter();
	uint32_t number = atomic_load(&question.number);
	struct hp_threads *threads = atomic_load(&question.threads);
	const struct hp_codes *codes = atomic_load(&question.codes);
	if (number && codes && !atomic_load(&question.still) && atomic_load(&question.number) == number)
		volunteer(find_self(threads), codes, number, context);
	hp_readers_leave();
}

/* -- The asker --------------------------------------------------------------------------------------------------- */

/* struct sigaction as the kernel has it, x86-64 and aarch64. */
struct kernel_action {
	uintptr_t handler;
	unsigned long flags;
	uintptr_t restorer;
	uint64_t mask;
};

/* libc adds the restorer when it installs a handler: install, look, take back. */
static void learn_restorer(void)
{
	static bool learnt;
	struct kernel_action action = {0};
	struct sigaction ours = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART}, before;
	if (learnt || (!installed && sigaction(hp_ask_signal(), &ours, &before) != 0))
		return;
	hp_syscall(SYS_rt_sigaction, hp_ask_signal(), 0, (long)&action, sizeof(action.mask), 0, 0);
	if (!installed)
		sigaction(hp_ask_signal(), &before, NULL);
	hp_stack_set_restorer(action.restorer);
	learnt = true;
}

static bool is_ours(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handler;
}

/* What is installed is asked of the kernel: a child may have been forked between a step and the note of it. */
int hp_ask_prepare(struct hp_err *err)
{
	struct sigaction now;
	bool known = sigaction(hp_ask_signal(), NULL, &now) == 0;
	installed = known && is_ours(&now);
	if (!known || (!installed && ((now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL)))
		return hp_err_set(err, HOTPATCH_ESIGNAL,
		                  "signal %d, which hotpatch asks running threads with, is used by the program; choose "
		                  "another real-time signal with hotpatch_set_signal",
		                  hp_ask_signal());
	learn_restorer();
	return 0;
}

static void install(void)
{
	struct sigaction ours = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
	if (installed)
		return;
	sigfillset(&ours.sa_mask);
	sigdelset(&ours.sa_mask, SIGTRAP); /* what we call may be about to be redirected (breakpoint.h) */
	installed = sigaction(hp_ask_signal(), &ours, &program_action) == 0;
}

static void uninstall(void)
{
	if (installed && atomic_load(&stragglers) <= 0) {
		sigaction(hp_ask_signal(), &program_action, NULL);
		installed = false;
	}
}

void hp_ask_begin(struct hp_threads *threads, const struct hp_codes *codes)
{
	atomic_store(&question.threads, threads);
	atomic_store(&question.codes, codes);
	atomic_store(&question.still, false);
	last_number = last_number < UINT32_MAX ? last_number + 1 : 1; /* 0 is no question's */
	atomic_store(&question.number, last_number);
}

/* The kernel's siginfo, of which only the fields of a queued signal are set. */
static siginfo_t make_info(uint32_t index)
{
	siginfo_t info;
	memset(&info, 0, sizeof(info));
	info.si_signo = hp_ask_signal();
	info.si_code = SI_QUEUE;
	info.si_pid = (int)hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
	info.si_uid = (uid_t)hp_syscall(SYS_getuid, 0, 0, 0, 0, 0, 0);
	info.si_value.sival_ptr = (void *)((uintptr_t)last_number << 32 | index);
	return info;
}

/* Until it is asked again it tells nothing: the answer of a volunteer is not to find an earlier one there. */
static void set_idle(struct hp_thread *thread)
{
	thread->told.polls = false;
	atomic_store(&thread->ask, HP_ASK_IDLE);
}

static void send_question(const struct hp_threads *threads, struct hp_thread *thread)
{
	install();
	if (!installed)
		return;
	siginfo_t info = make_info((uint32_t)(thread - threads->v));
	atomic_store(&thread->ask, HP_ASK_SENT);
	long error = hp_syscall(SYS_rt_tgsigqueueinfo, info.si_pid, thread->tid, hp_ask_signal(), (long)&info, 0, 0);
	thread->unsent = error == -ESRCH ? 0 : (int)-error;
	if (error)
		set_idle(thread);
}

/* Of one that stays in the handler. */
static void take_told(struct hp_thread *thread)
{
	thread->live = thread->told.live;
	thread->polls = thread->told.polls;
	thread->top = thread->told.top ? thread->told.top : thread->top;
}

static bool take_answer(struct hp_thread *thread, const struct hp_codes *codes)
{
	switch (atomic_load(&thread->ask)) {
	case HP_ASK_OUT: /* not enough if it was to stay */
		thread->verdict = atomic_load(&question.still) ? HP_VERDICT_NONE : HP_VERDICT_OUT;
		thread->polls = thread->told.polls;
		set_idle(thread);
		return true;
	case HP_ASK_STILL:
		take_told(thread);
		thread->verdict = HP_VERDICT_OUT;
		thread->stays = true;
		return true;
	case HP_ASK_HELD:
		take_told(thread);
		thread->in_person = true;
		hp_thread_conclude(thread, hp_stack_walk(codes, &thread->told.regs, thread->top, &thread->walk));
		thread->blocked = false;
		thread->stays = thread->verdict == HP_VERDICT_OUT && atomic_load(&question.still);
		if (thread->stays) /* as if STILL */
			return true;
		atomic_store(&thread->ask, HP_ASK_RELEASED);
		futex_wake(&thread->ask);
		return true;
	default:
		return false;
	}
}

/* -- All threads ------------------------------------------------------------------------------------------------- */

enum { US = 1000, MS = 1000000, LOOK_AGAIN = 10 * US, AWAKE = 200 * US }; /* in ns */

static bool settled(const struct hp_thread *thread)
{
	return thread->verdict == HP_VERDICT_IN || thread->verdict == HP_VERDICT_UNKNOWN;
}

/* Running threads are asked when they were found running twice; blocked ones only if reading them from outside left a
 * doubt, and ever more rarely. */
static bool due_to_be_asked(const struct hp_thread *thread, uint64_t now)
{
	uint64_t pause = (uint64_t)(100 * US) << (thread->asks < 7 ? thread->asks : 7);
	bool doubtful = thread->verdict == HP_VERDICT_UNKNOWN && thread->blocked;
	bool runs = thread->verdict == HP_VERDICT_NONE && thread->looks >= 2;
	return (doubtful || runs) && (thread->asks == 0 || now - thread->asked >= pause);
}

static void ask(const struct hp_threads *threads, struct hp_thread *thread, bool everyone)
{
	uint64_t now = hp_now();
	if (!due_to_be_asked(thread, now))
		return;
	enum hp_mask mask = hp_thread_mask(threads, thread, hp_ask_signal());
	if (mask == HP_MASK_DOUBT)
		return;
	thread->asked = now;
	thread->asked_clock = thread->clock;
	thread->asks++;
	if (mask == HP_MASK_KEEPS && everyone)
		thread->verdict = HP_VERDICT_UNKNOWN;
	if (mask == HP_MASK_KEEPS)
		thread->rouse = false;
	if (mask == HP_MASK_TAKES)
		send_question(threads, thread);
	else if (thread->walk.n_frames == 0) /* else it told where it is, and may still be in our handler */
		thread->reason = "blocks the signal and may be in";
}

/* Has a thread asked by signal although it may be asleep. */
static void expect(const struct hp_threads *threads, struct hp_thread *thread)
{
	thread->blocked = true;
	thread->looks = 2;
	thread->clock = hp_thread_clock(thread->tid);
	if (hp_thread_is_gone(threads, thread->tid))
		thread->verdict = HP_VERDICT_OUT;
}

/* Takes an answer, or looks from outside; the verdict holds after hp_threads_look_end. */
static void examine(struct hp_threads *threads, struct hp_thread *thread, const struct hp_codes *codes, bool everyone)
{
	if (take_answer(thread, codes)) {
		thread->looks = 0;
		return;
	}
	if (atomic_load(&thread->ask) == HP_ASK_RELEASED)
		set_idle(thread);
	if (everyone || thread->rouse)
		expect(threads, thread);
	else if (!(settled(thread) && thread->blocked && !hp_thread_has_run(thread)))
		hp_threads_look(threads, thread, codes);
}

/* In doubt as seen from outside, and still to be asked: it could not be before it fell asleep, since it blocked the
 * signal while it ran. One that was asked in this sleep and told nothing blocks the signal there, too. */
static bool is_to_be_asked(const struct hp_thread *thread)
{
	bool asked = thread->asks > 0 && thread->asked_clock == thread->clock;
	return thread->verdict == HP_VERDICT_UNKNOWN && thread->blocked && !thread->in_person && !asked;
}

struct count {
	size_t out, in, moving; /* moving: not known yet, or about to change */
	bool stuck;             /* all that are in are blocked, and have not run since */
};

static void count_one(struct count *count, const struct hp_thread *thread, bool everyone)
{
	bool moves = atomic_load(&thread->ask) == HP_ASK_SENT || (!everyone && is_to_be_asked(thread));
	if (thread->verdict == HP_VERDICT_OUT) {
		count->out++;
	} else if (settled(thread) && !moves) {
		count->in++;
		count->stuck &= thread->blocked;
	} else {
		count->moving++;
	}
}

/* Callers that wait at the gate, and have said that they are out, need not be asked. */
static void take_arrivals(struct hp_threads *threads)
{
	int tids[HP_ARRIVALS_MAX];
	size_t n = hp_gate_arrivals(tids);
	for (size_t i = 0; i < threads->n && n > 0; i++) {
		struct hp_thread *thread = &threads->v[i];
		for (size_t k = 0; k < n && thread->verdict != HP_VERDICT_OUT; k++)
			if (tids[k] == thread->tid) {
				thread->verdict = HP_VERDICT_OUT;
				thread->blocked = false;
			}
	}
}

static bool release(struct hp_thread *thread)
{
	/* Looked at first: of many threads hardly one is, and an edge is not for free. */
	uint32_t state = atomic_load(&thread->ask);
	bool held = (state == HP_ASK_STILL || state == HP_ASK_HELD) &&
	            (edge(thread, HP_ASK_HELD, HP_ASK_RELEASED) || edge(thread, HP_ASK_STILL, HP_ASK_RELEASED));
	if (held)
		futex_wake(&thread->ask);
	return held;
}

/* One step with every thread. */
static struct count examine_all(struct hp_threads *threads, const struct hp_codes *codes,
                                const struct hp_patience *patience)
{
	struct count count = {.stuck = true};
	if (patience->gated && !patience->still) /* a handler may interrupt it there */
		take_arrivals(threads);
	for (size_t i = 0; i < threads->n; i++)
		if (threads->v[i].verdict != HP_VERDICT_OUT)
			examine(threads, &threads->v[i], codes, patience->everyone);
		else if (!patience->still) /* it was asked before it arrived, and need not be walked any more */
			release(&threads->v[i]);
	hp_threads_look_end(threads, codes);
	for (size_t i = 0; i < threads->n; i++) {
		struct hp_thread *thread = &threads->v[i];
		if (thread->verdict != HP_VERDICT_OUT && atomic_load(&thread->ask) == HP_ASK_IDLE)
			ask(threads, thread, patience->everyone);
		count_one(&count, thread, patience->everyone);
	}
	return count;
}

/* Until an answer comes or it is time to look again. Falling asleep and being woken takes longer than most answers do,
 * so at first it waits awake, if somebody else can run meanwhile. */
static void wait_for_answer(uint32_t seen, uint64_t began, uint64_t now, uint64_t deadline, unsigned round)
{
	uint64_t pause = (uint64_t)(10 * US) << (round < 7 ? round : 7), left = deadline - now;
	if (now - began < AWAKE && hp_gate_spinners() > 0)
		wait_awake(seen, now + LOOK_AGAIN < deadline ? now + LOOK_AGAIN : deadline);
	else
		wait_asleep(seen, pause < left ? pause : left);
}

bool hp_ask_all(struct hp_threads *threads, const struct hp_codes *codes, const struct hp_patience *patience)
{
	/* A thread that has answered blocks the signal until it has left the handler. */
	uint64_t began = hp_now(), least = patience->everyone ? 600 * (uint64_t)MS : 0;
	atomic_store(&question.still, patience->still);
	for (unsigned round = 0;; round++) {
		uint32_t seen = atomic_load(&answers);
		struct count count = examine_all(threads, codes, patience);
		uint64_t now = hp_now();
		if (count.in + count.moving == 0)
			return true;
		if (hp_asker_has_gone(patience->asker))
			return false;
		if (now >= patience->deadline || (patience->one_look && count.moving == 0 && now - began >= least))
			return false;
		if (patience->gated && count.moving == 0 && count.stuck && now - began > MS)
			return false;
		wait_for_answer(seen, began, now, patience->deadline, round);
	}
}

bool hp_ask_covers(const struct hp_threads *first, const struct hp_threads *second)
{
	size_t at = 0; /* both are in one order, but for threads that came and went */
	for (size_t i = 0; i < second->n; i++) {
		size_t tried = 0;
		while (tried < first->n && (first->v[at % first->n].tid != second->v[i].tid ||
		                            first->v[at % first->n].inode != second->v[i].inode)) {
			at++;
			tried++;
		}
		if (tried == first->n)
			return false;
	}
	return true;
}

void hp_ask_again(struct hp_threads *threads)
{
	for (size_t i = 0; i < threads->n; i++) {
		struct hp_thread *thread = &threads->v[i];
		thread->verdict = HP_VERDICT_NONE;
		thread->stays = false;
		if (atomic_load(&thread->ask) == HP_ASK_OUT) /* an answer that nobody has taken yet */
			set_idle(thread);
		release(thread);
	}
}

void hp_ask_end(struct hp_threads *threads)
{
	for (size_t i = 0; i < threads->n; i++) {
		struct hp_thread *thread = &threads->v[i];
		if (!release(thread) && edge(thread, HP_ASK_SENT, HP_ASK_CANCELLED) &&
		    hp_thread_clock(thread->tid) != 0)
			atomic_fetch_add(&stragglers, 1);
	}
	atomic_store(&question.number, 0);
	atomic_store(&question.still, false);
	uninstall();
}

void hp_ask_reset(void)
{
	atomic_store(&question.number, 0);
	atomic_store(&stragglers, 0);
	atomic_store(&asker_sleeps, false);
	uninstall();
}

int hotpatch_set_signal(int signo)
{
	struct hp_err err;
	struct sigaction now;
	if (signo < SIGRTMIN || signo > SIGRTMAX)
		return hp_report(hp_err_set(&err, HOTPATCH_EINVAL,
		                            "signal %d is not a real-time signal: choose one from %d to %d", signo,
		                            SIGRTMIN, SIGRTMAX),
		                 &err);
	if (sigaction(signo, NULL, &now) != 0 || (now.sa_flags & SA_SIGINFO) || now.sa_handler != SIG_DFL)
		return hp_report(hp_err_set(&err, HOTPATCH_ESIGNAL, "signal %d is used by the program: choose another",
		                            signo),
		                 &err);
	if (installed)
		return hp_report(hp_err_set(&err, HOTPATCH_ESIGNAL,
		                            "signal %d is still under way to a thread that blocks it", hp_ask_signal()),
		                 &err);
	atomic_store(&chosen, signo);
	return 0;
}
