/* sites_shared.libA - a library with an exported, a hidden and a static function that can be patched. */
#include "hotpatch.h"
#include "sites_shared.h"

static volatile int ten = 10;

HOTPATCHABLE int shared_exported(int a)
{
	return a + ten;
}

__attribute__((visibility("hidden"))) HOTPATCHABLE int shared_hidden(int a)
{
	return a + ten;
}

#if defined(__clang__)
#define shared_local shared_hidden
#else
HOTPATCHABLE static int shared_local(int a)
{
	return a + ten;
}
#endif

static int call_exported(int a)
{
	return shared_exported(a);
}

/* The text is compared from the first byte the linker put into the section of marked functions, prefix included. */
extern const unsigned char shared_text[] __asm__("__start_hotpatchable") __attribute__((visibility("hidden")));

const struct shared *sites_shared(void)
{
	static struct shared shared;

	shared = (struct shared){shared_exported, shared_hidden, shared_local, call_exported, shared_text};
	return &shared;
}
