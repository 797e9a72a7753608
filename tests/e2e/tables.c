/* tables - a program of constants that change with each generation of its sources (NEW), for tests/patches.bats: asked
 * by "NAME NUMBER" lines. BODY changes a function and leaves the constants as they are. */
#include <stdio.h>
#include <string.h>

#ifndef NEW
#define NEW 0
#endif
#ifndef BODY
#define BODY 0
#endif

#define PART static __attribute__((noinline, used))

const void *kept;
volatile int zero; /* so that no compiler knows what a function returns */

struct op {
	const char *name;
	int (*call)(int n);
};

PART int next(int n)
{
	return n + 1 + zero;
}

static const int prices[] = {5, 50 * (NEW + 1), 500};
#if NEW
static const struct op added = {"added", next}; /* one that objects are known by */
#endif

PART int price(int n)
{
	return prices[n] * (BODY ? 10 : 1);
}

PART int keep(int n)
{
#if NEW
	kept = &added;
	return added.call(n);
#else
	return n + zero;
#endif
}

/* Whether the one that was kept is found again. The runtime has a static function of the name, too. */
__attribute__((noinline)) int find(int n)
{
#if NEW
	return n + NEW + (kept == &added ? 100 : 0);
#else
	return n + (kept ? 100 : 0);
#endif
}

/* An interpreter, whose table of labels is not const. */
PART int interpret(int n)
{
	static void *codes[] = {&&add, &&twice, &&end};
	static const unsigned char program[] = {0, 1, 0, 2};
	const unsigned char *at = program;

	goto *codes[*at++];
add:
	n += 1 + NEW * 10;
	goto *codes[*at++];
twice:
	n *= 2;
	goto *codes[*at++];
end:
	return n;
}

int main(void)
{
	char line[100], name[100];
	int n;

	while (fgets(line, sizeof(line), stdin))
		if (sscanf(line, "%99s %d", name, &n) == 2) {
			printf("%d\n", strcmp(name, "price") == 0       ? price(n)
			               : strcmp(name, "keep") == 0      ? keep(n)
			               : strcmp(name, "find") == 0      ? find(n)
			               : strcmp(name, "interpret") == 0 ? interpret(n)
			                                                : -1);
			fflush(stdout);
		}
	return 0;
}
