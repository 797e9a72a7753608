/* exceptions - B9: C++ exceptions that pass through old and new definitions.
 *
 * build: variants=gcc-O0,gcc-O2,clang-O0,clang-O2,gcc-O2-cet,gcc-O2-prepared,clang-O2-prepared
 *
 * Thrown beneath definitions that were marked, and in the variants "prepared" beneath such as only flags have
 * prepared, to any depth of old and new frames; destructors run, and what was thrown arrives. Also while another
 * thread changes the function all the time: each exception arrives, with the number of frames it passed.
 *
 * Seen to fail: with a new definition whose unwinding information ends there (the program was terminated).
 */
#include <atomic>
#include <cstdio>
#include <cstdlib>
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

/* In the variants "prepared" flags alone prepare the function. */
#if !defined(PREPARED)
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
		CHECK(hotpatch_fn(descends, descends_new) == HOTPATCH_OK);
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
		CHECK(hotpatch_fn(descends, descends_new, .timeout_ms = 30000) == HOTPATCH_OK);
		CHECK(hotpatch_restore(descends, .timeout_ms = 30000) == HOTPATCH_OK);
	}
	stop = true;
	first.join();
	second.join();
	CHECK(arrived > 0);
}

int main()
{
	alarm(60);
	by_turns();
	under_load();
	return 0;
}
