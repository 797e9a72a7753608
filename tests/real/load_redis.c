/* load_redis.c - connections to a redis server: a question is a command, the answer the reply without its type; of
 * "INFO stats ~expired_keys:" what stands behind that name in it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "load.h"

/* where: the server's unix socket. */
void *load_open(const char *where)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct load_stream *stream = calloc(1, sizeof(*stream));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", where);
	if (stream && fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    load_stream_open(stream, fd))
		return stream;
	fprintf(stderr, "load: cannot connect to '%s': %s\n", where, strerror(errno));
	exit(1);
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

/* What follows name, as one word. */
static void take_field(char *answer, size_t room, const char *name)
{
	const char *at = strstr(answer, name);
	char field[64] = "";

	if (at)
		snprintf(field, sizeof(field), "%.*s", (int)strcspn(at + strlen(name), " "), at + strlen(name));
	load_answer(answer, room, field, strlen(field));
}

bool load_ask(void *session, const char *question, char *answer, size_t room)
{
	struct load_stream *stream = session;
	const char *field = strchr(question, '~');
	int length = (int)(field ? (size_t)(field - question) : strlen(question));

	if (fprintf(stream->to, "%.*s\r\n", length, question) < 0 || fflush(stream->to) != 0 ||
	    !read_reply(stream->from, answer, room))
		return false;
	if (field)
		take_field(answer, room, field + 1);
	return true;
}

void load_close(void *session)
{
	load_stream_close(session);
	free(session);
}
