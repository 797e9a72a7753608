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
int hp_err_set(struct hp_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with ": " and the text of the errno value `number` behind the sentence. */
int hp_err_system(struct hp_err *err, int code, int number, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
