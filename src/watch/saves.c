#include "watch/saves.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "types/array.h"

enum { LOOK_MS = 200 };

enum {
	EVENTS = IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF |
	         IN_MOVE_SELF | IN_ONLYDIR
};

struct folder {
	char *path;
	int watch; /* -1: it is not there, or files are looked at */
};

/* What tells two states of a file apart without reading it. All zero: it is not there. */
struct state {
	struct timespec modified, changed;
	long long size;
	unsigned long long number;
};

struct file {
	char *path;  /* as it was given */
	char *place; /* where it really lies, when that is another folder or name; NULL */
	size_t folder, place_folder;
	struct state state;
};

struct hp_saves {
	int fd; /* -1: files are looked at */
	struct folder *folders;
	size_t n_folders, n_lost; /* lost: not there */
	struct file *files;
	size_t n_files;
	char why[200];
	struct timespec looked;
};

static int no_memory(const char *path, struct hp_err *err)
{
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory to watch '%s'", path);
}

/* -- States ---------------------------------------------------------------------------------------------------- */

static struct state state_of(const char *path)
{
	struct stat status;

	if (stat(path, &status) < 0)
		return (struct state){0};
	return (struct state){status.st_mtim, status.st_ctim, status.st_size, status.st_ino};
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_state(const struct state *a, const struct state *b)
{
	return same_time(a->modified, b->modified) && same_time(a->changed, b->changed) && a->size == b->size &&
	       a->number == b->number;
}

/* -- Folders --------------------------------------------------------------------------------------------------- */

static void begin_polling(struct hp_saves *saves, const char *why)
{
	if (saves->fd >= 0)
		close(saves->fd);
	saves->fd = -1;
	snprintf(saves->why, sizeof(saves->why), "%s", why);
}

static void watch_folder(struct hp_saves *saves, struct folder *folder)
{
	if (saves->fd < 0)
		return;
	folder->watch = inotify_add_watch(saves->fd, folder->path, EVENTS);
	if (folder->watch >= 0)
		return;
	if (errno == ENOSPC || errno == ENOMEM)
		begin_polling(saves, "the kernel has no inotify watches left (fs.inotify.max_user_watches)");
	else
		saves->n_lost++;
}

/* *ret is the index of the folder that path is in. */
static int folder_of(struct hp_saves *saves, const char *path, size_t *ret, struct hp_err *err)
{
	const char *slash = strrchr(path, '/');
	size_t length = slash && slash > path ? (size_t)(slash - path) : 1;

	for (size_t i = 0; i < saves->n_folders; i++)
		if (strncmp(saves->folders[i].path, path, length) == 0 && !saves->folders[i].path[length]) {
			*ret = i;
			return 0;
		}
	struct folder *folders = hp_array_grow(saves->folders, saves->n_folders, sizeof(*folders));
	if (!folders)
		return no_memory(path, err);
	saves->folders = folders;
	struct folder folder = {strndup(path, length), -1};
	if (!folder.path)
		return no_memory(path, err);
	watch_folder(saves, &folder);
	*ret = saves->n_folders;
	folders[saves->n_folders++] = folder;
	return 0;
}

/* -- Files ----------------------------------------------------------------------------------------------------- */

/* Where the file really lies, unless that is name in its folder as the folder is watched. */
static char *place_of(const char *path)
{
	char folder[PATH_MAX], place[PATH_MAX], expected[2 * PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	if (!realpath(path, place) || !realpath(*folder ? folder : "/", expected))
		return NULL;
	snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "%s",
	         expected[1] ? slash : slash + 1);
	return strcmp(place, expected) == 0 ? NULL : strdup(place);
}

int hp_saves_add(struct hp_saves *saves, const char *path, struct hp_err *err)
{
	for (size_t i = 0; i < saves->n_files; i++)
		if (strcmp(saves->files[i].path, path) == 0)
			return 0;
	struct file file = {.path = strdup(path), .place = place_of(path)};
	struct file *files = hp_array_grow(saves->files, saves->n_files, sizeof(*files));
	int r = file.path && files ? 0 : no_memory(path, err);
	if (files)
		saves->files = files;
	if (r == 0)
		r = folder_of(saves, path, &file.folder, err);
	if (r == 0 && file.place) /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the list has them from below on */
		r = folder_of(saves, file.place, &file.place_folder, err);
	if (r) {
		free(file.path);
		free(file.place);
		return r;
	}
	/* Behind the watch, so that nothing is missed between the two. */
	file.state = state_of(path);
	files[saves->n_files++] = file;
	return 0;
}

/* -- The whole ------------------------------------------------------------------------------------------------- */

int hp_saves_new(bool is_polling, struct hp_saves **ret_saves, struct hp_err *err)
{
	struct hp_saves *saves = calloc(1, sizeof(*saves));

	if (!saves)
		return no_memory("the sources", err);
	saves->fd = is_polling ? -1 : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (saves->fd < 0)
		begin_polling(saves, is_polling ? "--poll was given"
		                                : "the kernel has no inotify instances left "
		                                  "(fs.inotify.max_user_instances)");
	clock_gettime(CLOCK_MONOTONIC, &saves->looked);
	*ret_saves = saves;
	return 0;
}

void hp_saves_free(struct hp_saves *saves)
{
	if (!saves)
		return;
	if (saves->fd >= 0)
		close(saves->fd);
	for (size_t i = 0; i < saves->n_folders; i++)
		free(saves->folders[i].path);
	for (size_t i = 0; i < saves->n_files; i++) {
		free(saves->files[i].path);
		free(saves->files[i].place);
	}
	free(saves->folders);
	free(saves->files);
	free(saves);
}

int hp_saves_fd(const struct hp_saves *saves)
{
	return saves->fd;
}

/* A lease to read is refused while somebody may write. Who opens the file in the microseconds that it is held waits for
 * them, and we are sent SIGIO, which is ignored. */
bool hp_saves_is_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is_open = fd >= 0 && fcntl(fd, F_SETLEASE, F_RDLCK) < 0 && errno == EAGAIN;

	if (fd >= 0)
		close(fd); /* with the lease */
	return is_open;
}

const char *hp_saves_why_polling(const struct hp_saves *saves)
{
	return saves->fd < 0 ? saves->why : NULL;
}

int hp_saves_timeout(const struct hp_saves *saves)
{
	struct timespec now;

	if (saves->fd >= 0 && !saves->n_lost)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	long long left = LOOK_MS - (now.tv_sec - saves->looked.tv_sec) * 1000LL -
	                 (now.tv_nsec - saves->looked.tv_nsec) / 1000000;
	return left > 0 ? (int)left : 0;
}

/* -- What happened --------------------------------------------------------------------------------------------- */

static void look_at(struct file *file, hp_saves_seen seen, void *arg)
{
	struct state now = state_of(file->path);

	if (same_state(&file->state, &now))
		return;
	file->state = now;
	seen(arg, file->path, false);
}

static void look_at_all(struct hp_saves *saves, hp_saves_seen seen, void *arg)
{
	for (size_t i = 0; i < saves->n_files; i++)
		look_at(&saves->files[i], seen, arg);
}

/* Folders that are there again; what is in them may have changed meanwhile. */
static void find_lost(struct hp_saves *saves, hp_saves_seen seen, void *arg)
{
	saves->n_lost = 0;
	for (size_t i = 0; i < saves->n_folders && saves->fd >= 0; i++) {
		if (saves->folders[i].watch >= 0)
			continue;
		watch_folder(saves, &saves->folders[i]);
		if (saves->folders[i].watch < 0)
			continue;
		for (size_t k = 0; k < saves->n_files; k++)
			if (saves->files[k].folder == i)
				look_at(&saves->files[k], seen, arg);
	}
}

/* A save of what a link leads to is one of the link. */
static void tell_links(struct hp_saves *saves, size_t folder, const char *name, bool is_open, hp_saves_seen seen,
                       void *arg)
{
	for (size_t i = 0; i < saves->n_files; i++) {
		const struct file *file = &saves->files[i];
		if (file->place && file->place_folder == folder && strcmp(strrchr(file->place, '/') + 1, name) == 0)
			seen(arg, file->path, is_open);
	}
}

static void lose(struct hp_saves *saves, struct folder *folder)
{
	if (folder->watch < 0)
		return;
	inotify_rm_watch(saves->fd, folder->watch);
	folder->watch = -1;
	saves->n_lost++;
}

static void take_event(struct hp_saves *saves, const struct inotify_event *event, hp_saves_seen seen, void *arg)
{
	char path[PATH_MAX + NAME_MAX];

	if (event->mask & IN_Q_OVERFLOW) {
		look_at_all(saves, seen, arg);
		return;
	}
	for (size_t i = 0; i < saves->n_folders; i++) {
		struct folder *folder = &saves->folders[i];
		if (folder->watch != event->wd)
			continue;
		if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT))
			lose(saves, folder);
		if (!event->len)
			continue;
		bool is_open = (event->mask & IN_MODIFY) && !(event->mask & IN_CLOSE_WRITE);
		snprintf(path, sizeof(path), "%s/%s", folder->path[1] ? folder->path : "", event->name);
		seen(arg, path, is_open);
		tell_links(saves, i, event->name, is_open, seen, arg);
	}
}

static void take_events(struct hp_saves *saves, hp_saves_seen seen, void *arg)
{
	_Alignas(struct inotify_event) char buffer[16384];
	ssize_t n;

	while (saves->fd >= 0 && (n = read(saves->fd, buffer, sizeof(buffer))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (const void *)(buffer + at);
			take_event(saves, event, seen, arg);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
}

void hp_saves_take(struct hp_saves *saves, hp_saves_seen seen, void *arg)
{
	take_events(saves, seen, arg);
	if (hp_saves_timeout(saves) != 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &saves->looked);
	if (saves->fd >= 0)
		find_lost(saves, seen, arg);
	if (saves->fd < 0)
		look_at_all(saves, seen, arg);
}
