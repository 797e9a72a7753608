/* wire - bytes of a socket, on both sides: what a client may send to be applied, and what a process may answer.
 *
 *     scripts/fuzz wire 600
 *
 * The first byte chooses the reader: 'o' an order, 'f' frames as they are, others an answer to one kind of request. An
 * answer is sent three times, for the lists that come in parts. Handlers that act (they call code and map memory) are
 * tests/test_garbage.c's.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/order.h"
#include "agent/regions.h"
#include "base/wire.h"
#include "link/notes.h"
#include "remote/talk.h"

static void read_order(const uint8_t *bytes, size_t n)
{
	struct hp_region last = {.id = 2, .client = 7, .address = 0x2000, .size = 0x1000};
	struct hp_region first = {.id = 1, .address = 0x1000, .size = 0x1000, .next = &last};
	struct hp_agent agent = {.regions = &first};
	struct hp_exchange x = {.in = {bytes, bytes + n, false}, .agent = &agent};
	struct hp_order *order = calloc(1, sizeof(*order));

	if (hp_order_take(&x, order) == 0 && (order->n_changes > HP_WIRE_ITEMS_MAX || order->n_used > 1))
		abort();
	hp_order_free(order);
}

/* -- Answers ---------------------------------------------------------------------------------------------------- */

/* A connection whose other end has sent the bytes, as they are or as answers, and hung up. */
static struct hp_remote *remote_with(uint16_t kind, const uint8_t *bytes, size_t n)
{
	struct hp_remote *remote = calloc(1, sizeof(*remote));
	struct hp_wire wire = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		abort();
	for (uint32_t serial = 1; kind && serial <= 3; serial++) {
		hp_wire_begin(&wire, kind | HP_WIRE_REPLY, serial);
		uint8_t *at = hp_put_space(&wire, n);
		if (at && n)
			memcpy(at, bytes, n);
		if (hp_wire_end(&wire) && send(pair[1], wire.v, wire.n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	}
	if (!kind && n)
		(void)!send(pair[1], bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(pair[1], SHUT_WR);
	remote->fd = pair[0];
	remote->timeout_ms = 1000;
	remote->pid = dup(pair[1]); /* keeps that end open for the request; closed below */
	close(pair[1]);
	hp_wire_free(&wire);
	return remote;
}

static void read_notes(const void *bytes, size_t n)
{
	struct hp_notes *notes = NULL;
	struct hp_err err;
	void *again = NULL;
	size_t size;

	if (hp_notes_read(bytes, n, &notes, &err) == 0 && hp_notes_write(notes, &again, &size, &err) == 0) {
		if (size > n) /* strings end at their first NUL */
			abort();
		free(again);
	}
	hp_notes_free(notes);
}

static void ask_lists(struct hp_remote *remote, uint16_t kind)
{
	struct hp_remote_images images;
	struct hp_remote_patches patches;
	struct hp_remote_layers layers;
	struct hp_remote_crashes crashes;
	struct hp_remote_waits waits;
	struct hp_err err;
	void *notes;
	size_t size;

	if (kind == HP_WIRE_IMAGES && hp_remote_images(remote, &images, &err) == 0)
		hp_remote_images_free(&images);
	if (kind == HP_WIRE_PATCHES && hp_remote_patches(remote, &patches, &err) == 0)
		hp_remote_patches_free(&patches);
	if (kind == HP_WIRE_CHANGES && hp_remote_changes(remote, &layers, &err) == 0)
		hp_remote_layers_free(&layers);
	if (kind == HP_WIRE_CRASHES && hp_remote_crashes(remote, &crashes, &err) == 0)
		hp_remote_crashes_free(&crashes);
	if (kind == HP_WIRE_WAIT && hp_remote_wait(remote, "x", &waits, &err) == 0)
		hp_remote_waits_free(&waits);
	if (kind == HP_WIRE_NOTES && hp_remote_notes(remote, 1, &notes, &size, &err) == 0) {
		read_notes(notes, size);
		free(notes);
	}
}

static void ask_others(struct hp_remote *remote, uint16_t kind)
{
	char one[8], two[16];
	struct hp_remote_result result = {0};
	struct hp_remote_symbol symbols[] = {{.name = "f"}, {.name = "g", .version = "V"}};
	struct hp_remote_range ranges[] = {{.buffer = one, .size = sizeof(one)}, {.buffer = two, .size = sizeof(two)}};
	struct hp_remote_region region;
	struct hp_err err;

	if (kind == HP_WIRE_STATUS)
		(void)!hp_remote_status(remote, 1, 1, &result, &err);
	if (kind == HP_WIRE_APPLY)
		(void)!hp_remote_apply(remote, &(struct hp_remote_apply){.name = "x"}, &result, &err);
	if (kind == HP_WIRE_SYMBOLS)
		(void)!hp_remote_symbols(remote, symbols, 2, &err);
	if (kind == HP_WIRE_READ)
		(void)!hp_remote_read(remote, false, ranges, 2, &err);
	if (kind == HP_WIRE_RESERVE)
		(void)!hp_remote_reserve(remote, 0, 0, 1, &region, &err);
	hp_remote_result_free(&result);
}

static void read_answer(uint8_t which, const uint8_t *bytes, size_t n)
{
	uint16_t kind = which % HP_WIRE_KINDS;
	struct hp_remote *remote = remote_with(kind, bytes, n);

	ask_lists(remote, kind);
	ask_others(remote, kind);
	if (!kind) /* whatever its header says */
		ask_lists(remote, HP_WIRE_IMAGES);
	close(remote->pid);
	hp_remote_close(remote);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n == 0 || n > 20000)
		return 0;
	if (bytes[0] == 'o')
		read_order(bytes + 1, n - 1);
	else
		read_answer(bytes[0] == 'f' ? 0 : bytes[0], bytes + 1, n - 1);
	return 0;
}
