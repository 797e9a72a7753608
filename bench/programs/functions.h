/* functions.h - EACH_FUNCTION(X): X(n) for every n of the functions of functions.c, 0000 to 9999.
 *
 * N_FUNCTIONS is 10 or 10000. An n is four digits, to be part of a name: function_0042.
 */
#ifndef BENCH_FUNCTIONS_H
#define BENCH_FUNCTIONS_H

#define TEN(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7) X(n##8) X(n##9)
#define HUNDRED(X, n)                                                                                                  \
	TEN(X, n##0)                                                                                                   \
	TEN(X, n##1)                                                                                                   \
	TEN(X, n##2) TEN(X, n##3) TEN(X, n##4) TEN(X, n##5) TEN(X, n##6) TEN(X, n##7) TEN(X, n##8) TEN(X, n##9)
#define THOUSAND(X, n)                                                                                                 \
	HUNDRED(X, n##0)                                                                                               \
	HUNDRED(X, n##1)                                                                                               \
	HUNDRED(X, n##2)                                                                                               \
	HUNDRED(X, n##3)                                                                                               \
	HUNDRED(X, n##4) HUNDRED(X, n##5) HUNDRED(X, n##6) HUNDRED(X, n##7) HUNDRED(X, n##8) HUNDRED(X, n##9)

#if N_FUNCTIONS == 10
#define EACH_FUNCTION(X) TEN(X, 000)
#elif N_FUNCTIONS == 10000
#define EACH_FUNCTION(X)                                                                                               \
	THOUSAND(X, 0)                                                                                                 \
	THOUSAND(X, 1)                                                                                                 \
	THOUSAND(X, 2)                                                                                                 \
	THOUSAND(X, 3) THOUSAND(X, 4) THOUSAND(X, 5) THOUSAND(X, 6) THOUSAND(X, 7) THOUSAND(X, 8) THOUSAND(X, 9)
#else
#error N_FUNCTIONS is to be 10 or 10000
#endif

#define DECLARE(n) int function_##n(int x);
EACH_FUNCTION(DECLARE)
#undef DECLARE

#endif
