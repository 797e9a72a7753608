#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "remote/client.h"
#include "remote/talk.h"

int hp_remote_hold(struct hp_remote *remote, bool hold, uint64_t *ret_signals, struct hp_err *err)
{
	hp_put(hp_talk_begin(remote, HP_WIRE_HOLD), hold ? 1 : 0, 1);
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	*ret_signals = hp_take(&remote->body, 8);
	return hp_talk_end(remote, err);
}

static void take_crash(struct hp_cursor *c, struct hp_remote_crash *crash)
{
	crash->tid = (int)hp_take(c, 4);
	hp_take_str(c, crash->name, sizeof(crash->name));
	crash->signo = (int)hp_take(c, 4);
	crash->code = (int)(int32_t)hp_take(c, 4);
	crash->address = hp_take(c, 8);
	hp_take_str(c, crash->patch, sizeof(crash->patch));
	crash->n_frames = hp_take_count(c, 1, HP_WIRE_FRAMES_MAX, 10);
	for (size_t i = 0; i < crash->n_frames; i++) {
		crash->frames[i].address = hp_take(c, 8);
		hp_take_str(c, crash->frames[i].patch, sizeof(crash->frames[i].patch));
	}
}

int hp_remote_crashes(struct hp_remote *remote, struct hp_remote_crashes *ret_crashes, struct hp_err *err)
{
	struct hp_cursor *c = &remote->body;
	*ret_crashes = (struct hp_remote_crashes){0};
	(void)hp_talk_begin(remote, HP_WIRE_CRASHES);
	int error = hp_talk_ask(remote, 0, NULL, err);
	if (error)
		return error;
	ret_crashes->are_calls_held = hp_take(c, 1);
	uint32_t n = hp_take_count(c, 4, HP_WIRE_CRASHES_MAX, 26);
	ret_crashes->v = calloc(n + 1, sizeof(*ret_crashes->v));
	if (!ret_crashes->v)
		return hp_talk_no_memory(err);
	while (ret_crashes->n < n && !c->bad)
		take_crash(c, &ret_crashes->v[ret_crashes->n++]);
	error = hp_talk_end(remote, err);
	if (error)
		hp_remote_crashes_free(ret_crashes);
	return error;
}

void hp_remote_crashes_free(struct hp_remote_crashes *crashes)
{
	free(crashes->v);
	*crashes = (struct hp_remote_crashes){0};
}

int hp_remote_let_die(struct hp_remote *remote, struct hp_err *err)
{
	(void)hp_talk_begin(remote, HP_WIRE_LET_DIE);
	int error = hp_talk_ask(remote, 0, NULL, err);
	return error ? error : hp_talk_end(remote, err);
}

int hp_remote_fd(const struct hp_remote *remote)
{
	return remote && !remote->broken ? remote->fd : -1;
}

/* A frame that is there in part is there whole in a moment: it has twelve bytes. */
bool hp_remote_take_news(struct hp_remote *remote)
{
	uint8_t bytes[HP_WIRE_HEADER];
	ssize_t n;
	while (!remote->broken && (n = recv(remote->fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_PEEK)) != -1) {
		if (n == 0 || (n == sizeof(bytes) && !hp_talk_is_news(bytes)))
			remote->broken = true;
		else if (n == sizeof(bytes))
			remote->has_news = recv(remote->fd, bytes, sizeof(bytes), MSG_DONTWAIT) == n;
		else
			break;
	}
	bool has = remote->has_news;
	remote->has_news = false;
	return has;
}
