/* err - how internal code says what failed.
 *
 * A function that can fail returns 0 or a negative HOTPATCH_E* code and fills a struct hp_err: one sentence that says
 * what, 'which' and why. The outermost caller adds whether anything was changed. Nothing here allocates.
 */
#ifndef HP_BASE_ERR_H
#define HP_BASE_ERR_H

#include "hotpatch.h"

struct hp_err {
	int code;
	char text[768];
};

#define HP_MUST_CHECK __attribute__((warn_unused_result))

/* Fills err and returns code. err may be NULL. Not for signal handlers. */
#define hp_err_set(err, code, ...) hp_err_code(hp_err_fill(err, code, __VA_ARGS__))

/* The same with ": " and the text of the errno value `number` behind the sentence. */
#define hp_err_system(err, code, number, ...) hp_err_code(hp_err_fill_system(err, code, number, __VA_ARGS__))

int hp_err_fill(struct hp_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
int hp_err_fill_system(struct hp_err *err, int code, int number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* What failed is never 0: said here, where compilers and static analysers see it at every place that fails. */
static inline int hp_err_code(int code)
{
	return code < 0 ? code : HOTPATCH_ESYSTEM;
}

#endif
