#include "agent/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/regions.h"
#include "agent/requests.h"
#include "base/memory.h"

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* -- Coming and going -------------------------------------------------------------------------------------------- */

static void make_room(struct hp_agent *agent)
{
	struct hp_client *oldest = agent->clients;
	size_t n = 0;
	for (struct hp_client *client = agent->clients; client; client = client->next, n++)
		if (client->last < oldest->last)
			oldest = client;
	if (n >= HP_AGENT_CLIENTS_MAX)
		hp_client_remove(agent, oldest);
}

void hp_client_add(struct hp_agent *agent, int fd)
{
	struct hp_client *client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return;
	}
	make_room(agent);
	client->fd = fd;
	client->last = now();
	pthread_mutex_lock(&agent->lists);
	client->id = ++agent->last_id;
	client->next = agent->clients;
	agent->clients = client;
	pthread_mutex_unlock(&agent->lists);
}

void hp_client_remove(struct hp_agent *agent, struct hp_client *client)
{
	pthread_mutex_lock(&agent->lists);
	for (struct hp_client **at = &agent->clients; *at; at = &(*at)->next)
		if (*at == client) {
			*at = client->next;
			break;
		}
	pthread_mutex_unlock(&agent->lists);
	close(client->fd);
	hp_regions_release_all(agent, client->id);
	hp_wire_free(&client->out);
	free(client->in);
	free(client);
}

/* -- Reading ----------------------------------------------------------------------------------------------------- */

static bool has_unsent(const struct hp_client *client)
{
	return client->sent < client->out.n;
}

short hp_client_events(const struct hp_client *client)
{
	return has_unsent(client) ? POLLOUT : POLLIN;
}

/* How many bytes the frame at hand has, as far as that is known; 0: they begin no frame. */
static size_t frame_size(const struct hp_client *client)
{
	struct hp_wire_header header;
	if (client->n_in < HP_WIRE_HEADER)
		return HP_WIRE_HEADER;
	return hp_wire_header_read(client->in, &header) ? HP_WIRE_HEADER + (size_t)header.length : 0;
}

/* Memory is had for what has come, not for what was promised. */
static bool reserve(struct hp_client *client, size_t want)
{
	size_t capacity = client->in_capacity ? client->in_capacity : 4096;
	if (client->n_in < client->in_capacity)
		return true;
	if (client->in_capacity)
		capacity *= 2;
	if (capacity > want && want > client->n_in)
		capacity = want;
	uint8_t *grown = hp_memory_grow(client->in, client->n_in, capacity);
	if (!grown)
		return false;
	client->in = grown;
	client->in_capacity = capacity;
	return true;
}

enum progress { WAITING, WHOLE, GONE };

static enum progress read_frame(struct hp_client *client)
{
	for (;;) {
		size_t want = frame_size(client);
		if (want == 0 || (client->n_in >= HP_WIRE_HEADER && client->n_in == want))
			return WHOLE;
		if (!reserve(client, want))
			return GONE;
		size_t room = client->in_capacity - client->n_in, rest = want - client->n_in;
		ssize_t got = recv(client->fd, client->in + client->n_in, room < rest ? room : rest, MSG_DONTWAIT);
		if (got > 0)
			client->n_in += (size_t)got;
		else if (got < 0 && errno == EINTR)
			continue;
		else
			return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? WAITING : GONE;
		client->last = now();
	}
}

/* -- Writing ----------------------------------------------------------------------------------------------------- */

static bool write_answer(struct hp_client *client)
{
	while (has_unsent(client)) {
		ssize_t n = send(client->fd, client->out.v + client->sent, client->out.n - client->sent,
		                 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		client->sent += (size_t)n;
		client->last = now();
	}
	hp_wire_free(&client->out);
	client->sent = 0;
	return !client->closing;
}

static void keep_no_more_than(struct hp_client *client, size_t size)
{
	explicit_bzero(client->in, client->n_in); /* addresses of code: leftovers.h */
	client->n_in = 0;
	if (client->in_capacity <= size)
		return;
	free(client->in);
	client->in = NULL;
	client->in_capacity = 0;
}

bool hp_client_serve(struct hp_agent *agent, struct hp_client *client, short events)
{
	if (has_unsent(client) && !write_answer(client))
		return false;
	if (has_unsent(client))
		return !(events & (POLLERR | POLLNVAL)); /* it may have closed its writing half only */
	switch (read_frame(client)) {
	case WAITING:
		return true;
	case GONE:
		return false;
	default:
		hp_request_answer(agent, client);
		client->sent = 0;
		keep_no_more_than(client, 65536);
		return write_answer(client);
	}
}
