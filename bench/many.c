/* many.c - 10,000 functions, written by the preprocessor.
 *
 * No two are alike, so that no compiler or linker makes one of them. Of further definitions there are 1,000 of each
 * kind, and ten functions share one: a compiler takes a millisecond for each function, however small it is.
 */
#include "many.h"

#include "hotpatch.h"

/* clang-format off */
/* each(t, n) for n from prefix 0 to prefix 9, 00 to 99, 000 to 999; t is handed on. */
#define TEN(each, t, n)                                                                                                \
	each(t, n##0) each(t, n##1) each(t, n##2) each(t, n##3) each(t, n##4)                                          \
	each(t, n##5) each(t, n##6) each(t, n##7) each(t, n##8) each(t, n##9)
#define HUNDRED(each, t, n)                                                                                            \
	TEN(each, t, n##0) TEN(each, t, n##1) TEN(each, t, n##2) TEN(each, t, n##3) TEN(each, t, n##4)                 \
	TEN(each, t, n##5) TEN(each, t, n##6) TEN(each, t, n##7) TEN(each, t, n##8) TEN(each, t, n##9)
#define THOUSAND(each, t)                                                                                              \
	HUNDRED(each, t, 0) HUNDRED(each, t, 1) HUNDRED(each, t, 2) HUNDRED(each, t, 3) HUNDRED(each, t, 4)            \
	HUNDRED(each, t, 5) HUNDRED(each, t, 6) HUNDRED(each, t, 7) HUNDRED(each, t, 8) HUNDRED(each, t, 9)
#define TEN_THOUSAND(each)                                                                                             \
	THOUSAND(each, 0) THOUSAND(each, 1) THOUSAND(each, 2) THOUSAND(each, 3) THOUSAND(each, 4)                      \
	THOUSAND(each, 5) THOUSAND(each, 6) THOUSAND(each, 7) THOUSAND(each, 8) THOUSAND(each, 9)
/* clang-format on */

#define DEFINE(t, n)                                                                                                   \
	HOTPATCHABLE int many_##t##n(int x)                                                                            \
	{                                                                                                              \
		return x + 1##t##n;                                                                                    \
	}
#define DEFINE_BODIES(t, n)                                                                                            \
	HOTPATCH int many_one_##n(int x)                                                                               \
	{                                                                                                              \
		return x + 2##n;                                                                                       \
	}                                                                                                              \
	HOTPATCH int many_two_##n(int x)                                                                               \
	{                                                                                                              \
		return x + 3##n;                                                                                       \
	}
#define LIST(t, n) {"many_" #t #n, many_##t##n, {many_one_##n, many_two_##n}},

/* clang-format off */
#ifdef TRIAL /* 1,000 of 0 to 999: a compiler takes eight seconds for all of them */
THOUSAND(DEFINE, 0)
THOUSAND(DEFINE_BODIES, )

const struct many many[] = {THOUSAND(LIST, 0)};
#else
TEN_THOUSAND(DEFINE)
THOUSAND(DEFINE_BODIES, )

const struct many many[] = {TEN_THOUSAND(LIST)};
#endif
const unsigned n_many = sizeof(many) / sizeof(many[0]);
