/* exceptions - B9: C++ exceptions that pass through old and new definitions.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-cet,gcc-O2-prepared,clang-O2-prepared
 *
 * Thrown beneath definitions that were marked, and in the variants "prepared" beneath such as only flags have
 * prepared, to any depth of old and new frames; destructors run, and what was thrown arrives. Also while another
 * thread changes the function all the time: each exception arrives, with the number of frames it passed. And through
 * the gate: a thread keeps it closed from inside an old definition and leaves that by an exception, which opens it; a
 * caller that waited there goes on into the new definition, which throws.
 *
 * Seen to fail: with a new definition whose unwinding information ends there (the program was terminated); with callers
 * not woken when the gate opens.
 */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "hotpatch.h"

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			std::fprintf(stderr, "%s:%d: '%s' does not hold: %s\n", __FILE__, __LINE__, #cond,             \
			             hotpatch_error()->message);                                                       \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

struct thrown {
	int version;
	int depth;
};

struct frame { /* whose destructor counts the frames that are left */
	int *left;
	explicit frame(int *counter) : left(counter) {}
	~frame() { ++*left; }
};

/* In the variants "prepared" flags alone prepare the function; in exceptions_unprepared.cc nothing does. */
#ifndef UNPREPARED
#define UNPREPARED false
#endif
#if !defined(PREPARED) && !defined(BARE)
#define OLD_MARK HOTPATCHABLE
#define NEW_MARK HOTPATCH
#elif defined(__clang__)
#define OLD_MARK __attribute__((noinline, weak))
#define NEW_MARK OLD_MARK
#else
#define OLD_MARK __attribute__((noipa))
#define NEW_MARK OLD_MARK
#endif

static volatile int one = 1;

OLD_MARK int descends(int depth, int *left)
{
	frame counted(left);
	if (depth == 0)
		throw thrown{one, *left};
	return descends(depth - 1, left) + one;
}

NEW_MARK int descends_new(int depth, int *left)
{
	frame counted(left);
	if (depth == 0)
		throw thrown{2 * one, *left};
	return descends(depth - 1, left) + 2 * one;
}

/* The version that threw, -1 if nothing arrived or not all frames were left. */
static int caught(int depth)
{
	int left = 0;
	try {
		descends(depth, &left);
	} catch (const thrown &what) {
		return left == depth + 1 && what.depth == 0 ? what.version : -1;
	}
	return -1;
}

static void by_turns()
{
	for (int depth = 0; depth < 20; depth++) {
		CHECK(caught(depth) == 1);
		CHECK(hotpatch_fn(descends, descends_new, .unprepared = UNPREPARED) == HOTPATCH_OK);
		CHECK(caught(depth) == 2);
		CHECK(hotpatch_restore(descends) == HOTPATCH_OK);
	}
}

static void under_load()
{
	std::atomic<bool> stop{false};
	std::atomic<long> arrived{0};
	auto throws = [&] {
		for (int i = 0; !stop; i++) {
			int version = caught(i % 8);
			CHECK(version == 1 || version == 2);
			arrived++;
		}
	};
	std::thread first(throws), second(throws);
	for (int i = 0; i < 100; i++) {
		CHECK(hotpatch_fn(descends, descends_new, .unprepared = UNPREPARED, .timeout_ms = 30000) ==
		      HOTPATCH_OK);
		CHECK(hotpatch_restore(descends, .timeout_ms = 30000) == HOTPATCH_OK);
	}
	stop = true;
	first.join();
	second.join();
	CHECK(arrived > 0);
}

/* -- Through the gate ---------------------------------------------------------------------------------------- */

static std::atomic<bool> inside, leave;

OLD_MARK int lingers(int *left)
{
	frame counted(left);
	inside = true;
	while (!leave) /* it runs: a gate is not kept closed for one that sleeps */
		;
	throw thrown{10 * one, *left};
}

NEW_MARK int lingers_new(int *left)
{
	frame counted(left);
	throw thrown{20 * one, *left};
}

static int caught_lingering()
{
	int left = 0;
	try {
		lingers(&left);
	} catch (const thrown &what) {
		return left == 1 ? what.version : -1;
	}
	return -1;
}

static bool sleeps(long tid)
{
	char path[64], text[1024] = "";
	std::snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
	std::FILE *file = std::fopen(path, "r");
	if (file != nullptr) {
		if (std::fgets(text, sizeof(text), file) == nullptr)
			text[0] = '\0';
		std::fclose(file);
	}
	const char *end = std::strrchr(text, ')');
	return end != nullptr && std::strncmp(end, ") S", 3) == 0;
}

/* The set is changed in one attempt that lasts as long as the test lets it. */
static void through_the_gate(struct hotpatch *patch)
{
	std::atomic<long> tid{0};
	inside = leave = false;
	std::thread holder([] { CHECK(caught_lingering() == 10); });
	while (!inside)
		usleep(1000);
	std::thread caller([&] {
		int version;
		tid = syscall(SYS_gettid);
		do
			version = caught(3);
		while (version == 1);
		CHECK(version == 2);
	});
	std::thread changer(
		[&] { CHECK(hotpatch_apply(patch, .timeout_ms = 60000, .stall_ms = 60000) == HOTPATCH_OK); });
	while (tid == 0 || !sleeps(tid)) /* nothing in the caller's loop sleeps but the gate */
		usleep(1000);
	leave = true;
	holder.join();
	changer.join();
	caller.join();
	CHECK(caught_lingering() == 20 && caught(1) == 2);
	CHECK(hotpatch_revert(patch) == HOTPATCH_OK);
}

static void by_the_gate()
{
	struct hotpatch *patch = hotpatch_new("gate");
	CHECK(hotpatch_replace(patch, descends, descends_new, .unprepared = UNPREPARED) == HOTPATCH_OK);
	CHECK(hotpatch_replace(patch, lingers, lingers_new, .unprepared = UNPREPARED) == HOTPATCH_OK);
	for (int i = 0; i < 3; i++)
		through_the_gate(patch);
	CHECK(hotpatch_free(patch) == HOTPATCH_OK);
}

int main()
{
	const char *patience = getenv("HP_PATIENCE");
	alarm((UNPREPARED ? 120 : 60) * (patience ? atoi(patience) : 1));
	by_turns();
	under_load();
	by_the_gate();
	return 0;
}
