/* load.h - what a program under load is asked through. load.c asks; one load_NAME.c is linked to it and answers. */
#ifndef REAL_LOAD_H
#define REAL_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* One for each thread. where: what the command line names. NULL, with a message on standard error, where that fails. */
void *load_open(const char *where);

/* The answer as a line, or what went wrong as one: it is then no answer that anybody expects. False where the session
 * is over. */
bool load_ask(void *session, const char *question, char *answer, size_t room);

void load_close(void *session);

/* A descriptor that is read and written, as two streams: one that does both would have to be told at every turn. */
struct load_stream {
	FILE *from, *to;
};

/* False where memory is out; the descriptor is closed then. */
bool load_stream_open(struct load_stream *stream, int fd);
void load_stream_close(struct load_stream *stream);

/* answer is cut to room, and line ends in it become spaces. */
void load_answer(char *answer, size_t room, const char *text, size_t length);

#endif
