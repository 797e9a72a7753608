#include "live/stale.h"

#include <pthread.h>
#include <string.h>

#include "code/text.h"

/* Where the stack that libc gave the thread begins: its descriptor, which lies at the end of it, says so in two words,
 * base and size (glibc, nptl/descr.h: stackblock). 0 where they are not found. The first thread's mapping is all stack.
 * Read with care: a thread that slept may have ended meanwhile, and its stack be gone. */
static uintptr_t stack_low(const struct hp_thread *thread, const struct hp_hit *hit)
{
	enum { AROUND = 2048, AT_END = 16384 };
	uintptr_t words[AROUND / sizeof(uintptr_t) * 2], from = thread->top - AROUND;
	if (strcmp(hit->place, "[stack]") == 0)
		return hit->mapping.low;
	if (from < hit->mapping.low)
		return 0;
	size_t n = hp_memory_read_some(from, words, sizeof(words)) / sizeof(*words);
	for (size_t i = 0; i + 2 <= n; i++)
		if (words[i] && words[i] < thread->live && words[i + 1] > thread->top - words[i] &&
		    words[i + 1] - (thread->top - words[i]) < AT_END)
			return words[i];
	return 0;
}

bool hp_stale_is(const struct hp_threads *threads, const struct hp_hit *hit)
{
	for (size_t i = 0; hit->readable && i < threads->n; i++) {
		const struct hp_thread *thread = &threads->v[i];
		if (hit->address < thread->live && thread->live < hit->mapping.high && thread->live < thread->top &&
		    thread->top < hit->mapping.high) {
			uintptr_t low = stack_low(thread, hit);
			return low && hit->address >= low;
		}
	}
	return false;
}

struct hp_span hp_stale_own(uintptr_t live)
{
	pthread_attr_t attributes;
	void *low = NULL;
	size_t size = 0;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) - 65536;
	if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
		if (pthread_attr_getstack(&attributes, &low, &size) != 0)
			low = NULL;
		pthread_attr_destroy(&attributes);
	}
	bool known = low && live >= (uintptr_t)low && live - (uintptr_t)low < size;
	return (struct hp_span){known ? (uintptr_t)low : here, live};
}
