/* watched - the program whose sources are watched: started, or found among the processes, and its agent.
 *
 *     hp_watched_start   a child with the runtime preloaded; its end is told by pidfd
 *     hp_watched_find    any process; an agent is put in where there is none
 */
#ifndef HP_WATCH_WATCHED_H
#define HP_WATCH_WATCHED_H

#include <stdbool.h>
#include <sys/types.h>

#include "remote/client.h"

struct hp_watched {
	pid_t pid;
	int pidfd;
	bool is_ours; /* a child */
	bool has_ended;
	const char *library;
	char name[64];
	struct hp_remote *remote; /* NULL: not connected */
	struct hp_remote *holder; /* nothing is asked on it, so that none that is late breaks it */
	bool is_attached;         /* an agent was put in */
	bool holds;               /* threads that crash in reloaded code are to be kept */
	double stopped_ms;
	int status; /* of the child, when it has ended: exit status, or 128 + signal */
};

/* library: libhotpatch.so.0; lives longer. keeps_input: it reads what we would, else nothing. HOTPATCH_ENOFILE. */
int hp_watched_start(struct hp_watched *watched, char **words, const char *library, bool keeps_input,
                     struct hp_err *err) HP_MUST_CHECK;
int hp_watched_find(struct hp_watched *watched, pid_t pid, const char *library, struct hp_err *err) HP_MUST_CHECK;

/* Makes sure of a connection: again after one broke. HOTPATCH_EGONE, and those of hp_remote_open and hp_attach. */
int hp_watched_connect(struct hp_watched *watched, struct hp_err *err) HP_MUST_CHECK;

/* Takes what the agent has told, and notes that it has gone; true: there were crashes. */
bool hp_watched_take_news(struct hp_watched *watched);

/* Whether it has ended. Of a child, how: status. */
bool hp_watched_has_ended(struct hp_watched *watched);

/* It runs on. */
void hp_watched_leave(struct hp_watched *watched);

#endif
