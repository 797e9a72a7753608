/* say.h - what the demo prints: calm text, with colour on a terminal only. */
#ifndef SAY_H
#define SAY_H

#include <stdbool.h>

void say_open(void);
void say_title(const char *title);
void say_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_call(const char *call); /* a call of hotpatch, as it stands in the source */
void say_line(const char *who, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says what was promised only when it was not kept, and remembers that. */
void say_promise(bool kept, const char *promise, ...) __attribute__((format(printf, 2, 3)));
bool say_all_kept(void);

#endif
