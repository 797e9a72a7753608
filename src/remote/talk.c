#include "remote/talk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "remote/process.h"

/* A search under way: the first failure that is more than "nothing is there" is kept to be told. */
struct search {
	pid_t pid;
	int fd;     /* of the connection; -1 */
	int number; /* errno of the best failure */
	char path[256];
};

/* -- Finding it: one path
 * ---------------------------------------------------------------------------------------------------- */

static bool is_of(int fd, pid_t pid)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == pid;
}

/* The folder as the process sees it, or as we do where its root is hidden from us. */
static int open_folder(pid_t pid, const char *path, size_t n)
{
	char text[512];
	snprintf(text, sizeof(text), "/proc/%d/root%.*s/", (int)pid, (int)n, path);
	int folder = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0 && (errno == EACCES || errno == EPERM)) {
		snprintf(text, sizeof(text), "%.*s/", (int)n, path);
		folder = open(text, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return folder;
}

/* By the folder's descriptor, since a socket's address has no room for long paths. */
static int connect_in(int folder, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {5, 0}; /* when many come at once */
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folder, name);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (fd >= 0 && n < (int)sizeof(address.sun_path) &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int number = n < (int)sizeof(address.sun_path) ? errno : ENAMETOOLONG;
	if (fd >= 0)
		close(fd);
	errno = number;
	return -1;
}

/* True: the search is over. */
static bool try_path(struct search *search, const char *path)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? open_folder(search->pid, path, (size_t)(slash - path)) : -1;
	int fd = folder >= 0 ? connect_in(folder, slash + 1) : -1;
	int number = slash ? errno : ENOENT;
	if (folder >= 0)
		close(folder);
	if (fd >= 0 && is_of(fd, search->pid)) {
		search->fd = fd;
		return true;
	}
	if (fd >= 0) {
		close(fd);
		number = EPERM; /* another process in its place */
	}
	if (number != ENOENT && number != ENOTDIR && number != ECONNREFUSED && !search->number) {
		search->number = number;
		snprintf(search->path, sizeof(search->path), "%s", path);
	}
	return false;
}

/* -- By the agent's thread --------------------------------------------------------------------------------------- */

static bool thread_is_agent(pid_t pid, const char *tid)
{
	char path[300], name[32];
	snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, tid);
	FILE *file = fopen(path, "re");
	bool is = file && fgets(name, sizeof(name), file) && strcmp(name, "hotpatch\n") == 0;
	if (file)
		fclose(file);
	return is;
}

/* "Num RefCount Protocol Flags Type St Inode Path" (proc(5)); 00010000 in Flags: it listens. */
static bool try_inode(struct search *search, unsigned long inode)
{
	char name[64], line[512], path[256];
	unsigned long flags, number;
	bool done = false;
	snprintf(name, sizeof(name), "/proc/%d/net/unix", (int)search->pid);
	FILE *file = fopen(name, "re");
	while (file && !done && fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %*x %*x %lx %*x %*x %lu %255[^\n]", &flags, &number, path) == 3 &&
		    number == inode && flags & 0x10000)
			done = try_path(search, path);
	if (file)
		fclose(file);
	return done;
}

static bool try_thread(struct search *search, const char *tid)
{
	char path[300], link[600], text[64];
	unsigned long inode;
	bool done = false;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/fd", (int)search->pid, tid);
	DIR *folder = opendir(path);
	for (struct dirent *entry; folder && !done && (entry = readdir(folder));) {
		snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
		ssize_t n = readlink(link, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = 0;
		if (sscanf(text, "socket:[%lu]", &inode) == 1)
			done = try_inode(search, inode);
	}
	if (folder)
		closedir(folder);
	return done;
}

static bool try_threads(struct search *search)
{
	char path[64];
	bool done = false;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)search->pid);
	DIR *folder = opendir(path);
	for (struct dirent *entry; folder && !done && (entry = readdir(folder));)
		if (thread_is_agent(search->pid, entry->d_name))
			done = try_thread(search, entry->d_name);
	if (folder)
		closedir(folder);
	return done;
}

/* -- By the places it may be in ----------------------------------------------------------------------------------- */

static bool try_places(struct search *search)
{
	char path[256];
	struct hp_process process;
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (!hp_process_read(search->pid, &process))
		return false;
	if (runtime) {
		snprintf(path, sizeof(path), "%s/hotpatch/%d.sock", runtime, (int)process.inner);
		if (try_path(search, path))
			return true;
	}
	snprintf(path, sizeof(path), "/run/user/%u/hotpatch/%d.sock", (unsigned)process.uid, (int)process.inner);
	if (try_path(search, path))
		return true;
	snprintf(path, sizeof(path), "/run/hotpatch/%d.sock", (int)process.inner);
	if (try_path(search, path))
		return true;
	snprintf(path, sizeof(path), "/tmp/hotpatch-%u/%d.sock", (unsigned)process.uid, (int)process.inner);
	return try_path(search, path);
}

int hp_talk_connect(pid_t pid, int *ret_fd, struct hp_err *err)
{
	struct search search = {.pid = pid, .fd = -1};
	if (pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH))
		return hp_err_set(err, HOTPATCH_EGONE, "there is no process %d", (int)pid);
	if (try_threads(&search) || try_places(&search)) {
		*ret_fd = search.fd;
		return 0;
	}
	struct hp_process process;
	if ((search.number == EACCES || search.number == EPERM) && hp_process_read(pid, &process) &&
	    process.uid != geteuid())
		return hp_err_set(
			err, HOTPATCH_ESYSTEM,
			"process %d belongs to another user (%u), and whether it has an agent may not be seen: "
			"do this as that user, or as root",
			(int)pid, (unsigned)process.uid);
	if (search.number)
		return hp_err_system(err, HOTPATCH_ESYSTEM, search.number, "the agent of process %d at '%s'", (int)pid,
		                     search.path);
	return hp_err_set(err, HOTPATCH_ENOFILE,
	                  "process %d has no agent; put one in with 'hotpatch attach %d', start programs with "
	                  "'hotpatch run', or call hotpatch_serve() in them",
	                  (int)pid, (int)pid);
}

/* -- Bytes ------------------------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static int gone(struct hp_remote *remote, struct hp_err *err)
{
	remote->broken = true;
	return hp_err_set(err, HOTPATCH_EGONE, "process %d, or its agent, is gone", (int)remote->pid);
}

static int wait_for(struct hp_remote *remote, short events, uint64_t deadline, struct hp_err *err)
{
	for (;;) {
		struct pollfd items[] = {{remote->fd, events, 0}, {remote->stop, POLLIN, 0}};
		uint64_t now = now_ms();
		int n = now < deadline ? poll(items, 2, (int)(deadline - now)) : 0;
		if (n > 0 && items[0].revents)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		remote->broken = true;
		shutdown(remote->fd, SHUT_RDWR); /* what the agent has not done by now it need not do */
		if (n > 0)
			return hp_err_set(err, HOTPATCH_EBUSY, "process %d was waited for until a signal came",
			                  (int)remote->pid);
		return hp_err_set(err, HOTPATCH_ETIMEDOUT,
		                  "the agent of process %d has not answered in time; the process may be "
		                  "stopped",
		                  (int)remote->pid);
	}
}

static int send_all(struct hp_remote *remote, uint64_t deadline, struct hp_err *err)
{
	for (size_t sent = 0; sent < remote->out.n;) {
		ssize_t n = send(remote->fd, remote->out.v + sent, remote->out.n - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EPIPE)
			return 0; /* it may have said why before it closed */
		if (errno != EAGAIN && errno != EINTR)
			return gone(remote, err);
		int error = wait_for(remote, POLLOUT, deadline, err);
		if (error)
			return error;
	}
	return 0;
}

static int receive_all(struct hp_remote *remote, uint8_t *bytes, size_t n, uint64_t deadline, struct hp_err *err)
{
	for (size_t got = 0; got < n;) {
		ssize_t more = recv(remote->fd, bytes + got, n - got, MSG_DONTWAIT);
		if (more > 0) {
			got += (size_t)more;
			continue;
		}
		if (more == 0 || (errno != EAGAIN && errno != EINTR))
			return gone(remote, err);
		int error = wait_for(remote, POLLIN, deadline, err);
		if (error)
			return error;
	}
	return 0;
}

/* -- One request and its answer ------------------------------------------------------------------------------------ */

struct hp_wire *hp_talk_begin(struct hp_remote *remote, enum hp_wire_kind kind)
{
	hp_wire_begin(&remote->out, (uint16_t)kind, ++remote->serial);
	return &remote->out;
}

int hp_talk_nonsense(struct hp_remote *remote, struct hp_err *err)
{
	remote->broken = true;
	return hp_err_set(err, HOTPATCH_ESYSTEM, "the agent of process %d has answered what makes no sense",
	                  (int)remote->pid);
}

bool hp_talk_is_news(const uint8_t bytes[HP_WIRE_HEADER])
{
	struct hp_wire_header header;
	return hp_wire_header_read(bytes, &header) && header.kind == (HP_WIRE_CRASHED | HP_WIRE_REPLY) &&
	       header.serial == 0 && header.length == 0;
}

/* Of the answer; what answers nothing may come before it. */
static int receive_header(struct hp_remote *remote, uint8_t bytes[HP_WIRE_HEADER], uint64_t deadline,
                          struct hp_err *err)
{
	int error;
	while ((error = receive_all(remote, bytes, HP_WIRE_HEADER, deadline, err)) == 0 && hp_talk_is_news(bytes))
		remote->has_news = true;
	return error;
}

static int receive(struct hp_remote *remote, uint16_t kind, uint64_t deadline, struct hp_err *err)
{
	uint8_t bytes[HP_WIRE_HEADER];
	struct hp_wire_header header;
	int error = receive_header(remote, bytes, deadline, err);
	if (error)
		return error;
	bool sound = hp_wire_header_read(bytes, &header);
	bool last_words = sound && header.kind == HP_WIRE_REPLY && header.serial == 0; /* to no request: a failure */
	if (!sound || (!last_words && (header.serial != remote->serial || header.kind != (kind | HP_WIRE_REPLY))))
		return hp_talk_nonsense(remote, err);
	remote->broken |= last_words;
	free(remote->in);
	remote->in = malloc(header.length + 1);
	if (!remote->in) {
		remote->broken = true;
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for an answer of %u bytes", header.length);
	}
	remote->body = (struct hp_cursor){remote->in, remote->in + header.length, false};
	return receive_all(remote, remote->in, header.length, deadline, err);
}

void hp_talk_take_blockers(struct hp_cursor *c, struct hp_remote_result *result)
{
	uint32_t n = hp_take_count(c, 4, HP_WIRE_BLOCKERS_MAX, 12);
	result->blockers = calloc(n + 1, sizeof(*result->blockers));
	/* NOLINTNEXTLINE(-Wanalyzer-malloc-leak): the result has them */
	for (uint32_t i = 0; result->blockers && i < n && !c->bad; i++) {
		struct hp_remote_blocker *blocker = &result->blockers[result->n_blockers++];
		blocker->tid = (int)hp_take(c, 4);
		blocker->is_self = hp_take(c, 1);
		hp_take_str(c, blocker->name, sizeof(blocker->name));
		hp_take_str(c, blocker->function, sizeof(blocker->function));
		hp_take_str(c, blocker->reason, sizeof(blocker->reason));
		blocker->n_frames = hp_take_count(c, 1, HP_WIRE_FRAMES_MAX, 8);
		for (size_t k = 0; k < blocker->n_frames; k++)
			blocker->frames[k] = hp_take(c, 8);
	}
	c->bad |= !result->blockers;
}

/* What failed, in the agent's words. */
static int take_failure(struct hp_remote *remote, int code, struct hp_remote_result *result, struct hp_err *err)
{
	struct hp_cursor *c = &remote->body;
	struct hp_remote_result ignored = {0};
	char sentence[HP_WIRE_STR_MAX + 1];
	bool live = hp_take(c, 1);
	hp_take_str(c, sentence, sizeof(sentence));
	hp_talk_take_blockers(c, result ? result : &ignored);
	hp_remote_result_free(&ignored);
	if (result)
		result->live = live;
	if (!hp_taken_all(c) || code > 0)
		return hp_talk_nonsense(remote, err);
	return hp_err_set(err, code, "%s", sentence);
}

int hp_talk_ask(struct hp_remote *remote, unsigned more_ms, struct hp_remote_result *result, struct hp_err *err)
{
	uint64_t deadline = now_ms() + remote->timeout_ms + more_ms;
	if (remote->broken)
		return hp_err_set(err, HOTPATCH_ESTATE, "the connection to process %d is broken", (int)remote->pid);
	if (!hp_wire_end(&remote->out))
		return hp_err_set(err, HOTPATCH_EINVAL,
		                  "the request is too long for one frame, or there is no memory for it");
	uint16_t kind = (uint16_t)(remote->out.v[4] | remote->out.v[5] << 8);
	int error = send_all(remote, deadline, err);
	if (!error)
		error = receive(remote, kind, deadline, err);
	if (error)
		return error;
	int code = (int)(int32_t)hp_take(&remote->body, 4);
	/* NOLINTNEXTLINE(-Wanalyzer-use-of-uninitialized-value): hp_take begins with 0 and copies the low bytes */
	return code || remote->body.bad ? take_failure(remote, code, result, err) : 0;
}

int hp_talk_end(struct hp_remote *remote, struct hp_err *err)
{
	return hp_taken_all(&remote->body) ? 0 : hp_talk_nonsense(remote, err);
}

/* -- A conversation ------------------------------------------------------------------------------------------------ */

static int say_hello(struct hp_remote *remote, struct hp_err *err)
{
	struct hp_wire *out = hp_talk_begin(remote, HP_WIRE_HELLO);
	struct hp_remote_hello *hello = &remote->hello;
	hp_put(out, HP_WIRE_VERSION, 4);
	hp_put_str(out, "hotpatch");
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	hp_take(&remote->body, 4); /* the agent refuses other versions than its own */
	hp_take_str(&remote->body, hello->version, sizeof(hello->version));
	hello->pid = (uint32_t)hp_take(&remote->body, 4);
	hello->machine = (uint32_t)hp_take(&remote->body, 4);
	hello->page_size = (uint32_t)hp_take(&remote->body, 4);
	uint64_t flags = hp_take(&remote->body, 4);
	hello->is_static = flags & 1;
	hello->by_run = flags & 4;
	hello->started = hp_take(&remote->body, 8);
	hello->tls_code = hp_take(&remote->body, 8);
	return hp_talk_end(remote, err);
}

int hp_remote_open(pid_t pid, unsigned timeout_ms, struct hp_remote **ret_remote, struct hp_err *err)
{
	struct hp_remote *remote = calloc(1, sizeof(*remote));
	if (!remote)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a connection");
	remote->pid = pid;
	remote->timeout_ms = timeout_ms ? timeout_ms : 5000;
	remote->fd = remote->stop = -1;
	int error = hp_talk_connect(pid, &remote->fd, err);
	if (!error)
		error = say_hello(remote, err);
	if (error) {
		hp_remote_close(remote);
		return error;
	}
	*ret_remote = remote;
	return 0;
}

void hp_remote_close(struct hp_remote *remote)
{
	if (!remote)
		return;
	if (remote->fd >= 0)
		close(remote->fd);
	hp_wire_free(&remote->out);
	hp_kept_free(&remote->kept);
	free(remote->in);
	free(remote);
}

bool hp_remote_is_broken(const struct hp_remote *remote)
{
	return remote->broken;
}

void hp_remote_stop_at(struct hp_remote *remote, int fd)
{
	remote->stop = fd;
}

pid_t hp_remote_pid(const struct hp_remote *remote)
{
	return remote->pid;
}

const struct hp_remote_hello *hp_remote_hello(const struct hp_remote *remote)
{
	return &remote->hello;
}

struct hp_kept_files *hp_remote_kept(struct hp_remote *remote)
{
	return &remote->kept;
}

/* -- Lists ------------------------------------------------------------------------------------------------------ */

char *hp_talk_take_string(struct hp_cursor *c)
{
	char text[HP_WIRE_STR_MAX + 1];
	hp_take_str(c, text, sizeof(text));
	return strdup(text);
}

bool hp_talk_grow(void **array, size_t n_now, size_t n, size_t size)
{
	void *grown = realloc(*array, (n_now + n + 1) * size);
	if (!grown)
		return false;
	*array = grown;
	memset((char *)grown + n_now * size, 0, (n + 1) * size);
	return true;
}

int hp_talk_ask_part(struct hp_remote *remote, enum hp_wire_kind kind, size_t first, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, kind), first, 4);
	return hp_talk_ask(remote, 0, NULL, err);
}

int hp_talk_no_memory(struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for what the agent lists");
}

bool hp_talk_take_part(struct hp_cursor *c, size_t first, uint32_t *ret_total, uint32_t *ret_n, size_t item_size)
{
	*ret_total = (uint32_t)hp_take(c, 4);
	*ret_n = hp_take_count(c, 4, UINT32_MAX, item_size);
	return !c->bad && (*ret_n > 0 || first >= *ret_total);
}
