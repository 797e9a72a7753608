#include "agent/agent.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/client.h"
#include "agent/crashes.h"
#include "agent/leftovers.h"
#include "agent/records.h"
#include "agent/regions.h"
#include "agent/socket.h"
#include "agent/table.h"
#include "arch/arch.h"
#include "base/report.h"
#include "code/emulated.h"
#include "live/ask.h"
#include "live/threads.h"

enum {
	TICK_WATCHING = 1000, /* ms between looks at whether the first thread is there, where it will not tell */
	TICK_ALONE = 50,      /* and whether any other is, once it is not */
	REST = 100,           /* until what could not be had is asked for again: descriptors, memory */
};

static struct hp_agent the = {.listener = -1, .lists = PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER; /* one start at a time; protects running and owner */
static bool running;
static pid_t owner; /* the process whose agent it is: a child of clone(2) has our memory, but no thread */

/* -- The last thread --------------------------------------------------------------------------------------------- */

/* A program whose first thread leaves by pthread_exit ends when its last thread does, as if by exit(0)
 * (pthread_exit(3)). libc counts the agent, so the agent has to see that nobody else is left. No descriptor tells of
 * the first thread (a pidfd becomes readable when all are gone), but the destructor of a value of its own does, if that
 * could be set: where the agent was started by the first thread, as it is at a program's start. */
static pthread_key_t first_key;
static bool has_first_key;
static _Atomic bool first_watched, first_leaving;

/* No other thread has its descriptors: somebody comes, and goes again. */
void hp_agent_knock(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	long fd = hp_syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0, 0, 0);
	if (fd < 0)
		return;
	memcpy(address.sun_path, the.path, sizeof(the.path));
	hp_syscall(SYS_connect, fd, (long)&address, sizeof(address), 0, 0, 0);
	hp_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

static void first_leaves(void *unused)
{
	(void)unused;
	atomic_store(&first_leaving, true);
	hp_agent_knock();
}

static void watch_first_thread(void)
{
	atomic_store(&first_leaving, false);
	atomic_store(&first_watched, false);
	if (hp_thread_self() != getpid())
		return;
	if (!has_first_key)
		has_first_key = pthread_key_create(&first_key, first_leaves) == 0;
	if (has_first_key && pthread_setspecific(first_key, &the) == 0)
		atomic_store(&first_watched, true);
}

static bool first_thread_left(void)
{
	char text[512];
	FILE *stat = fopen("/proc/self/stat", "re");
	size_t n = stat ? fread(text, 1, sizeof(text) - 1, stat) : 0;
	if (stat)
		fclose(stat);
	text[n] = 0;
	const char *state = strrchr(text, ')'); /* the name before it may hold anything */
	return state && state[1] == ' ' && state[2] == 'Z';
}

static bool is_alone(void)
{
	struct stat status; /* two links, and one for each thread: the first, which waits for the others, and ours */
	return stat("/proc/self/task", &status) == 0 && status.st_nlink == 4 + hp_crashes_kept();
}

static void look_for_the_last_thread(void)
{
	if (atomic_load(&first_watched) && !atomic_load(&first_leaving))
		return;
	if (!first_thread_left())
		return;
	atomic_store(&first_leaving, true);
	if (!is_alone())
		return;
	hp_table_borrow(); /* what exit handlers and stdio write to, if it has not gone with the first thread */
	exit(0);           /* NOLINT(concurrency-mt-unsafe): there is no other thread */
}

static int tick(void)
{
	if (atomic_load(&first_leaving))
		return TICK_ALONE;
	return atomic_load(&first_watched) ? -1 : TICK_WATCHING;
}

/* -- The loop ---------------------------------------------------------------------------------------------------- */

struct watch {
	struct pollfd fds[1 + HP_AGENT_CLIENTS_MAX];
	struct hp_client *clients[HP_AGENT_CLIENTS_MAX];
	size_t n_clients;
	bool rests; /* who knocks stays outside for now: there was nothing to let him in with */
};

static void prepare_poll(const struct hp_agent *agent, struct watch *watch)
{
	watch->fds[0] = (struct pollfd){watch->rests ? -1 : agent->listener, POLLIN, 0};
	watch->n_clients = 0;
	for (struct hp_client *client = agent->clients; client; client = client->next) {
		watch->clients[watch->n_clients] = client;
		watch->fds[1 + watch->n_clients++] = (struct pollfd){client->fd, hp_client_events(client), 0};
	}
}

static void serve_clients(struct hp_agent *agent, struct watch *watch)
{
	for (size_t i = 0; i < watch->n_clients; i++) {
		short events = watch->fds[1 + i].revents;
		if (events && !hp_client_serve(agent, watch->clients[i], events))
			hp_client_remove(agent, watch->clients[i]);
	}
	if (watch->fds[0].revents & POLLIN) {
		int fd = hp_socket_accept(agent->listener);
		if (fd >= 0)
			hp_client_add(agent, hp_table_move_up(fd));
		watch->rests = fd < 0 && errno != EACCES;
	}
}

/* Of two times for poll(2), where -1 is never. */
static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void serve(struct hp_agent *agent)
{
	struct watch watch = {.rests = false};
	for (;;) {
		int wait = sooner(watch.rests ? REST : tick(), hp_crashes_tend(agent));
		prepare_poll(agent, &watch);
		int n = poll(watch.fds, 1 + watch.n_clients, wait);
		watch.rests = false;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			poll(NULL, 0, REST); /* no memory, or fewer descriptors are allowed than there are */
		look_for_the_last_thread();
		if (n > 0)
			serve_clients(agent, &watch);
		hp_leftovers_tidy(agent);
	}
}

/* -- The thread -------------------------------------------------------------------------------------------------- */

struct start {
	struct hp_agent *agent;
	sem_t listens; /* or will not */
	int error;
	struct hp_err err;
};

static void *run(void *arg)
{
	struct start *start = arg;
	struct hp_agent *agent = start->agent;
	pthread_setname_np(pthread_self(), "hotpatch");
	agent->own_table = hp_table_leave();
	start->error = hp_socket_listen(agent->given, agent->path, sizeof(agent->path), &agent->listener, &start->err);
	bool listens = !start->error;
	if (listens)
		agent->listener = hp_table_move_up(agent->listener);
	sem_post(&start->listens); /* start is gone from here on */
	if (listens)
		serve(agent);
	return NULL;
}

/* The signals of the program are its own threads' to take. libc keeps two for itself (setuid and cancellation), which
 * every thread has to take; asking with the raw call would keep setuid waiting for ever. SIGTRAP is what a breakpoint
 * at the entry of a function that we call ends in (live/breakpoint.h): blocked, it would end the process. */
static int create_thread(struct start *start)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGTRAP);
	if (hp_emulated()) /* there no thread is read from outside: it has to answer for itself */
		sigdelset(&all, hp_ask_signal());
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&thread, &attributes, run, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

static int launch(struct hp_agent *agent, struct hp_err *err)
{
	struct start start = {.agent = agent};
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	agent->started = (uint64_t)now.tv_sec;
	watch_first_thread();
	sem_init(&start.listens, 0, 0);
	int error = create_thread(&start);
	if (error)
		return hp_err_system(err, HOTPATCH_ESYSTEM, error, "no thread can be had for the agent");
	while (sem_wait(&start.listens) != 0)
		; /* a signal of the program's */
	sem_destroy(&start.listens);
	if (start.error)
		*err = start.err;
	return start.error;
}

/* -- After fork -------------------------------------------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&starting);
	pthread_mutex_lock(&the.lists);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&the.lists);
	pthread_mutex_unlock(&starting);
}

static void close_inherited(const struct hp_agent *agent)
{
	if (agent->own_table)
		return; /* the parent's agent kept its descriptors to itself */
	close(agent->listener);
	for (const struct hp_client *client = agent->clients; client; client = client->next)
		close(client->fd);
}

/* The parent's clients are the parent's; so is what they have reserved. */
static void after_fork_in_child(void)
{
	struct hp_err ignored;
	pthread_mutex_unlock(&the.lists);
	if (running) {
		close_inherited(&the);
		the.clients = NULL; /* their memory is lost: another thread may have been using it */
		hp_regions_forget(&the);
		hp_records_mend(&the);
		hp_crashes_reset();
		owner = getpid();
		running = (strcmp(the.given, "") == 0) && launch(&the, &ignored) == 0;
	}
	pthread_mutex_unlock(&starting);
}

/* -- Start and end ------------------------------------------------------------------------------------------------ */

static void unlink_socket(void)
{
	if (running && owner == getpid())
		unlink(the.path);
}

__attribute__((destructor)) static void end(void)
{
	unlink_socket();
}

/* Behind the runtime's own, so that the child's runtime is whole when its agent starts. */
static void watch_forks(void)
{
	static bool done;
	if (!done)
		pthread_atfork(before_fork, after_fork, after_fork_in_child);
	done = true;
}

static int start_locked(const char *path, bool by_run, struct hp_err *err)
{
	if (running && strcmp(path, the.given) != 0)
		return hp_err_set(err, HOTPATCH_ESTATE, "the agent listens already, at '%s'", the.path);
	if (running)
		return 0;
	size_t size = strlen(path) + 1;
	if (size > sizeof(the.given))
		return hp_err_set(err, HOTPATCH_EINVAL, "the path of the agent's socket, '%.40s...', is too long",
		                  path);
	memcpy(the.given, path, size);
	the.by_run = by_run;
	owner = getpid();
	int error = launch(&the, err);
	running = !error;
	return error;
}

int hp_agent_start(const char *path, bool by_run, struct hp_err *err)
{
	watch_forks();
	pthread_mutex_lock(&starting);
	int error = start_locked(path ? path : "", by_run, err);
	pthread_mutex_unlock(&starting);
	return error;
}

/* -- Started from outside ------------------------------------------------------------------------------------------ */

/* In the environment itself: bash has an unsetenv of its own, which does nothing before main. */
static void forget(const char *name)
{
	size_t n = strlen(name);
	char **to = environ;
	for (char **at = environ; at && *at; at++)
		if (strncmp(*at, name, n) != 0 || (*at)[n] != '=')
			*to++ = *at;
	if (to)
		*to = NULL;
}

/* `hotpatch run` preloads the library and says so in the environment. Programs that this one starts are not to inherit
 * either, unless it is asked for. */
static void forget_preload(const char *own)
{
	char *list = getenv("LD_PRELOAD"), *at = list ? strstr(list, own) : NULL;
	size_t n = strlen(own);
	if (!at)
		return;
	while (at[n] == ':' || at[n] == ' ')
		n++;
	memmove(at, at + n, strlen(at + n) + 1);
	if (!*list)
		forget("LD_PRELOAD");
}

/* `hotpatch run --with`: the program does not begin before its patches are in. Who brings them has the other end of the
 * pipe, and ends in any case. */
static void wait_for_patches(void)
{
	const char *hold = secure_getenv("HOTPATCH_HOLD");
	char byte;
	if (!hold)
		return;
	int fd = atoi(hold);
	forget("HOTPATCH_HOLD");
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
	close(fd);
}

__attribute__((constructor)) static void start_from_environment(void)
{
	struct hp_err err;
	const char *wish = secure_getenv("HOTPATCH_SERVE"), *own = getenv("HOTPATCH_PRELOAD");
	if (!wish)
		return;
	bool inherit = strcmp(wish, "children") == 0;
	(void)!hp_agent_start(NULL, true, &err); /* the program runs as well without */
	wait_for_patches();
	if (inherit)
		return;
	if (own)
		forget_preload(own);
	forget("HOTPATCH_PRELOAD");
	forget("HOTPATCH_SERVE");
}

int hotpatch_serve_with(const struct hotpatch_serve_options *given)
{
	struct hp_err err;
	struct hotpatch_serve_options options = {.size = sizeof(options)};
	if (given && (given->size < sizeof(given->size) || given->size > 4096))
		return hp_report(hp_err_set(&err, HOTPATCH_EINVAL,
		                            "options of %zu bytes are none: let the macro fill in .size", given->size),
		                 &err);
	if (given)
		memcpy(&options, given, given->size < sizeof(options) ? given->size : sizeof(options));
	return hp_report(hp_agent_start(options.path, false, &err), &err);
}
