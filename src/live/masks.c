#include "live/masks.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "code/emulated.h"
#include "code/text.h"

/* -- Whether it would take a question ---------------------------------------------------------------------------- */

static uint64_t parse_decimal(const char *text)
{
	uint64_t value = 0;
	for (; *text >= '0' && *text <= '9'; text++)
		value = 10 * value + (uint64_t)(*text - '0');
	return value;
}

/* qemu-user gives the program's real-time signals numbers that are greater by two, since libc keeps the first two to
 * itself, and /proc has those (linux-user/signal.c: signal_table_init). Whether an emulator does is not known. */
static bool is_in_mask(uint64_t mask, int signo)
{
	return mask >> (signo - 1) & (hp_emulated() ? mask >> 2 >> (signo - 1) : 1) & 1;
}

/* False if the thread blocks the signal, as far as /proc shows it. The mask stands before the number of times that the
 * thread went to sleep. */
static bool read_glimpse(const struct hp_threads *threads, int tid, int signo, struct hp_glimpse *ret_glimpse)
{
	static const char mask_name[] = "\nSigBlk:\t", sleeps_name[] = "\nvoluntary_ctxt_switches:\t";
	char text[2048];
	ret_glimpse->before = hp_thread_clock(tid);
	if (hp_thread_file(threads, tid, "status", text, sizeof(text)) <= 0)
		return false;
	ret_glimpse->after = hp_thread_clock(tid);
	const char *mask = strstr(text, mask_name), *sleeps = strstr(text, sleeps_name);
	if (!mask || is_in_mask(hp_parse_hex(mask + sizeof(mask_name) - 1 - 2), signo)) /* no "0x" to skip */
		return false;
	ret_glimpse->sleeps = sleeps ? parse_decimal(sleeps + sizeof(sleeps_name) - 1) : 0;
	return true;
}

/* The system call that a thread sleeps in, and its arguments: "NR A B C D E F SP IP" (proc(5)). */
struct sleep {
	long error; /* of the file, or 0 */
	bool known; /* else it runs */
	uint64_t number;
	uint64_t arguments[6];
};

static struct sleep read_sleep(const struct hp_threads *threads, int tid)
{
	char text[256];
	struct sleep sleep = {.error = 0};
	long got = hp_thread_file(threads, tid, "syscall", text, sizeof(text));
	if (got <= 0)
		sleep.error = got < 0 ? got : -ESRCH;
	if (got <= 0 || text[0] < '0' || text[0] > '9')
		return sleep;
	const char *at = text;
	sleep.known = true;
	sleep.number = parse_decimal(text);
	for (int i = 0; i < 6 && at && (at = strchr(at, ' ')); i++)
		sleep.arguments[i] = hp_parse_hex(++at);
	return sleep;
}

static bool is_hidden(const struct sleep *sleep)
{
	return sleep->error == -EACCES || sleep->error == -EPERM;
}

enum call { CALL_NONE, CALL_OTHER, CALL_SIGWAIT };

/* Whether it sleeps in a wait for the signal. */
static enum call read_call(const struct hp_threads *threads, int tid, int signo)
{
	uint64_t set;
	struct sleep sleep = read_sleep(threads, tid);
	if (is_hidden(&sleep)) /* a process that is not dumpable: README, Limits */
		return CALL_OTHER;
	if (!sleep.known)
		return CALL_NONE;
	if (sleep.number != SYS_rt_sigtimedwait)
		return CALL_OTHER;
	if (!hp_memory_read((uintptr_t)sleep.arguments[0], &set, sizeof(set)))
		return CALL_SIGWAIT;
	return set >> (signo - 1) & 1 ? CALL_SIGWAIT : CALL_OTHER;
}

/* While a thread waits for signals the kernel takes them out of its mask (kernel/signal.c: do_sigtimedwait), until it
 * has run again, which on busy processors may be long after it was woken; a signal that is sent then is what the wait
 * returns. So one glimpse of the mask does not tell. Two do if the thread slept in another call between them. Else it
 * takes three, with no sleep and LEFT_NS of its time between: the first may have seen the end of a wait, the second the
 * beginning of the next, but then it is asleep or had the signal blocked when the third is taken. For threads that fall
 * asleep all the time there may be no such three: they are believed after many glimpses while they ran, none of which
 * showed the signal blocked or the thread in a wait for it. */
enum { GLIMPSES = 24, LEFT_NS = 3000 };

static bool glimpse_tells(struct hp_thread *thread, const struct hp_glimpse *now, enum call call)
{
	struct hp_glimpse *last = &thread->glimpse;
	bool first = thread->glimpses == 0, stayed = !first && now->sleeps == last->sleeps;
	bool ran = !first && now->before >= last->after + LEFT_NS;
	if (stayed && call == CALL_OTHER)
		return true;
	thread->steady = stayed ? thread->steady + ran : 0;
	thread->glimpses += first || now->after > now->before;
	if (first || ran || !stayed)
		*last = *now;
	return thread->steady >= 2 || thread->glimpses >= GLIMPSES;
}

enum hp_mask hp_thread_mask(const struct hp_threads *threads, struct hp_thread *thread, int signo)
{
	enum call call = CALL_NONE;
	struct hp_glimpse now;
	if (hp_emulated()) /* what it sleeps in is the emulator's */
		return read_glimpse(threads, thread->tid, signo, &now) ? HP_MASK_TAKES : HP_MASK_KEEPS;
	for (int i = 0; i < 3; i++) {
		if (!read_glimpse(threads, thread->tid, signo, &now) || call == CALL_SIGWAIT) {
			thread->glimpses = 0;
			return HP_MASK_KEEPS;
		}
		if (glimpse_tells(thread, &now, call))
			return HP_MASK_TAKES;
		if (i == 0)
			call = read_call(threads, thread->tid, signo);
	}
	return HP_MASK_DOUBT;
}

/* -- Whether it may have a signal blocked ------------------------------------------------------------------------ */

/* Calls that set a mask for as long as they last: which of their arguments leads to it. Of pselect6 and io_pgetevents
 * it leads to a pair, of which the first word does. */
static const struct {
	uint64_t number;
	uint8_t argument;
	bool pair;
} masking[] = {
	{SYS_ppoll, 3, false},        {SYS_pselect6, 5, true}, {SYS_epoll_pwait, 4, false},
#ifdef SYS_epoll_pwait2
	{SYS_epoll_pwait2, 4, false},
#endif
#ifdef SYS_io_pgetevents
	{SYS_io_pgetevents, 5, true},
#endif
};

/* Whether the call that a thread sleeps in has hidden the thread's own mask. */
static bool hides_mask(const struct sleep *sleep, int signo)
{
	uint64_t set, word;
	if (sleep->number == SYS_rt_sigsuspend)
		return true;
	if (sleep->number == SYS_rt_sigtimedwait)
		return !hp_memory_read((uintptr_t)sleep->arguments[0], &set, sizeof(set)) || set >> (signo - 1) & 1;
	for (size_t i = 0; i < sizeof(masking) / sizeof(*masking); i++) {
		if (masking[i].number != sleep->number)
			continue;
		word = sleep->arguments[masking[i].argument];
		if (word && masking[i].pair && !hp_memory_read((uintptr_t)word, &word, sizeof(word)))
			return true;
		return word != 0;
	}
	return false;
}

const char *hp_thread_blocks(const struct hp_threads *threads, int tid, int signo)
{
	static const char mask_name[] = "\nSigBlk:\t";
	char text[2048];
	long got = hp_thread_file(threads, tid, "status", text, sizeof(text));
	if (got == -ENOENT || got == -ESRCH)
		return "";
	const char *mask = got > 0 ? strstr(text, mask_name) : NULL;
	struct sleep sleep = read_sleep(threads, tid);
	if (!mask || is_hidden(&sleep))
		return "does not show its signal mask, and may block the signal that is needed in";
	if (hp_parse_hex(mask + sizeof(mask_name) - 1 - 2) >> (signo - 1) & 1)
		return "blocks SIGTRAP, which is needed at the entry of";
	if (sleep.known && hides_mask(&sleep, signo))
		return "sleeps in a call with another signal mask, and may block SIGTRAP in";
	return "";
}
