/* shop - old and, with NEW defined to a number, new code. */
#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shop.h"

#ifndef NEW
#define NEW 0
#endif

int shop_global = 7;
__thread int shop_depth;
const char *shop_said = "";

static int counter = 40;
static int last[64];

/* Statics of the file and of functions, several of one name; new ones with their own initial values. */
int shop_statics(int n)
{
	static int calls = 100;
#if NEW
	static int asked = 1000;
	asked++;
	counter += 2 * n;
	last[63] = counter;
	return counter + ++calls + asked + shop_global;
#else
	counter += n;
	last[63] = counter;
	return counter + ++calls + shop_global;
#endif
}

int shop_many(int n)
{
	static int calls = 500;
	if (n > 0) {
#if NEW
		static int before = 3;
		before++;
#else
		static int before = 0;
		before--;
#endif
		static int calls = 900;
		return ++calls + before;
	}
	return ++calls + NEW;
}

int shop_text(int n)
{
	static const char *const words[] = {"none", "one", NEW ? "a few" : "several"};
#if NEW
	shop_said = n > 3 ? "a great many" : words[n % 3];
#else
	shop_said = n > 3 ? "many" : words[n % 3];
#endif
	return (int)strlen(shop_said);
}

/* Dense enough for a jump table. */
int shop_choose(int n)
{
	switch (n) {
	case 0:
		return counter;
	case 1:
		return NEW ? 11 : 10;
	case 2:
		return shop_global * 3;
	case 3:
		return toupper('a' + NEW);
	case 4:
		return abs(-n) + 4 + NEW;
	case 5:
		return 55;
	case 6:
		return NEW ? -6 : 66;
#if NEW
	case 7:
		return 77;
	case 8:
		return 88;
#endif
	default:
		return -1;
	}
}

static int twice(int n)
{
	return 2 * n;
}
static int next(int n)
{
	return n + 1;
}
#if NEW
static int square(int n)
{
	return n * n;
} /* a new helper */
#endif

struct ops {
	const char *name;
	int (*call)(int n);
};

static const struct ops ops[] = {
	{"twice", twice},
	{"next", next},
#if NEW
	{"square", square},
#endif
};

int shop_ops(int n)
{
	int sum = 0;
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		shop_said = ops[i].name;
		sum += ops[i].call(n);
	}
	return sum;
}

/* Thread-locals, from another thread too. */
static void *elsewhere(void *arg)
{
	shop_depth += 1 + NEW;
	*(int *)arg += shop_depth;
	return NULL;
}

int shop_threads(int n)
{
	pthread_t thread;
	int sum = n;
	shop_depth += NEW ? 10 : 1;
	pthread_create(&thread, NULL, elsewhere, &sum);
	pthread_join(thread, NULL);
	return sum * 1000 + shop_depth;
}

/* Is in itself for n milliseconds. */
int shop_wait(int n)
{
	usleep((useconds_t)n * 1000);
	return NEW ? -n : n;
}
