/* sites_shared.libB - as libA, for dlopen. */
#include "hotpatch.h"
#include "sites_shared.h"

static volatile int ten = 10;

HOTPATCHABLE int opened_exported(int a)
{
	return a + ten;
}

__attribute__((visibility("hidden"))) HOTPATCHABLE int opened_hidden(int a)
{
	return a + ten;
}

static int call_exported(int a)
{
	return opened_exported(a);
}

extern const unsigned char opened_text[] __asm__("__start_hotpatchable") __attribute__((visibility("hidden")));

const struct shared *sites_opened(void)
{
	static struct shared shared;

	shared = (struct shared){opened_exported, opened_hidden, opened_hidden, call_exported, opened_text};
	return &shared;
}
