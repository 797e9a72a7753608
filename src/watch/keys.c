#include "watch/keys.h"

#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

struct hp_keys {
	int fd;
	bool is_terminal;
	struct termios before;
};

/* A terminal that somebody else has in the foreground would stop us. */
static bool is_ours(void)
{
	return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void set_terminal(const struct hp_keys *keys)
{
	struct termios now = keys->before;

	now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	now.c_cc[VMIN] = 1;
	now.c_cc[VTIME] = 0;
	tcsetattr(keys->fd, TCSANOW, &now);
}

struct hp_keys *hp_keys_open(bool is_wanted)
{
	bool is_terminal = is_ours();
	struct hp_keys *keys = is_terminal || (is_wanted && !isatty(STDIN_FILENO)) ? calloc(1, sizeof(*keys)) : NULL;

	if (!keys)
		return NULL;
	keys->fd = STDIN_FILENO;
	keys->is_terminal = is_terminal && tcgetattr(keys->fd, &keys->before) == 0;
	hp_keys_again(keys);
	return keys;
}

void hp_keys_again(struct hp_keys *keys)
{
	if (keys && keys->is_terminal && is_ours())
		set_terminal(keys);
}

void hp_keys_close(struct hp_keys *keys)
{
	if (keys && keys->is_terminal && is_ours())
		tcsetattr(keys->fd, TCSANOW, &keys->before);
	free(keys);
}

int hp_keys_fd(const struct hp_keys *keys)
{
	return keys ? keys->fd : -1;
}

char hp_keys_take(struct hp_keys *keys)
{
	struct pollfd in = {hp_keys_fd(keys), POLLIN, 0};
	char key = 0;

	if (in.fd < 0 || poll(&in, 1, 0) <= 0)
		return 0;
	if (read(in.fd, &key, 1) == 1)
		return key;
	keys->fd = -1;
	return 0;
}
