#include "live/breakpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live/ask.h"
#include "live/barrier.h"
#include "live/masks.h"
#include "live/registry.h"
#include "live/survey.h"

enum { MS = 1000000 }; /* in ns */

/* -- The handler ----------------------------------------------------------------------------------------------------
 */

static bool installed;
static size_t trapping;                 /* how many sites have a breakpoint now */
static bool traps_since;                /* breakpoints were written since the last transition asked all threads */
static struct sigaction program_action; /* what the program had; read by the handler */

/* The site whose jump lies at the address: at its entry, or behind a landing instruction. */
static struct hp_site *site_at_jump(uintptr_t address)
{
	for (uintptr_t back = 0; back <= HP_LANDING_SIZE; back += HP_LANDING_SIZE) {
		struct hp_site *site = hp_site_at(address - back);
		if (site && site->plan.breakpoint && hp_site_jump(site) == address)
			return site;
	}
	return NULL;
}

/* By the default action: what the signal does when nobody handles it. A trap that is ignored ends the process too. */
static void end_by_default(int signo)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigaction(signo, &action, NULL);
	hp_syscall(SYS_tgkill, hp_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0), hp_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0),
	           signo, 0, 0, 0);
}

/* With the mask that the program's handler asked for; the kernel gives back what was when ours returns. */
static void hand_on(int signo, siginfo_t *info, void *context)
{
	const struct sigaction *action = &program_action;
	uint64_t mask;
	memcpy(&mask, &action->sa_mask, sizeof(mask)); /* the kernel's set is 8 bytes */
	if (!(action->sa_flags & SA_NODEFER))
		mask |= UINT64_C(1) << (signo - 1);
	if (!(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	if (!(action->sa_flags & SA_SIGINFO) && (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN)) {
		end_by_default(signo);
		return;
	}
	hp_syscall(SYS_rt_sigprocmask, SIG_BLOCK, (long)&mask, 0, sizeof(mask), 0, 0);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(signo, info, context);
	else
		action->sa_handler(signo);
}

/* A trap may have been taken long ago: where the slot leads holds at any time. */
static void handler(int signo, siginfo_t *info, void *context)
{
	struct hp_site *site = info->si_code > 0 ? site_at_jump(hp_arch_trap_address(context)) : NULL;
	if (!site) {
		hand_on(signo, info, context);
		return;
	}
	hp_arch_trap_resume(context, atomic_load(site->cell.slot));
	hp_ask_volunteer(context);
}

static bool is_ours(const struct sigaction *action)
{
	return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == handler;
}

static int install(struct hp_err *err)
{
	struct sigaction ours = {.sa_sigaction = handler,
	                         .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER};
	struct sigaction now;
	if (sigaction(SIGTRAP, NULL, &now) != 0 || is_ours(&now))
		return 0;
	program_action = now;
	if (sigaction(SIGTRAP, &ours, NULL) != 0)
		return hp_err_system(err, HOTPATCH_ESYSTEM, errno, "SIGTRAP cannot be handled");
	installed = true;
	return 0;
}

static void uninstall(void)
{
	struct sigaction now;
	if (sigaction(SIGTRAP, NULL, &now) == 0 && is_ours(&now))
		sigaction(SIGTRAP, &program_action, NULL);
	installed = false;
}

/* A thread on its way to the handler has its trap delivered before it answers a question, or is seen asleep. Where that
 * cannot be found out in time the handler stays, and hands on, until the next operation. */
void hp_breakpoint_end(bool all_have_answered)
{
	struct hp_codes none = {0};
	struct hp_survey *survey;
	struct hp_err ignored;
	if (!installed || trapping)
		return;
	if (all_have_answered && !traps_since) {
		uninstall();
		return;
	}
	if (hp_survey_open(&none, &survey, &ignored) != 0)
		return;
	if (hp_survey_ask(survey, &(struct hp_patience){.deadline = hp_now() + 100 * (uint64_t)MS}))
		uninstall();
	hp_survey_close(survey);
}

/* -- Who stands in the way ------------------------------------------------------------------------------------------
 */

/* A debugger takes every breakpoint for its own. */
static int check_debugger(struct hp_err *err)
{
	static const char name[] = "\nTracerPid:\t";
	char text[2048];
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = 0;
	const char *tracer = strstr(text, name);
	if (!tracer)
		return hp_err_set(
			err, HOTPATCH_ESYSTEM,
			"/proc/thread-self/status, which tells whether a debugger would take breakpoints for its own, "
			"cannot be read");
	tracer += sizeof(name) - 1;
	if (*tracer == '0')
		return 0;
	return hp_err_set(
		err, HOTPATCH_ENOTSUP,
		"functions that are not prepared cannot be redirected under a debugger (process %.*s), which would take "
		"the breakpoint for its own; detach it first",
		(int)strcspn(tracer, "\n"), tracer);
}

/* What one use of the protocol needs. */
struct protocol {
	struct hp_wanted wanted; /* those to be written */
	struct hp_text *text;
	struct hp_survey *survey; /* for the bytes that are written over, first ones excepted */
	uint64_t deadline;
	bool wait;                    /* until the deadline for who is in the way */
	const struct hp_asker *asker; /* or NULL */
	uint64_t mask;
};

/* Lists the threads that may have SIGTRAP blocked; the others are out. */
static bool nobody_blocks(struct hp_threads *threads)
{
	bool nobody = hp_threads_list(threads);
	for (size_t i = 0; i < threads->n && nobody; i++)
		threads->v[i].verdict = HP_VERDICT_OUT;
	for (size_t i = 0; i < threads->n; i++) {
		struct hp_thread *thread = &threads->v[i];
		thread->reason = hp_thread_blocks(threads, thread->tid, SIGTRAP);
		if (!*thread->reason)
			continue;
		thread->verdict = HP_VERDICT_UNKNOWN;
		nobody = false;
	}
	return nobody;
}

/* Some libc functions block all signals for a moment: so it is looked again. */
static bool await_unblocked(const struct protocol *p)
{
	while (!nobody_blocks(p->survey->threads)) {
		if (!p->wait || hp_now() >= p->deadline || hp_asker_has_gone(p->asker))
			return false;
		hp_syscall(SYS_nanosleep, (long)&(struct timespec){0, MS}, 0, 0, 0, 0, 0);
	}
	return true;
}

/* -- Writing --------------------------------------------------------------------------------------------------------
 */

/* The first byte, which decides: the breakpoint, or that of the jump, or what was there. */
static int write_first(struct hp_site *site, struct hp_text *text, const uint8_t *byte, struct hp_err *err)
{
	int error = hp_text_write(text, hp_site_jump(site), byte, 1, err);
	if (error) {
		uint8_t now; /* it may be written all the same */
		if (!hp_text_read(hp_site_jump(site), &now, 1) || now != *byte)
			return error;
	}
	trapping += (byte == &hp_arch_breakpoint) - (size_t)site->trapping;
	site->trapping = byte == &hp_arch_breakpoint;
	site->redirected = byte == site->plan.new_jump;
	return error;
}

static int write_tail(struct hp_site *site, struct hp_text *text, const uint8_t *bytes, struct hp_err *err)
{
	site->tail_set = true;
	int error = hp_text_write(text, hp_site_jump(site) + 1, bytes + 1, site->plan.jump_len - 1u, err);
	site->tail_set = error || bytes == site->plan.new_jump;
	return error;
}

/* The three lines of the picture from `here` on: every step for all sites, then the barrier. */
static int write_breakpoints(const struct protocol *p, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < p->wanted.n && !error; i++)
		error = write_first(p->wanted.sites[i], p->text, &hp_arch_breakpoint, err);
	return error ? error : hp_barrier_code(err);
}

static int write_jumps(const struct protocol *p, bool forth, struct hp_err *err)
{
	int error = 0;
	for (size_t i = 0; i < p->wanted.n && !error; i++) {
		struct hp_site *site = p->wanted.sites[i];
		error = write_tail(site, p->text, forth ? site->plan.new_jump : site->plan.old_jump, err);
	}
	if (!error)
		error = hp_barrier_code(err);
	for (size_t i = 0; i < p->wanted.n && !error; i++) {
		struct hp_site *site = p->wanted.sites[i];
		error = write_first(site, p->text, forth ? site->plan.new_jump : site->plan.old_jump, err);
	}
	return error ? error : hp_barrier_code(err);
}

/* Back to what was there. A site of which that cannot be written keeps its breakpoint, with the handler, or its jump:
 * both lead where the slot does. */
static void take_back(const struct protocol *p)
{
	struct hp_err ignored;
	for (size_t i = 0; i < p->wanted.n; i++)
		if (p->wanted.sites[i]->redirected &&
		    write_first(p->wanted.sites[i], p->text, &hp_arch_breakpoint, &ignored))
			return;
	if (hp_barrier_code(&ignored) == 0)
		(void)!write_jumps(p, false, &ignored);
}

/* -- The protocol ---------------------------------------------------------------------------------------------------
 */

static int collect_sites(struct protocol *p, struct hp_site *const *sites, size_t n,
                         bool (*wants)(const struct hp_site *), struct hp_err *err)
{
	struct hp_site **wanted = calloc(n, sizeof(struct hp_site *));
	if (!wanted)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for %zu functions", n);
	p->wanted = (struct hp_wanted){wanted, 0};
	for (size_t i = 0; i < n; i++)
		if (wants(sites[i]))
			wanted[p->wanted.n++] = sites[i];
	return 0;
}

static int open_survey(struct protocol *p, struct hp_err *err)
{
	struct hp_codes codes = {0};
	int error = 0;
	for (size_t i = 0; i < p->wanted.n && !error; i++) {
		uintptr_t jump = hp_site_jump(p->wanted.sites[i]);
		error = hp_codes_add_bytes(&codes, jump + 1, jump + p->wanted.sites[i]->plan.jump_len, (uint32_t)i,
		                           err);
	}
	if (error) {
		hp_codes_free(&codes);
		return error;
	}
	error = hp_survey_open(&codes, &p->survey, err);
	if (!error) /* they come to no breakpoint any more */
		p->survey->threads->leaves_crashed = true;
	return error;
}

/* Our own calls may lead to what is being redirected. */
static void unblock_trap(struct protocol *p)
{
	uint64_t trap = UINT64_C(1) << (SIGTRAP - 1);
	hp_syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&trap, (long)&p->mask, sizeof(trap), 0, 0);
}

static int protocol_begin(struct protocol *p, struct hp_site *const *sites, size_t n,
                          bool (*wants)(const struct hp_site *), struct hp_err *err)
{
	int error = check_debugger(err);
	if (!error)
		error = collect_sites(p, sites, n, wants, err);
	if (!error)
		error = open_survey(p, err);
	if (!error)
		error = install(err);
	unblock_trap(p);
	return error;
}

static void protocol_end(struct protocol *p)
{
	if (p->survey)
		hp_survey_close(p->survey);
	hp_signals_restore(&p->mask);
	free((void *)p->wanted.sites);
}

static bool wants_jump(const struct hp_site *site)
{
	return site->plan.breakpoint && !site->redirected;
}

static bool wants_undo(const struct hp_site *site)
{
	return site->plan.breakpoint && (site->redirected || site->trapping) && site->n_layers == 0;
}

static bool any(struct hp_site *const *sites, size_t n, bool (*wants)(const struct hp_site *))
{
	for (size_t i = 0; i < n; i++)
		if (wants(sites[i]))
			return true;
	return false;
}

/* -- Redirecting ----------------------------------------------------------------------------------------------------
 */

static int refuse(const struct protocol *p, const struct hp_request *request, struct hp_outcome *outcome,
                  const char *why, struct hp_err *err)
{
	const char *name = p->wanted.sites[0]->name;
	hp_blockers_note(outcome, p->survey->threads, &p->wanted);
	if (request->mode == HOTPATCH_TRY)
		return hp_err_set(err, HOTPATCH_EBUSY, "'%s' cannot be redirected now: %s", name, why);
	return hp_err_set(err, HOTPATCH_ETIMEDOUT, "'%s' could not be redirected until the deadline of %u ms: %s", name,
	                  request->timeout_ms, why);
}

/* From the breakpoints on: on failure the text is as it was. */
static int write_over(struct protocol *p, const struct hp_request *request, struct hp_outcome *outcome,
                      struct hp_err *err)
{
	for (size_t i = 0; i < p->wanted.n; i++)
		atomic_store(p->wanted.sites[i]->cell.slot, hp_site_target(p->wanted.sites[i]));
	int error = write_breakpoints(p, err);
	if (!error && !hp_survey_ask(p->survey, &(struct hp_patience){.deadline = p->deadline, .asker = p->asker}))
		error = refuse(p, request, outcome, "a thread is, or may be, in its first instructions", err);
	if (!error)
		error = write_jumps(p, true, err);
	if (error)
		take_back(p);
	return error;
}

static int redirect(struct protocol *p, const struct hp_request *request, struct hp_outcome *outcome,
                    struct hp_err *err)
{
	int error = hp_sites_check(p->wanted.sites, p->wanted.n, err);
	if (error)
		return error;
	if (hp_blockers_self(outcome, &p->survey->codes, request->frame, &p->wanted))
		return hp_err_set(
			err, HOTPATCH_EDEADLK,
			"'%s' cannot be redirected by a thread that was interrupted in its first instructions",
			p->wanted.sites[0]->name);
	if (!await_unblocked(p))
		return refuse(p, request, outcome, "a thread blocks SIGTRAP, or may", err);
	return write_over(p, request, outcome, err);
}

int hp_breakpoint_redirect(struct hp_site *const *sites, size_t n, struct hp_text *text,
                           const struct hp_request *request, struct hp_outcome *outcome, struct hp_err *err)
{
	struct protocol p = {.text = text,
	                     .deadline = request->deadline,
	                     .wait = request->mode != HOTPATCH_TRY,
	                     .asker = request->asker};
	uint64_t stall = hp_now() + request->stall;
	if (!any(sites, n, wants_jump))
		return 0;
	if (request->mode == HOTPATCH_TRY && stall < p.deadline)
		p.deadline = stall;
	int error = protocol_begin(&p, sites, n, wants_jump, err);
	if (!error)
		error = redirect(&p, request, outcome, err);
	traps_since = error != 0;
	protocol_end(&p);
	return error;
}

/* Sites whose jump could not be taken back yet, chained by next_unclean; any later operation tries again. */
static struct hp_site *left;

static void leave(struct hp_site *site)
{
	if (site->unclean)
		return;
	site->unclean = true;
	site->next_unclean = left;
	left = site;
}

/* Those that were taken back, or have layers again, leave the list; how many remain. */
static size_t sweep_left(void)
{
	size_t n = 0;
	for (struct hp_site **at = &left; *at;) {
		struct hp_site *site = *at;
		if (wants_undo(site)) {
			at = &site->next_unclean;
			n++;
		} else {
			*at = site->next_unclean;
			site->unclean = false;
		}
	}
	return n;
}

static void undo_left(struct hp_site *const *sites, size_t n, struct hp_text *text)
{
	struct protocol p = {.text = text, .deadline = hp_now() + 20 * (uint64_t)MS, .wait = true};
	struct hp_err ignored;
	if (protocol_begin(&p, sites, n, wants_undo, &ignored) == 0 && await_unblocked(&p))
		take_back(&p);
	traps_since = true;
	protocol_end(&p);
}

void hp_breakpoint_undo(struct hp_site *const *sites, size_t n, struct hp_text *text)
{
	for (size_t i = 0; i < n; i++)
		if (wants_undo(sites[i]))
			leave(sites[i]);
	size_t count = sweep_left();
	struct hp_site **all = count ? calloc(count, sizeof(struct hp_site *)) : NULL;
	if (!all)
		return;
	struct hp_site *site = left;
	for (size_t i = 0; i < count; i++, site = site->next_unclean)
		all[i] = site;
	undo_left(all, count, text);
	free((void *)all);
	sweep_left();
}

/* Here, since it forgets the list. */
void hp_breakpoint_reset(void)
{
	left = NULL;
	trapping = 0;
	if (installed)
		uninstall();
}
