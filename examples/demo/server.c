/* server.c - the worker threads of the tea house and their socket. */
#define _GNU_SOURCE /* pthread_setname_np */
#include "server.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { MAX_WORKERS = 16 };

static struct {
	int socket;
	struct sockaddr_un address;
	socklen_t address_size;
	unsigned n_workers;
	pthread_t worker[MAX_WORKERS];
} server;

static void serve(const struct order *order, const struct sockaddr_un *guest, socklen_t guest_size)
{
	struct answer answer = {.number = order->number};
	handle(order, &answer);
	bill(order, &answer);
	sendto(server.socket, &answer, sizeof(answer), 0, (const struct sockaddr *)guest, guest_size);
}

static void *worker_run(void *unused)
{
	for (;;) {
		struct order order;
		struct sockaddr_un guest;
		socklen_t guest_size = sizeof(guest);
		ssize_t size =
			recvfrom(server.socket, &order, sizeof(order), 0, (struct sockaddr *)&guest, &guest_size);
		if (size == 0) /* closing time */
			return unused;
		if (size == sizeof(order))
			serve(&order, &guest, guest_size);
	}
}

/* A socket whose name the kernel chooses: an address of no more than its family asks for that. */
static int socket_open(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (bind(fd, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int server_open(unsigned workers)
{
	server.socket = socket_open();
	if (server.socket < 0)
		return -1;
	server.address_size = sizeof(server.address);
	if (getsockname(server.socket, (struct sockaddr *)&server.address, &server.address_size) < 0)
		return -1;
	for (; server.n_workers < workers && server.n_workers < MAX_WORKERS; server.n_workers++) {
		errno = pthread_create(&server.worker[server.n_workers], NULL, worker_run, NULL);
		if (errno != 0)
			return -1;
		pthread_setname_np(server.worker[server.n_workers], "worker");
	}
	return 0;
}

int server_guest(void)
{
	int fd = socket_open();
	if (fd >= 0 && connect(fd, (struct sockaddr *)&server.address, server.address_size) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int server_ask(int guest, const struct order *order, struct answer *ret_answer)
{
	if (send(guest, order, sizeof(*order), 0) != sizeof(*order))
		return -1;
	return recv(guest, ret_answer, sizeof(*ret_answer), 0) == sizeof(*ret_answer) ? 0 : -1;
}

void server_close(void)
{
	int guest = server_guest();
	for (unsigned i = 0; i < server.n_workers; i++)
		send(guest, "", 0, 0);
	for (unsigned i = 0; i < server.n_workers; i++)
		pthread_join(server.worker[i], NULL);
	close(guest);
	close(server.socket);
}
