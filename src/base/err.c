#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hp_err_fill(struct hp_err *err, int code, const char *format, ...)
{
	if (err) {
		va_list args;
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
		err->code = code;
	}
	return code;
}

int hp_err_fill_system(struct hp_err *err, int code, int number, const char *format, ...)
{
	if (err) {
		va_list args;
		va_start(args, format);
		vsnprintf(err->text, sizeof(err->text), format, args);
		va_end(args);
		size_t used = strlen(err->text);
		/* NOLINTNEXTLINE(concurrency-mt-unsafe): known numbers are constant texts, others each thread's own */
		snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(number));
		err->code = code;
	}
	return code;
}
