/* child.c - starting programs. One that does not end with status 0 ends the benchmark: its figures would mean nothing.
 */
#include "child.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "must.h"
#include "timing.h"

struct child child_of(const char *folder, const char *program, bool preload)
{
	struct child child = {.preload = preload};
	int length = snprintf(child.program, sizeof(child.program), "%s/programs/%s", folder, program);
	must(length > 0 && (size_t)length < sizeof(child.program), folder);
	must(access(child.program, X_OK) == 0, child.program);
	return child;
}

/* -- The environment ------------------------------------------------------------------------------------------- */

static const char *hotpatch_path(void)
{
	static Dl_info info;
	void *inside = dlsym(RTLD_NEXT, "hotpatch_error"); /* our own name for it may be a stub of ours */
	must(inside != NULL && dladdr(inside, &info) != 0, "where libhotpatch lies");
	if (strpbrk(info.dli_fname, " :") != NULL) {
		fprintf(stderr, "bench: '%s' cannot be preloaded: there is a space or colon in its path\n",
		        info.dli_fname);
		exit(1);
	}
	return info.dli_fname;
}

/* Ours with LD_PRELOAD, and HOTPATCH_SERVE, set or left out. */
static char **environment(const struct child *child)
{
	enum { MOST = 4096 };
	static char *with[MOST], *served[MOST], *without[MOST], setting[4200], serve[] = "HOTPATCH_SERVE=1";
	char **made = child->serve ? served : child->preload ? with : without;
	size_t n = 0;

	if (made[0] != NULL)
		return made;
	if (child->serve)
		made[n++] = serve;
	if (child->preload) {
		snprintf(setting, sizeof(setting), "LD_PRELOAD=%s", hotpatch_path());
		made[n++] = setting;
	}
	for (char **variable = environ; *variable != NULL; variable++) {
		must(n < MOST - 1, "a very large environment");
		if (strncmp(*variable, "LD_PRELOAD=", 11) != 0 && strncmp(*variable, "HOTPATCH_SERVE=", 15) != 0)
			made[n++] = *variable;
	}
	return made;
}

/* -- Running --------------------------------------------------------------------------------------------------- */

static pid_t child_start(const struct child *child, const posix_spawn_file_actions_t *actions, const char *first,
                         const char *second)
{
	char *arguments[] = {(char *)child->program, (char *)first, (char *)second, NULL};
	pid_t pid;
	int error = posix_spawn(&pid, child->program, actions, NULL, arguments, environment(child));
	must(error == 0, child->program);
	return pid;
}

static void child_end(const struct child *child, pid_t pid)
{
	int status;
	must(waitpid(pid, &status, 0) == pid, child->program);
	if (status == 0)
		return;
	fprintf(stderr, "bench: %s%s ended with wait status %#x\n", child->program,
	        child->preload ? " (libhotpatch preloaded)" : "", status);
	exit(1);
}

/* Its standard input and output are pipes to and from here. */
static struct worker begin(const struct child *child, const char *first, const char *second)
{
	posix_spawn_file_actions_t actions;
	int input[2], output[2];

	must(pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0, "pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
	struct worker worker = {child, child_start(child, &actions, first, second), input[1], output[0]};
	posix_spawn_file_actions_destroy(&actions);
	close(input[0]);
	close(output[1]);
	return worker;
}

/* What it wrote, behind what was read before; 0 at the end. */
static size_t read_some(const struct worker *worker, struct answers *ret, size_t used)
{
	ssize_t got = read(worker->output, ret->text + used, sizeof(ret->text) - 1 - used);
	must(got >= 0, worker->child->program);
	ret->text[used + (size_t)got] = '\0';
	return (size_t)got;
}

double child_time(const struct child *child)
{
	environment(child); /* made outside the time */
	uint64_t begin = timing_now();
	child_end(child, child_start(child, NULL, NULL, NULL));
	return (double)(timing_now() - begin) / 1e3;
}

void child_ask(const struct child *child, const char *first, const char *second, struct answers *ret)
{
	struct worker worker = begin(child, first, second);
	size_t used = 0, got;

	while ((got = read_some(&worker, ret, used)) > 0)
		used += got;
	worker_end(&worker);
}

/* -- Workers --------------------------------------------------------------------------------------------------- */

struct worker worker_begin(const struct child *child, const char *argument)
{
	return begin(child, argument, NULL);
}

void worker_turn(const struct worker *worker, struct answers *ret)
{
	must(write(worker->input, "", 1) == 1, worker->child->program);
	must(read_some(worker, ret, 0) > 0, worker->child->program);
}

void worker_end(const struct worker *worker)
{
	close(worker->input);
	close(worker->output);
	child_end(worker->child, worker->pid);
	child_forget(worker->pid);
}

void worker_kill(const struct worker *worker)
{
	close(worker->input);
	close(worker->output);
	must(kill(worker->pid, SIGKILL) == 0 && waitpid(worker->pid, NULL, 0) == worker->pid, worker->child->program);
	child_forget(worker->pid);
}

void child_forget(int pid)
{
	char path[32];
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", pid);
	unlink(path);
}

/* -- Answers --------------------------------------------------------------------------------------------------- */

double answers_get(const struct answers *answers, const char *name)
{
	size_t length = strlen(name);
	for (const char *line = answers->text; line != NULL && *line != '\0';) {
		if (strncmp(line, name, length) == 0 && line[length] == ' ')
			return strtod(line + length, NULL);
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	fprintf(stderr, "bench: no '%s' among\n%s", name, answers->text);
	exit(1);
}
