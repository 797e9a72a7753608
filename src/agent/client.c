#include "agent/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/regions.h"
#include "agent/requests.h"
#include "arch/arch.h"
#include "base/memory.h"

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* -- Without memory -------------------------------------------------------------------------------------------------
 *
 * An answer to no request, from the stack: why the connection ends now. Whoever has asked learns that nothing was done.
 */

static void say_no_memory(int fd)
{
	uint8_t room[256];
	struct hp_wire words = {.v = room, .capacity = sizeof(room)};
	hp_wire_begin(&words, HP_WIRE_REPLY, 0);
	hp_put(&words, (uint32_t)HOTPATCH_ENOMEM, 4);
	hp_put(&words, 0, 1);
	hp_put_str(&words, "the process has no memory left for a request of the agent's (RLIMIT_AS?)");
	hp_put(&words, 0, 4);
	if (hp_wire_end(&words))
		(void)!send(fd, words.v, words.n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Before anything is done for a request: that there is room to answer it. */
static bool ready_answer(struct hp_client *client)
{
	hp_wire_begin(&client->out, 0, 0);
	return !client->out.bad;
}

/* -- Coming and going -------------------------------------------------------------------------------------------- */

/* One that holds is silent as long as nothing happens. */
static bool goes_before(const struct hp_client *a, const struct hp_client *b)
{
	return a->holds == b->holds ? a->last < b->last : b->holds;
}

static void make_room(struct hp_agent *agent)
{
	struct hp_client *oldest = agent->clients;
	size_t n = 0;
	for (struct hp_client *client = agent->clients; client; client = client->next, n++)
		if (goes_before(client, oldest))
			oldest = client;
	if (n >= HP_AGENT_CLIENTS_MAX)
		hp_client_remove(agent, oldest);
}

void hp_client_add(struct hp_agent *agent, int fd)
{
	struct hp_client *client = calloc(1, sizeof(*client));
	if (!client) {
		say_no_memory(fd);
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

/* shutdown(2) of its writing alone is no end: it may wait for the answer. */
bool hp_client_is_there(void *client)
{
	struct pollfd item = {((const struct hp_client *)client)->fd, 0, 0};
	struct timespec none = {0};
	return hp_syscall(SYS_ppoll, (long)&item, 1, (long)&none, 0, 0, 0) <= 0;
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

enum progress { WAITING, WHOLE, STARVED, GONE };

static enum progress read_frame(struct hp_client *client)
{
	for (;;) {
		size_t want = frame_size(client);
		if (want == 0 || (client->n_in >= HP_WIRE_HEADER && client->n_in == want))
			return WHOLE;
		if (!reserve(client, want))
			return STARVED;
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

bool hp_client_tell(struct hp_client *client, enum hp_wire_kind kind)
{
	if (has_unsent(client))
		return false;
	hp_wire_begin(&client->out, (uint16_t)(kind | HP_WIRE_REPLY), 0);
	if (!hp_wire_end(&client->out)) {
		hp_wire_free(&client->out);
		return false;
	}
	client->sent = 0;
	(void)!write_answer(client); /* one that has gone is seen to be when it is read from */
	return true;
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
	enum progress progress = read_frame(client);
	if (progress == WHOLE && !ready_answer(client))
		progress = STARVED;
	switch (progress) {
	case WAITING:
		return true;
	case STARVED:
		say_no_memory(client->fd);
		return false;
	case GONE:
		return false;
	default:
		hp_request_answer(agent, client);
		client->sent = 0;
		keep_no_more_than(client, 65536);
		return write_answer(client);
	}
}
