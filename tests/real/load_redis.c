/* load_redis.c - connections to a redis server: a question is a command, the answer the reply without its type. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "load.h"

/* where: the server's unix socket. */
void *load_open(const char *where)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		FILE *stream = fdopen(fd, "r+");
		if (stream)
			return stream;
	}
	fprintf(stderr, "load: cannot connect to '%s': %s\n", where, strerror(errno));
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* RESP, "Redis serialization protocol specification": +text, -error, :number, $length and that many bytes. */
static bool read_reply(FILE *stream, char *answer, size_t room)
{
	char line[1024], *bytes;

	if (!fgets(line, sizeof(line), stream))
		return false;
	line[strcspn(line, "\r\n")] = '\0';
	if (line[0] != '$' || line[1] == '-') {
		load_answer(answer, room, line + 1, strlen(line + 1));
		return line[0] != '*';
	}
	size_t length = strtoul(line + 1, NULL, 10);
	if (!(bytes = malloc(length + 2)))
		return false;
	bool whole = fread(bytes, 1, length + 2, stream) == length + 2;
	load_answer(answer, room, bytes, length);
	free(bytes);
	return whole;
}

bool load_ask(void *session, const char *question, char *answer, size_t room)
{
	FILE *stream = session;

	if (fprintf(stream, "%s\r\n", question) < 0 || fflush(stream) != 0)
		return false;
	return read_reply(stream, answer, room);
}

void load_close(void *session)
{
	fclose(session);
}
