/* leaving - B9: threads that leave the gate by cancellation, or by siglongjmp out of a handler.
 *
 * A thread waits at the gate, which another one keeps closed from inside. It is cancelled: deferred, which takes it on
 * the far side of the gate, and asynchronously, which unwinds it there and then, with its clean-up handlers. Or it is
 * interrupted by a handler that jumps out. Either way the change goes through, the thread is no obstacle, later calls
 * take the new definition, and so they do after the change back.
 *
 * Seen to fail: with callers not woken when the gate opens (the deferred cancellation never came); under load with a
 * thread that was asked before it arrived at the gate, and whose answer nobody took (held in the handler until the end
 * of the attempt: 10 of 470 runs, eight at a time on two processors).
 */
#include "check.h"

#include <setjmp.h>

enum { OLD = 1, NEW = 2, ROUNDS = OFTEN(40) };
enum how { DEFERRED, ASYNCHRONOUS, JUMPS, HOWS };

static sem_t inside;
static atomic_bool leave;
static atomic_int waiter, cleaned, passed;

static void stay(void)
{
	give(&inside);
	while (!atomic_load_explicit(&leave, memory_order_relaxed))
		;
}

HOTPATCHABLE int patched(bool stays)
{
	if (stays)
		stay();
	return OLD;
}

HOTPATCH int fresh(bool stays)
{
	if (stays)
		stay();
	return NEW;
}

static void *holds(void *arg)
{
	int *version = arg;

	CHECK_INT(patched(true), *version);
	return NULL;
}

static void *changes(void *arg)
{
	int from = *(int *)arg;

	CHECK_OK(from == OLD ? hotpatch_fn(patched, fresh, .timeout_ms = 50000, .stall_ms = 50000)
	                     : hotpatch_restore(patched, .timeout_ms = 50000, .stall_ms = 50000));
	return NULL;
}

/* -- The thread at the gate ------------------------------------------------------------------------------------- */

static _Thread_local sigjmp_buf out;

static void on_signal(int signo UNUSED)
{
	siglongjmp(out, 1);
}

static void clean(void *arg)
{
	(void)arg;
	atomic_fetch_add(&cleaned, 1);
}

/* Calls without a pause, so that it sleeps nowhere but at the gate. */
static void *calls(void *arg)
{
	enum how how = *(enum how *)arg;
	int type;

	pthread_cleanup_push(clean, NULL);
	if (how == ASYNCHRONOUS)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	if (sigsetjmp(out, 1) == 0) {
		atomic_store(&waiter, thread_id());
		for (;;) {
			patched(false);
			if (how == DEFERRED)
				pthread_testcancel();
		}
	}
	atomic_fetch_add(&passed, 1);
	pthread_cleanup_pop(0);
	return arg;
}

static void check_left(enum how how, pthread_t thread)
{
	int cleaned_before = cleaned, passed_before = passed;

	CHECK_INT(how == JUMPS ? pthread_kill(thread, SIGUSR1) : pthread_cancel(thread), 0);
	if (how == DEFERRED)
		atomic_store(&leave, true);
	CHECK((thread_join(thread) == PTHREAD_CANCELED) == (how != JUMPS));
	CHECK_INT(cleaned, cleaned_before + (how != JUMPS));
	CHECK_INT(passed, passed_before + (how == JUMPS));
}

static void leave_gate(enum how how, int from)
{
	pthread_t holder, changing, thread;

	atomic_store(&leave, false);
	atomic_store(&waiter, 0);
	holder = thread_start(holds, &from);
	take(&inside);
	changing = thread_start(changes, &from);
	thread = thread_start(calls, &how);
	AWAIT(waiter != 0 && thread_state(waiter) == 'S'); /* the holder runs: the gate stays closed */
	check_left(how, thread);
	atomic_store(&leave, true);
	thread_join(holder);
	thread_join(changing);
	CHECK_INT(patched(false), OLD + NEW - from);
}

int main(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	deadline(60);
	sem_init(&inside, 0, 0);
	sigaction(SIGUSR1, &action, NULL);
	for (int i = 0; i < ROUNDS; i++)
		for (int how = 0; how < HOWS; how++) {
			leave_gate(how, OLD);
			leave_gate(how, NEW);
		}
	return 0;
}
