/* functions.h - the functions that are changed: an original, four bodies and a closure of each, in one table.
 *
 * All of them do the same (run, soak.h), behind different signatures; each checks that its arguments arrived.
 */
#ifndef TESTS_SOAK_FUNCTIONS_H
#define TESTS_SOAK_FUNCTIONS_H

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "soak.h"

enum { BODIES = 4 };

/* What a closure is given. */
struct context {
	_Atomic unsigned state; /* enum context_state */
	long stamp;
};

struct big {
	long v[5];
};

static long run_closure(struct visit *v, int function, struct context *context, bool arguments_arrived);

#define AS_LONG(x) (x)
#define AS_DOUBLE(x) ((double)(x))
#define AS_BIG(x) big_of(x)

/* Of a function that hotpatch was not told of. */
#if defined(__clang__)
#define UNPREPARED __attribute__((noinline, weak, disable_tail_calls))
#else
#define UNPREPARED __attribute__((noipa, optimize("no-optimize-sibling-calls")))
#endif

/* The context is read first thing: the next closure called by this thread replaces it. */
#define DEFINE(name, ...) DEFINE_AS(HOTPATCHABLE, name, __VA_ARGS__)
#define DEFINE_AS(mark, name, id, type, make, parameters, begin, arrived)                                              \
	extern type name parameters, name##_1 parameters, name##_2 parameters, name##_3 parameters,                    \
		name##_4 parameters, name##_c parameters;                                                              \
	mark type name parameters                                                                                      \
	{                                                                                                              \
		begin return make(run(v, id, 0, (arrived)));                                                           \
	}                                                                                                              \
	HOTPATCH type name##_1 parameters                                                                              \
	{                                                                                                              \
		begin return make(run(v, id, 1, (arrived)));                                                           \
	}                                                                                                              \
	HOTPATCH type name##_2 parameters                                                                              \
	{                                                                                                              \
		begin return make(run(v, id, 2, (arrived)));                                                           \
	}                                                                                                              \
	HOTPATCH type name##_3 parameters                                                                              \
	{                                                                                                              \
		begin return make(run(v, id, 3, (arrived)));                                                           \
	}                                                                                                              \
	HOTPATCH type name##_4 parameters                                                                              \
	{                                                                                                              \
		begin return make(run(v, id, 4, (arrived)));                                                           \
	}                                                                                                              \
	HOTPATCH type name##_c parameters                                                                              \
	{                                                                                                              \
		struct context *context = hotpatch_context();                                                          \
		begin return make(run_closure(v, id, context, (arrived)));                                             \
	}

static struct big big_of(long stamp)
{
	return (struct big){{stamp, 2, 3, 4, ~stamp}};
}

static bool list_arrived(va_list list)
{
	bool arrived = va_arg(list, int) == 1;

	arrived = va_arg(list, double) == 2.5 && arrived;
	arrived = va_arg(list, long) == -3 && arrived;
	return arrived;
}

#define WIDE_PARAMETERS                                                                                                \
	(struct visit * v, int a, long b, short c, char d, int e, long f, long g, double h, double i, float j)
#define LIST_BEGIN                                                                                                     \
	va_list list;                                                                                                  \
	va_start(list, v);                                                                                             \
	bool there = list_arrived(list);                                                                               \
	va_end(list);

DEFINE(even, EVEN, long, AS_LONG, (struct visit * v), , true)
DEFINE(odd, ODD, double, AS_DOUBLE, (struct visit * v, double a), , a == 0.5)
DEFINE(wide, WIDE, long, AS_LONG, WIDE_PARAMETERS, ,
       a == 1 && b == 2 && c == 3 && d == 4 && e == 5 && f == 6 && g == 7 && h == 8 && i == 9 && j == 10)
DEFINE(text, TEXT, struct big, AS_BIG, (const char *a, struct visit *v), , strcmp(a, "soak") == 0)
DEFINE(loose, LOOSE, long, AS_LONG, (struct visit * v, ...), LIST_BEGIN, there)
DEFINE(looser, LOOSER, long, AS_LONG, (struct visit * v, struct big a), , a.v[0] == 7 && a.v[4] == ~7L)
DEFINE(loosest, LOOSEST, long, AS_LONG, (struct visit * v, __int128 a), , a == (__int128)5 << 90)
DEFINE_AS(UNPREPARED, plain, PLAIN, long, AS_LONG, (struct visit * v, double a), , a == 2.5)
DEFINE_AS(UNPREPARED, closed, CLOSED, struct big, AS_BIG, (struct visit * v, struct big a), ,
          a.v[0] == 8 && a.v[4] == ~8L)
DEFINE(forced, FORCED, double, AS_DOUBLE, (struct visit * v, long double a), , a == 6.25L)
DEFINE(left, LEFT, long, AS_LONG, (struct visit * v), , true)
DEFINE(right, RIGHT, long, AS_LONG, (struct visit * v, int a), , a == 77)

static long stamp_of(struct big big)
{
	return big.v[4] == ~big.v[0] ? big.v[0] : -1;
}

static long call(enum function_id id, struct visit *v)
{
	switch (id) {
	case EVEN:
		return even(v);
	case ODD:
		return (long)odd(v, 0.5);
	case WIDE:
		return wide(v, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
	case TEXT:
		return stamp_of(text("soak", v));
	case LOOSE:
		return loose(v, 1, 2.5, -3L);
	case LOOSER:
		return looser(v, big_of(7));
	case LOOSEST:
		return loosest(v, (__int128)5 << 90);
	case PLAIN:
		return plain(v, 2.5);
	case CLOSED:
		return stamp_of(closed(v, big_of(8)));
	case FORCED:
		return (long)forced(v, 6.25L);
	case LEFT:
		return left(v);
	case RIGHT:
		return right(v, 77);
	default:
		return -1;
	}
}

#define ROW(name)                                                                                                      \
	{                                                                                                              \
#name, (hotpatch_any)name, (hotpatch_any)name##_c,                                                     \
		{                                                                                                      \
			NULL, (hotpatch_any)name##_1, (hotpatch_any)name##_2, (hotpatch_any)name##_3,                  \
				(hotpatch_any)name##_4                                                                 \
		}                                                                                                      \
	}

static const struct function {
	const char *name;
	hotpatch_any entry, closure, body[BODIES + 1];
} functions[FUNCTIONS] = {
	ROW(even),    ROW(odd),   ROW(wide),   ROW(text),   ROW(loose), ROW(looser),
	ROW(loosest), ROW(plain), ROW(closed), ROW(forced), ROW(left),  ROW(right),
};

#endif
