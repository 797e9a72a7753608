/* session.c - the command as a child with pipes. */
#include "session.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "must.h"

extern char **environ;

/* What ends the benchmark in the middle ends this, too: with the watch goes the program. */
static pid_t running;

static void end_running(void)
{
	if (running > 0)
		kill(running, SIGKILL);
}

static void note_running(pid_t pid)
{
	static bool is_noted;
	if (!is_noted)
		must(atexit(end_running) == 0, "atexit");
	is_noted = true;
	running = pid;
}

json_t *session_event(const struct session *session, const char *name, const char *other)
{
	char *line = NULL;
	size_t room = 0;

	while (getline(&line, &room, session->events) > 0) {
		json_t *event = json_loads(line, 0, NULL);
		const char *is = json_string_value(json_object_get(event, "event"));
		if (is != NULL && (strcmp(is, name) == 0 || (other != NULL && strcmp(is, other) == 0))) {
			free(line);
			return event;
		}
		if (is == NULL || strcmp(is, "error") == 0 || strcmp(is, "failed") == 0 || strcmp(is, "ended") == 0)
			break;
		json_decref(event);
	}
	fprintf(stderr, "bench: hotpatch watch says '%s', not '%s'\n", line != NULL ? line : "", name);
	exit(1);
}

struct session session_begin(const struct project *project, const char *hotpatch, const char *option)
{
	const char *arguments[10] = {hotpatch, "watch", "--json", "--timings", "--keys"};
	size_t n = 5;
	posix_spawn_file_actions_t actions;
	struct session session;
	int input[2], output[2];

	if (option != NULL)
		arguments[n++] = option;
	arguments[n++] = "--";
	arguments[n++] = "./app";
	must(pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0, "pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, project->folder);
	posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
	must(posix_spawn(&session.pid, hotpatch, &actions, NULL, (char **)arguments, environ) == 0, hotpatch);
	note_running(session.pid);
	posix_spawn_file_actions_destroy(&actions);
	close(input[0]);
	close(output[1]);
	session.keys = input[1];
	must((session.events = fdopen(output[0], "r")) != NULL, "pipe");
	json_t *watching = session_event(&session, "watching", NULL);
	session.program = (int)json_integer_value(json_object_get(watching, "pid"));
	json_decref(watching);
	return session;
}

void session_press(const struct session *session, const char *keys)
{
	must(write(session->keys, keys, strlen(keys)) == (ssize_t)strlen(keys), "keys");
}

void session_end(struct session *session)
{
	int status;

	session_press(session, "Q");
	must(waitpid(session->pid, &status, 0) == session->pid, "hotpatch watch");
	note_running(0);
	child_forget(session->program);
	fclose(session->events);
	close(session->keys);
}
