/* self - B7: a thread that changes the function it is in itself.
 *
 * WAIT and TRY say HOTPATCH_EDEADLK at once, which the test sees by asking for a timeout longer than its deadline: from
 * one level and from ten, through a callback of libc, through a handler on an alternate signal stack, for a set, for a
 * restore. The error's blocker is this thread with its frames. Nothing has changed, and once it has left, the change
 * works. DRAIN goes live and stays in progress, FORCE switches.
 *
 * Seen to fail: with the thread's own stack not looked at, and with a walk that stops at the first doubtful frame.
 */
#include "check.h"

enum { OLD = 1, NEW = 2, PATIENCE = 3600 * 1000 };

typedef void action(void);

static action *volatile at_bottom; /* what the function does at its deepest level */

/* Adding to what comes back keeps each level a frame. */
HOTPATCHABLE int entered(int depth)
{
	int below = 0;

	if (depth > 1)
		below = entered(depth - 1);
	else if (at_bottom != NULL)
		at_bottom();
	__asm__ volatile("" : "+r"(below));
	return below > 0 ? below : OLD;
}

APART int fresh(int depth)
{
	if (depth > 0 && at_bottom != NULL)
		at_bottom();
	return NEW;
}

APART int other(int depth)
{
	return depth > 0 ? NEW + 1 : 0;
}

HOTPATCHABLE int bystander(int a)
{
	return a + OLD;
}

APART int bystander_new(int a)
{
	return a + NEW;
}

static int inside(int depth, action *act)
{
	int r;

	at_bottom = act;
	r = entered(depth);
	at_bottom = NULL;
	return r;
}

/* -- What is tried from inside ------------------------------------------------------------------------------- */

static void check_self(const char *function)
{
	CHECK_BLOCKER(thread_id(), function);
	CHECK_INT(hotpatch_error()->n_blockers, 1);
	CHECK_SAYS("entered");
}

static void change(void)
{
	CHECK_CODE(hotpatch_fn(entered, fresh, .timeout_ms = PATIENCE, .stall_ms = PATIENCE), HOTPATCH_EDEADLK);
	check_self("entered");
	CHECK_CODE(hotpatch_fn(entered, fresh, .mode = HOTPATCH_TRY), HOTPATCH_EDEADLK);
	check_self("entered");
	CHECK_CODE(hotpatch_closure(entered, fresh, NULL, NULL, .timeout_ms = PATIENCE), HOTPATCH_EDEADLK);
	check_self("entered");
}

static void change_set(void)
{
	struct hotpatch *patch = hotpatch_new("set");

	CHECK_OK(hotpatch_replace(patch, bystander, bystander_new));
	CHECK_OK(hotpatch_replace(patch, entered, fresh));
	CHECK_CODE(hotpatch_apply(patch, .timeout_ms = PATIENCE), HOTPATCH_EDEADLK);
	check_self("entered");
	CHECK_INT(bystander(0), OLD);
	CHECK_OK(hotpatch_free(patch));
}

/* The bystander is not on the stack, whatever else is. */
static void change_bystander(void)
{
	CHECK_OK(hotpatch_fn(bystander, bystander_new));
	CHECK_INT(bystander(0), NEW);
	CHECK_OK(hotpatch_restore(bystander));
	CHECK_INT(bystander(0), OLD);
}

static int compare(const void *a, const void *b)
{
	change();
	change_set();
	return *(const int *)a - *(const int *)b;
}

static void change_in_callback(void)
{
	int numbers[] = {3, 1, 2};

	qsort(numbers, 3, sizeof(numbers[0]), compare);
	CHECK(numbers[0] == 1 && numbers[2] == 3);
}

static atomic_int handled;
static char alternate[1 << 18];

static void handle(int signo)
{
	char here;

	(void)signo;
	CHECK(&here >= alternate && &here < alternate + sizeof(alternate));
	change();
	change_set();
	change_bystander();
	atomic_fetch_add(&handled, 1);
}

/* raise() interrupts nothing but itself, so the handler may call what it likes. */
static void change_in_handler(void)
{
	int before = handled;

	raise(SIGUSR1);
	CHECK_INT(handled, before + 1);
}

static void restore(void)
{
	CHECK_CODE(hotpatch_restore(entered, .timeout_ms = PATIENCE), HOTPATCH_EDEADLK);
	CHECK_INT(hotpatch_error()->n_blockers, 1);
	CHECK_INT(hotpatch_error()->blockers[0].thread, thread_id());
	CHECK_CODE(hotpatch_fn(entered, other, .mode = HOTPATCH_TRY), HOTPATCH_EDEADLK);
}

static void drain(void)
{
	CHECK_CODE(hotpatch_fn(entered, other, .mode = HOTPATCH_DRAIN, .timeout_ms = 20), HOTPATCH_EINPROGRESS);
	check_self("entered");
	CHECK_INT(entered(1), NEW + 1);
}

static void force(void)
{
	CHECK_OK(hotpatch_fn(entered, other, .mode = HOTPATCH_FORCE));
	CHECK_INT(entered(1), NEW + 1);
}

/* -- From where ---------------------------------------------------------------------------------------------- */

static void from_inside(void)
{
	static action *const actions[] = {change, change_set, change_bystander, change_in_callback, change_in_handler};

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		CHECK_INT(inside(1, actions[i]), OLD);
		CHECK_INT(inside(10, actions[i]), OLD);
	}
}

static void after_leaving(void)
{
	CHECK_OK(hotpatch_fn(entered, fresh, .timeout_ms = PATIENCE));
	CHECK_INT(entered(1), NEW);
	CHECK_INT(inside(1, restore), NEW);
	CHECK_OK(hotpatch_fn(entered, other, .timeout_ms = PATIENCE));
	CHECK_INT(entered(1), NEW + 1);
	CHECK_OK(hotpatch_restore(entered, .timeout_ms = PATIENCE));
	CHECK_INT(entered(1), OLD);
}

static void live_from_inside(action *act)
{
	CHECK_INT(inside(10, act), OLD);
	CHECK_INT(entered(1), NEW + 1);
	CHECK_OK(hotpatch_restore(entered));
	CHECK_INT(entered(1), OLD);
}

int main(void)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};

	deadline(30);
	sigaltstack(&stack, NULL);
	sigaction(SIGUSR1, &action, NULL);
	from_inside();
	after_leaving();
	from_inside();
	live_from_inside(drain);
	live_from_inside(force);
	return 0;
}
