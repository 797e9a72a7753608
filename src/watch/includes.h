/* includes - what a translation unit is made of, as a compiler tells it: a rule for make (-M, -MD).
 *
 *     a.o: ../src/a.c \
 *      ../include/with\ space.h /usr/include/stdio.h       --->  names, as the compiler has them
 */
#ifndef HP_WATCH_INCLUDES_H
#define HP_WATCH_INCLUDES_H

/* The next name behind the colon, or NULL. rule is written to. *at is NULL at first. */
char *hp_includes_next(char *rule, char **at);

#endif
