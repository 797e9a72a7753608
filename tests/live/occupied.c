/* occupied - B6: a function that a thread never leaves.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-static
 *
 * WAIT times out, TRY is busy, DRAIN goes live and stays in progress, each naming the thread, the function and the
 * frames; FORCE switches. The thread inside blocks in a system call in one round, runs in the next, and blocks with all
 * signals blocked in the last. It is unharmed each time, and afterwards the function changes as any other.
 *
 * Seen to fail: with sleeping threads taken for outside.
 */
#include "check.h"

enum { OLD = 1, NEW = 2, OTHER = 3 };

static sem_t leave;
static atomic_bool spin;
static atomic_int inside; /* the id of the thread inside */

static void stay(void)
{
	atomic_store(&inside, thread_id());
	if (atomic_load(&spin))
		while (atomic_load_explicit(&spin, memory_order_relaxed))
			;
	else
		take(&leave);
}

/* The locals are looked at after the stay: what is written to the stack of the thread inside is noticed. */
HOTPATCHABLE int occupied(bool stays)
{
	volatile int pattern[32];

	for (int i = 0; i < 32; i++)
		pattern[i] = i * 0x01010101;
	if (stays)
		stay();
	for (int i = 0; i < 32; i++)
		CHECK(pattern[i] == i * 0x01010101);
	return OLD;
}

APART int fresh(bool stays)
{
	return stays ? -NEW : NEW;
}

APART int other(bool stays)
{
	return stays ? -OTHER : OTHER;
}

/* Another function, which nobody is in: in a set with `occupied` it must not change alone. */
HOTPATCHABLE int bystander(int a)
{
	return a + OLD;
}

APART int bystander_new(int a)
{
	return a + NEW;
}

static void *occupant(void *arg)
{
	pthread_setname_np(pthread_self(), "occupant");
	if (arg != NULL)
		pthread_sigmask(SIG_BLOCK, arg, NULL);
	return (void *)(intptr_t)occupied(true);
}

/* A running thread answers only when it gets a processor, which on a busy machine may be after the deadline: then it
 * stands in the way without frames. */
static void check_occupant(void)
{
	const struct hotpatch_blocker *blocker = hotpatch_error()->blockers;

	CHECK_INT(hotpatch_error()->n_blockers, 1);
	CHECK_INT(blocker->thread, inside);
	CHECK_STR(blocker->name, "occupant");
	if (atomic_load(&spin) && strstr(blocker->reason, "may be in") != NULL)
		return;
	CHECK_BLOCKER(inside, "occupied");
	CHECK_SAYS("occupied");
	CHECK(blocker->frames[0].address != 0);
}

static void refused(void)
{
	int64_t before = now_ms();

	CHECK_CODE(hotpatch_fn(occupied, fresh, .timeout_ms = 150, .stall_ms = 30), HOTPATCH_ETIMEDOUT);
	check_occupant();
	CHECK(now_ms() - before >= 140);
	CHECK_INT(occupied(false), OLD);
	CHECK_CODE(hotpatch_fn(occupied, fresh, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	check_occupant();
	CHECK_INT(occupied(false), OLD);
}

static void refused_as_set(void)
{
	struct hotpatch *patch = hotpatch_new("both");

	CHECK_OK(hotpatch_replace(patch, bystander, bystander_new));
	CHECK_OK(hotpatch_replace(patch, occupied, fresh));
	CHECK_CODE(hotpatch_apply(patch, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	check_occupant();
	CHECK_CODE(hotpatch_apply(patch, .timeout_ms = 50), HOTPATCH_ETIMEDOUT);
	check_occupant();
	CHECK_INT(bystander(0), OLD);
	CHECK_INT(occupied(false), OLD);
	CHECK_OK(hotpatch_free(patch));
}

/* Live at once. A later WAIT or TRY still minds the thread: with it, two definitions would run at once. */
static void drained(void)
{
	CHECK_CODE(hotpatch_fn(occupied, fresh, .mode = HOTPATCH_DRAIN, .timeout_ms = 50), HOTPATCH_EINPROGRESS);
	check_occupant();
	CHECK_INT(occupied(false), NEW);
	CHECK_CODE(hotpatch_fn(occupied, other, .mode = HOTPATCH_TRY), HOTPATCH_EBUSY);
	check_occupant();
	CHECK_INT(occupied(false), NEW);
	CHECK_CODE(hotpatch_fn(occupied, other, .mode = HOTPATCH_DRAIN, .timeout_ms = 50), HOTPATCH_EINPROGRESS);
	check_occupant();
	CHECK_INT(occupied(false), OTHER);
	CHECK_OK(hotpatch_restore(occupied)); /* to what the thread is in */
	CHECK_INT(occupied(false), OLD);
}

static void forced(void)
{
	CHECK_OK(hotpatch_fn(occupied, fresh, .mode = HOTPATCH_FORCE));
	CHECK_INT(occupied(false), NEW);
	CHECK_OK(hotpatch_fn(occupied, other, .mode = HOTPATCH_FORCE));
	CHECK_INT(occupied(false), OTHER);
	CHECK_OK(hotpatch_restore(occupied, .mode = HOTPATCH_FORCE));
	CHECK_INT(occupied(false), OLD);
}

static void let_go(pthread_t thread)
{
	if (atomic_exchange(&spin, false) == false)
		give(&leave);
	CHECK_INT((intptr_t)thread_join(thread), OLD);
	CHECK_OK(hotpatch_fn(occupied, fresh));
	CHECK_INT(occupied(false), NEW);
	CHECK_OK(hotpatch_restore(occupied));
	CHECK_INT(occupied(false), OLD);
}

static void with_occupant(bool running, sigset_t *block)
{
	pthread_t thread;

	atomic_store(&spin, running);
	atomic_store(&inside, 0);
	thread = thread_start(occupant, block);
	AWAIT(inside != 0 && (running || thread_state(inside) == 'S'));
	refused();
	refused_as_set();
	drained();
	forced();
	let_go(thread);
}

int main(void)
{
	sigset_t all;

	deadline(30);
	sigfillset(&all);
	sem_init(&leave, 0, 0);
	with_occupant(false, NULL);
	with_occupant(true, NULL);
	with_occupant(false, &all);
	return 0;
}
