/* start.c - a program that ends as soon as it has begun; its functions (functions.c) are never called.
 *
 * With an argument it says what has become of it until main: calls of malloc and its like, memory, and whether hotpatch
 * is there at all. With LINKED it is linked with hotpatch, as a program that uses it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "memory.h"

#ifdef LINKED
#include "hotpatch.h"
#endif

/* -- Counting: the program's malloc goes before libc's, for every library ------------------------------------- */

static unsigned long allocations;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	allocations++;
	return __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	allocations++;
	return __libc_realloc(old, size);
}

/* -- Telling -------------------------------------------------------------------------------------------------- */

static int tell(void)
{
	static struct memory memory;
	unsigned long until_main = allocations;

	memory_read(&memory);
	printf("allocations %lu\n", until_main);
	printf("rss %zu\nown %zu\n", memory_rss(&memory), memory_own(&memory));
	printf("hotpatch %d\n", dlsym(RTLD_DEFAULT, "hotpatch_fn_at") != NULL);
#ifdef LINKED
	return hotpatch_code_name(0) == NULL; /* without a use the linker would leave the library out */
#else
	return 0;
#endif
}

int main(int argc, char **argv)
{
	(void)argv;
	return argc > 1 ? tell() : 0;
}
