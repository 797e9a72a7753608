/* agent - one thread that serves the control socket of this process: doc/protocol.md.
 *
 *     hotpatch_serve(), or the environment of `hotpatch run`          hotpatch apply, list, ...
 *          |                                                             |
 *          v                                                             v
 *     agent thread: poll --> accept (socket.h) --> read a frame, answer it (client.h) --> handler (requests.h)
 *
 * The program is not to notice it. The thread blocks all signals but SIGTRAP; it has a table of file
 * descriptors of its own, so that the program's numbers stay as they were, close-all loops close nothing of ours and
 * children inherit nothing; it holds no lock between requests; and when it is the last thread that is left (all others
 * have called pthread_exit) it ends the process as that last thread would have.
 *
 * A child of fork gets a thread and a socket of its own. exec ends both; the socket's file goes at exit.
 */
#ifndef HP_AGENT_AGENT_H
#define HP_AGENT_AGENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/err.h"

struct hp_client;
struct hp_region;
struct hp_record;

enum { HP_AGENT_CLIENTS_MAX = 16 };

struct hp_agent {
	char given[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* what hotpatch_serve was told, or "" */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];  /* of the socket, once it listens */
	int listener;
	bool by_run;      /* started by the environment of `hotpatch run` */
	bool own_table;   /* its descriptors are no other thread's */
	uint64_t started; /* CLOCK_REALTIME, s */
	pthread_mutex_t
		lists; /* protects the lists below against fork alone: only the agent's thread uses them. Innermost. */
	struct hp_client *clients;
	struct hp_region *regions;
	struct hp_record *records; /* patches applied from outside, in order */
	uint64_t last_id;          /* of regions, patches and clients */
	size_t n_left, left_limit; /* reverted patches in the list; how many before they are looked at: leftovers.h */
};

/* Starts the agent; path NULL or "": where the command looks. 0 also where it runs already at that path;
 * HOTPATCH_ESTATE where it does at another. */
int hp_agent_start(const char *path, bool by_run, struct hp_err *err) HP_MUST_CHECK;

/* Wakes the agent of this process, so that it looks around. Async-signal-safe, and no point of cancellation. */
void hp_agent_knock(void);

#endif
