/* load_pipe.c - a process for each thread: a question is a line to its standard input, the answer the next line of its
 * output that begins with '@'. What a terminal would show beside it is passed over. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"

struct program {
	pid_t pid;
	struct load_stream stream;
};

extern char **environ;

static bool start(const char *command, int end, pid_t *ret_pid)
{
	char *words[] = {"sh", "-c", (char *)command, NULL};
	posix_spawn_file_actions_t actions;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, end, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, end, STDOUT_FILENO);
	bool ok = posix_spawn(ret_pid, "/bin/sh", &actions, NULL, words, environ) == 0;
	posix_spawn_file_actions_destroy(&actions);
	return ok;
}

/* where: a command for sh, best with exec. */
void *load_open(const char *where)
{
	struct program *program = calloc(1, sizeof(*program));
	int ends[2] = {-1, -1};

	if (program && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 &&
	    load_stream_open(&program->stream, ends[0]) && start(where, ends[1], &program->pid)) {
		close(ends[1]);
		return program;
	}
	fprintf(stderr, "load: cannot start '%s'\n", where);
	exit(1);
}

bool load_ask(void *session, const char *question, char *answer, size_t room)
{
	struct load_stream *stream = &((struct program *)session)->stream;
	char line[4096];

	if (fprintf(stream->to, "%s\n", question) < 0 || fflush(stream->to) != 0)
		return false;
	do
		if (!fgets(line, sizeof(line), stream->from))
			return false;
	while (line[0] != '@');
	load_answer(answer, room, line, strcspn(line, "\n"));
	return true;
}

void load_close(void *session)
{
	struct program *program = session;

	load_stream_close(&program->stream);
	waitpid(program->pid, NULL, 0);
	free(program);
}
