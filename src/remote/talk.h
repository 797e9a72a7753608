/* talk - a connection to the agent of a process: finding its socket, asking, and being answered.
 *
 * The agent's thread is named "hotpatch", and /proc/PID/task/TID/fd tells its sockets, /proc/PID/net/unix their paths:
 * so it is found wherever it listens. Where /proc does not tell, the places of agent/socket.h are tried. Paths are
 * those that the process sees, so they are opened below /proc/PID/root; and who answers must be that process
 * (SO_PEERCRED).
 *
 * Nothing waits without a deadline. What comes from the process is not trusted: every number passes the cursor.
 */
#ifndef HP_REMOTE_TALK_H
#define HP_REMOTE_TALK_H

#include "base/wire.h"
#include "remote/client.h"
#include "remote/kept.h"

struct hp_remote {
	pid_t pid;
	int fd;
	bool broken; /* what comes next is not the answer to what is asked next */
	unsigned timeout_ms;
	int stop;      /* a descriptor: once it can be read, no answer is waited for any more; -1 */
	bool has_news; /* a frame came that answers nothing: hp_remote_take_news */
	uint32_t serial;
	struct hp_remote_hello hello;
	struct hp_wire out;    /* the request */
	uint8_t *in;           /* the answer's body */
	struct hp_cursor body; /* behind its code */
	struct hp_kept_files kept;
};

/* A connection. HOTPATCH_EGONE: there is no such process. HOTPATCH_ENOFILE: it has no agent. ESYSTEM: it
 * has one that does not let us in. */
int hp_talk_connect(pid_t pid, int *ret_fd, struct hp_err *err) HP_MUST_CHECK;

/* Begins a request, whose body is then put into what is returned. */
struct hp_wire *hp_talk_begin(struct hp_remote *remote, enum hp_wire_kind kind);

/* Sends what was begun; then remote->body is what the answer holds behind its code. An answer that something failed is
 * the call's failure, in the agent's words, with who was in the way in *result, unless that is NULL. more_ms: what the
 * agent may take beyond the connection's time. */
int hp_talk_ask(struct hp_remote *remote, unsigned more_ms, struct hp_remote_result *result,
                struct hp_err *err) HP_MUST_CHECK;

/* Whether the answer had all that was taken from it, and no more. */
int hp_talk_end(struct hp_remote *remote, struct hp_err *err) HP_MUST_CHECK;

/* Whether the frame that these bytes begin is one of those. */
bool hp_talk_is_news(const uint8_t bytes[HP_WIRE_HEADER]);

/* The answer makes no sense: the connection is of no use any more. */
int hp_talk_nonsense(struct hp_remote *remote, struct hp_err *err);

/* Threads in the way, as an answer holds them; bad when they make no sense or there is no memory. */
void hp_talk_take_blockers(struct hp_cursor *c, struct hp_remote_result *result);

/* -- What lists are made of -- */

/* A copy of the string that comes next; NULL without memory. */
char *hp_talk_take_string(struct hp_cursor *c);

/* Room for n more items of an array, all zero. */
bool hp_talk_grow(void **array, size_t n_now, size_t n, size_t size);

/* Lists come in parts: asks for the one that begins at `first`. */
int hp_talk_ask_part(struct hp_remote *remote, enum hp_wire_kind kind, size_t first, struct hp_err *err) HP_MUST_CHECK;

/* How long the whole and this part are: false where it makes no sense, or brings nothing although there is more. */
bool hp_talk_take_part(struct hp_cursor *c, size_t first, uint32_t *ret_total, uint32_t *ret_n, size_t item_size);

int hp_talk_no_memory(struct hp_err *err);

#endif
