/* session.h - `hotpatch watch --json` of a project, from here: what it says, and the keys it is given. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <jansson.h>
#include <stdio.h>

#include "project.h"

struct session {
	int pid, keys;
	int program; /* its process */
	FILE *events;
};

/* hotpatch: the command. option: one more, or NULL. Returns when it watches. */
struct session session_begin(const struct project *project, const char *hotpatch, const char *option);

/* Ends the program, and so the watch. */
void session_end(struct session *session);

void session_press(const struct session *session, const char *keys);

/* The next event of that name, or of the other (NULL: there is none); those before it are passed over. An error, a
 * source that fails or the end of the session ends the benchmark. */
json_t *session_event(const struct session *session, const char *name, const char *other);

#endif
