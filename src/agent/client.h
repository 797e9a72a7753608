/* client - one connection to the agent: what has been read of its next request, and what it has not read of our answer.
 *
 *     nothing --bytes--> part of a frame --rest--> request answered --sent--> nothing
 *                              |                         |
 *                              +--- end of file, error --+--> gone, with what it had reserved
 *
 * Nothing here waits. A client that stops in the middle keeps its part of a frame, and no more memory than it has sent;
 * one that does not read its answer is not read from. When all places are taken the one that has been silent longest
 * makes room.
 */
#ifndef HP_AGENT_CLIENT_H
#define HP_AGENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "base/wire.h"

struct hp_client {
	struct hp_client *next;
	uint64_t id; /* whose reservations are whose */
	int fd;
	uint8_t *in; /* of the frame at hand */
	size_t n_in, in_capacity;
	struct hp_wire out;
	size_t sent;
	char waits[HP_WIRE_WAIT_MAX + 1]; /* for what, in its own words; "" for nothing */
	bool greeted;                     /* has said hello */
	bool holds;                       /* wants to know of crashes: crashes.h */
	bool closing;                     /* nothing it sends makes sense any more: goes when it has read why */
	uint64_t last;                    /* when something came or went, CLOCK_MONOTONIC, ns */
};

/* Takes a connection over; closes it where there is no memory for it. */
void hp_client_add(struct hp_agent *agent, int fd);

/* What poll(2) shall wait for. */
short hp_client_events(const struct hp_client *client);

/* Reads, answers and writes as far as that goes without waiting. False: it has gone. */
bool hp_client_serve(struct hp_agent *agent, struct hp_client *client, short events);

/* Whether somebody is at the other end: who closed a connection waits for nothing that it asked for. Does not wait, and
 * takes no lock; an hp_asker. */
bool hp_client_is_there(void *client);

/* Sends a frame that answers nothing: no more than its kind. False: the client has an answer to read first. */
bool hp_client_tell(struct hp_client *client, enum hp_wire_kind kind);

/* Ends the connection and gives back what it had reserved. */
void hp_client_remove(struct hp_agent *agent, struct hp_client *client);

#endif
