/* wire - bytes of a socket, on both sides: what a client may send to be applied, and what a process may answer.
 *
 *     scripts/fuzz wire 600
 *
 * The first byte chooses the reader. Handlers that act (they call code and map memory) are tests/test_garbage.c's.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/order.h"
#include "base/wire.h"
#include "remote/talk.h"

static void read_order(const uint8_t *bytes, size_t n)
{
	struct hp_exchange x = {.in = {bytes, bytes + n, false}};
	struct hp_order *order = calloc(1, sizeof(*order));
	if (hp_order_take(&x, order) == 0 && order->n_changes > HP_WIRE_ITEMS_MAX)
		abort();
	hp_order_free(order);
}

/* A connection whose other end has sent one answer to the first request, and hung up. */
static struct hp_remote *remote_with(uint16_t kind, const uint8_t *bytes, size_t n)
{
	struct hp_remote *remote = calloc(1, sizeof(*remote));
	struct hp_wire wire = {0};
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	hp_wire_begin(&wire, kind | HP_WIRE_REPLY, 1);
	uint8_t *at = hp_put_space(&wire, n);
	if (at && n)
		memcpy(at, bytes, n);
	if (!hp_wire_end(&wire) || send(pair[1], wire.v, wire.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		n = 0;
	shutdown(pair[1], SHUT_WR);
	remote->fd = pair[0];
	remote->timeout_ms = 1000;
	remote->pid = dup(pair[1]); /* keeps that end open for the request; closed below */
	close(pair[1]);
	hp_wire_free(&wire);
	return remote;
}

static void read_answer(uint8_t which, const uint8_t *bytes, size_t n)
{
	static const uint16_t kinds[] = {HP_WIRE_IMAGES, HP_WIRE_PATCHES, HP_WIRE_CHANGES,
	                                 HP_WIRE_STATUS, HP_WIRE_NOTES,   HP_WIRE_APPLY};
	uint16_t kind = kinds[which % (sizeof(kinds) / sizeof(*kinds))];
	struct hp_remote *remote = remote_with(kind, bytes, n);
	struct hp_remote_images images;
	struct hp_remote_patches patches;
	struct hp_remote_layers layers;
	struct hp_remote_result result = {0};
	struct hp_err err;
	void *notes;
	size_t size;
	if (kind == HP_WIRE_IMAGES && hp_remote_images(remote, &images, &err) == 0)
		hp_remote_images_free(&images);
	else if (kind == HP_WIRE_PATCHES && hp_remote_patches(remote, &patches, &err) == 0)
		hp_remote_patches_free(&patches);
	else if (kind == HP_WIRE_CHANGES && hp_remote_changes(remote, &layers, &err) == 0)
		hp_remote_layers_free(&layers);
	else if (kind == HP_WIRE_NOTES && hp_remote_notes(remote, 1, &notes, &size, &err) == 0)
		free(notes);
	else if (kind == HP_WIRE_STATUS)
		(void)!hp_remote_status(remote, 1, 1, &result, &err);
	else if (kind == HP_WIRE_APPLY)
		(void)!hp_remote_apply(remote, &(struct hp_remote_apply){.name = "x"}, &result, &err);
	hp_remote_result_free(&result);
	close(remote->pid);
	hp_remote_close(remote);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n == 0 || n > 60000)
		return 0;
	if (bytes[0] % 2)
		read_order(bytes + 1, n - 1);
	else
		read_answer(bytes[0] / 2, bytes + 1, n - 1);
	return 0;
}
