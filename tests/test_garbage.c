/* test_garbage - clients that send garbage, stop in the middle, vanish at any byte, or never read: the program and
 * other clients go on, and nothing is left. Seen to fail: with frames longer than the bound let through, with reading
 * that waits (MSG_DONTWAIT left out: stop_in_the_middle), without make_room (crowd), without hp_regions_release_all
 * (cut).
 */
#include "agent_target.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/wire.h"
#include "remote/client.h"

static struct target target;
static struct hp_err err;

static int raw_connect(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/hotpatch/%d.sock", runtime_folder, (int)target.pid);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* The agent answers somebody else, and the program its line. */
static void all_is_well(void)
{
	struct hp_remote *remote;
	struct hp_remote_patches patches;
	struct hp_remote_layers layers;
	if (hp_remote_open(target.pid, 5000, &remote, &err) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(hp_remote_patches(remote, &patches, &err), 0);
	assert_int_equal(patches.n, 0);
	hp_remote_patches_free(&patches);
	assert_int_equal(hp_remote_changes(remote, &layers, &err), 0);
	assert_int_equal(layers.n, 0);
	hp_remote_layers_free(&layers);
	hp_remote_close(remote);
	assert_string_equal(target_ask(&target, ""), "1 2 5 7");
}

static size_t count_mappings(void)
{
	char path[64], line[512];
	size_t n = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)target.pid);
	FILE *maps = fopen(path, "r");
	while (fgets(line, sizeof(line), maps))
		n++;
	fclose(maps);
	return n;
}

static size_t hello_frame(struct hp_wire *wire)
{
	hp_wire_begin(wire, HP_WIRE_HELLO, 1);
	hp_put(wire, HP_WIRE_VERSION, 4);
	hp_put_str(wire, "garbage");
	assert_true(hp_wire_end(wire));
	return wire->n;
}

static void send_all(int fd, const void *bytes, size_t n)
{
	for (size_t sent = 0; sent < n;) {
		ssize_t part = send(fd, (const char *)bytes + sent, n - sent, MSG_NOSIGNAL);
		if (part <= 0)
			return;
		sent += (size_t)part;
	}
}

/* An answer's code; 1 when the agent has hung up. */
static int receive_code(int fd)
{
	uint8_t header[HP_WIRE_HEADER];
	struct hp_wire_header read;
	int32_t code = 0;
	struct timeval patience = {10, 0};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (recv(fd, header, sizeof(header), MSG_WAITALL) != sizeof(header))
		return 1;
	assert_true(hp_wire_header_read(header, &read));
	uint8_t *body = malloc(read.length + 1);
	assert_int_equal(recv(fd, body, read.length, MSG_WAITALL), read.length);
	memcpy(&code, body, 4);
	free(body);
	return code;
}

static void greet(int fd)
{
	struct hp_wire wire = {0};
	send_all(fd, wire.v, 0);
	hello_frame(&wire);
	send_all(fd, wire.v, wire.n);
	hp_wire_free(&wire);
	assert_int_equal(receive_code(fd), 0);
}

/* -- What is sent -------------------------------------------------------------------------------------------------- */

static void not_a_frame(void **state)
{
	static const uint8_t frames[][HP_WIRE_HEADER] = {
		{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0}, /* too long */
		{0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0},             /* the zero that is none */
		{0, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0},          /* an answer */
	};
	(void)state;
	for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
		int fd = raw_connect();
		send_all(fd, frames[i], HP_WIRE_HEADER);
		assert_int_equal(receive_code(fd), HOTPATCH_EINVAL);
		assert_int_equal(receive_code(fd), 1); /* and hangs up */
		close(fd);
	}
	all_is_well();
}

static void unknown_kinds(void **state)
{
	(void)state;
	int fd = raw_connect();
	uint8_t frame[HP_WIRE_HEADER] = {0, 0, 0, 0, HP_WIRE_PATCHES};
	send_all(fd, frame, sizeof(frame)); /* before the hello */
	assert_int_equal(receive_code(fd), HOTPATCH_ESTATE);
	greet(fd);
	for (int kind = HP_WIRE_KINDS; kind < 300; kind++) {
		frame[4] = (uint8_t)kind;
		frame[5] = (uint8_t)(kind >> 8);
		send_all(fd, frame, sizeof(frame));
		assert_int_equal(receive_code(fd), HOTPATCH_ENOTSUP);
	}
	close(fd);
	fd = raw_connect();
	struct hp_wire wire = {0};
	hp_wire_begin(&wire, HP_WIRE_HELLO, 1);
	hp_put(&wire, 77, 4);
	hp_put_str(&wire, "from the future");
	hp_wire_end(&wire);
	send_all(fd, wire.v, wire.n);
	assert_int_equal(receive_code(fd), HOTPATCH_ENOTSUP);
	hp_wire_free(&wire);
	close(fd);
	all_is_well();
}

static uint64_t seed = 88172645463325252u;

static uint64_t chance(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Bodies of every kind made of chance, with lengths and counts that lie now and then. Each is answered, by whatever
 * code; none is believed. Requests that would make this process call code, or take memory by the gigabyte, are bounded
 * by what chance can hit: addresses are 64 random bits. */
static void random_bodies(void **state)
{
	(void)state;
	int fd = raw_connect();
	greet(fd);
	for (int i = 0; i < 4000; i++) {
		uint16_t kind = (uint16_t)(HP_WIRE_IMAGES + chance() % (HP_WIRE_NOTES - HP_WIRE_IMAGES + 1));
		uint32_t n = (uint32_t)(chance() % 200);
		struct hp_wire wire = {0};
		hp_wire_begin(&wire, kind, (uint32_t)i);
		for (uint32_t k = 0; k < n; k++)
			hp_put(&wire, chance() % 3 ? chance() % 3 : chance(), 1);
		hp_wire_end(&wire);
		send_all(fd, wire.v, wire.n);
		assert_int_not_equal(receive_code(fd), 1);
		hp_wire_free(&wire);
	}
	close(fd);
	all_is_well();
}

/* -- How it is sent ------------------------------------------------------------------------------------------------ */

/* A whole conversation cut at every byte: hello, a reservation, a request to apply. */
static void cut_at_every_byte(void **state)
{
	struct hp_wire wires[3] = {{0}};
	uint8_t bytes[1024];
	size_t n = 0, mappings;
	(void)state;
	hello_frame(&wires[0]);
	hp_wire_begin(&wires[1], HP_WIRE_RESERVE, 2);
	hp_put(&wires[1], 0, 8);
	hp_put(&wires[1], 0, 8);
	hp_put(&wires[1], 65536, 8);
	hp_wire_end(&wires[1]);
	hp_wire_begin(&wires[2], HP_WIRE_REVERT, 3);
	hp_put(&wires[2], 0, 8);
	hp_put_str(&wires[2], "nothing");
	hp_put(&wires[2], 0, 9 - 8);
	hp_put(&wires[2], 0, 4);
	hp_put(&wires[2], 0, 4);
	hp_wire_end(&wires[2]);
	for (int i = 0; i < 3; i++) {
		memcpy(bytes + n, wires[i].v, wires[i].n);
		n += wires[i].n;
		hp_wire_free(&wires[i]);
	}
	all_is_well();
	mappings = count_mappings();
	for (size_t cut = 0; cut <= n; cut++) {
		int fd = raw_connect();
		send_all(fd, bytes, cut);
		close(fd);
	}
	all_is_well();
	for (int i = 0; i < 500 && count_mappings() > mappings; i++)
		usleep(10000);
	assert_true(count_mappings() <= mappings);
}

static void stop_in_the_middle(void **state)
{
	int fds[10];
	struct hp_wire wire = {0};
	(void)state;
	hello_frame(&wire);
	for (int i = 0; i < 10; i++) {
		fds[i] = raw_connect();
		send_all(fds[i], wire.v, (size_t)i + 1);
	}
	all_is_well();
	for (int i = 0; i < 10; i++) { /* and they may go on whenever they like */
		send_all(fds[i], wire.v + i + 1, wire.n - (size_t)i - 1);
		assert_int_equal(receive_code(fds[i]), 0);
		close(fds[i]);
	}
	hp_wire_free(&wire);
	all_is_well();
}

/* Asks and asks for three megabytes, and reads none of it. */
static void never_read(void **state)
{
	struct hp_wire wire = {0};
	(void)state;
	int fd = raw_connect();
	greet(fd);
	hp_wire_begin(&wire, HP_WIRE_READ, 5);
	hp_put(&wire, 0, 1);
	hp_put(&wire, 1, 4);
	hp_put(&wire, (uintptr_t)target_ask, 8); /* wherever that is there */
	hp_put(&wire, 3 << 20, 4);
	hp_wire_end(&wire);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 100000; i++)
		if (send(fd, wire.v, wire.n, MSG_NOSIGNAL) < 0)
			break;
	all_is_well();
	close(fd);
	hp_wire_free(&wire);
	all_is_well();
}

/* More clients than there are places: the silent ones make room. */
static void crowd(void **state)
{
	int fds[100];
	(void)state;
	for (int i = 0; i < 100; i++)
		fds[i] = raw_connect();
	all_is_well();
	for (int i = 0; i < 100; i++)
		close(fds[i]);
	all_is_well();
}

/* -- Who listens, and where ---------------------------------------------------------------------------------------- */

/* A folder, or a socket's place, that somebody else could have prepared: the program starts without an agent. */
static void hostile_folder(void **state)
{
	char folder[128], path[192];
	struct target other;
	struct hp_remote *remote;
	(void)state;
	snprintf(folder, sizeof(folder), "%s/other", runtime_folder);
	assert_int_equal(mkdir(folder, 0700), 0);
	setenv("XDG_RUNTIME_DIR", folder, 1);
	snprintf(path, sizeof(path), "%s/hotpatch", folder);
	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(chmod(path, 0777), 0);
	target_start(&other);
	snprintf(path, sizeof(path), "%s/hotpatch/%d.sock", folder, (int)other.pid);
	assert_int_equal(access(path, F_OK), -1); /* not there; it is in the next place */
	if (hp_remote_open(other.pid, 5000, &remote, &err) == 0)
		hp_remote_close(remote);
	assert_int_equal(target_end(&other), 0);
	snprintf(path, sizeof(path), "%s/hotpatch", folder);
	rmdir(path);
	assert_int_equal(symlink("/tmp", path), 0);
	target_start(&other);
	snprintf(path, sizeof(path), "/tmp/%d.sock", (int)other.pid);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(target_end(&other), 0);
	setenv("XDG_RUNTIME_DIR", runtime_folder, 1);
}

static int set_up(void **state)
{
	(void)state;
	target_start(&target);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(target_end(&target), 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "target") == 0)
		return be_target();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_a_frame),
		cmocka_unit_test(unknown_kinds),
		cmocka_unit_test(random_bodies),
		cmocka_unit_test(cut_at_every_byte),
		cmocka_unit_test(stop_in_the_middle),
		cmocka_unit_test(never_read),
		cmocka_unit_test(crowd),
		cmocka_unit_test(hostile_folder),
	};
	signal(SIGPIPE, SIG_IGN);
	make_runtime_folder();
	int failed = cmocka_run_group_tests(tests, set_up, tear_down);
	remove_runtime_folder();
	return failed;
}
