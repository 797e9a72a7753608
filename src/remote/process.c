#include "remote/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "elf/image.h"

/* -- One process --------------------------------------------------------------------------------------------------- */

/* "NSpid: outer ... inner" (proc(5)). */
static pid_t last_number(const char *text)
{
	pid_t number = 0;
	for (char *end; (end = NULL, strtol(text, &end, 10)), end != text; text = end)
		number = (pid_t)strtol(text, NULL, 10);
	return number;
}

static void read_line(const char *line, struct hp_process *process)
{
	if (sscanf(line, "Name:\t%63[^\n]", process->name) == 1 || sscanf(line, "State:\t%c", &process->state) == 1)
		return;
	sscanf(line, "TracerPid:\t%d", &process->tracer);
	sscanf(line, "Uid:\t%*u\t%u", &process->uid);
	sscanf(line, "Seccomp:\t%d", &process->seccomp);
	sscanf(line, "Threads:\t%u", &process->threads);
	if (strncmp(line, "NSpid:", 6) == 0)
		process->inner = last_number(line + 6);
}

/* The file's name, where it may be read: the thread's is cut at 15 bytes. */
static void read_name(struct hp_process *process)
{
	char path[64], target[4096];
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)process->pid);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = 0;
	char *deleted = strstr(target, " (deleted)");
	if (deleted && deleted[10] == 0)
		*deleted = 0;
	const char *slash = strrchr(target, '/');
	if (slash)
		snprintf(process->name, sizeof(process->name), "%.63s", slash + 1);
}

bool hp_process_read(pid_t pid, struct hp_process *ret_process)
{
	char path[64], line[512];
	struct hp_process process = {.pid = pid, .inner = pid, .state = '?'};
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		read_line(line, &process);
	fclose(file);
	read_name(&process);
	*ret_process = process;
	return process.state != '?';
}

/* -- Many ---------------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	pid_t left = *(const pid_t *)a, right = *(const pid_t *)b;
	return left < right ? -1 : left > right;
}

static int pids_add(struct hp_pids *pids, pid_t pid, struct hp_err *err)
{
	pid_t *grown = realloc(pids->v, (pids->n + 1) * sizeof(*grown));
	if (!grown)
		return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for a list of processes");
	pids->v = grown;
	pids->v[pids->n++] = pid;
	return 0;
}

void hp_pids_free(struct hp_pids *pids)
{
	free(pids->v);
	*pids = (struct hp_pids){0};
}

/* Those of which `is` says so. */
static int choose(bool (*is)(pid_t pid, void *arg), void *arg, struct hp_pids *ret_pids, struct hp_err *err)
{
	struct hp_pids pids = {0};
	DIR *folder = opendir("/proc");
	int error = folder ? 0 : hp_err_system(err, HOTPATCH_ESYSTEM, errno, "processes cannot be listed in /proc");
	for (struct dirent *entry; folder && !error && (entry = readdir(folder));) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid > 0 && pid != getpid() && is(pid, arg))
			error = pids_add(&pids, pid, err);
	}
	if (folder)
		closedir(folder);
	if (error) {
		hp_pids_free(&pids);
		return error;
	}
	if (pids.n)
		qsort(pids.v, pids.n, sizeof(*pids.v), compare);
	*ret_pids = pids;
	return 0;
}

static bool has_name(pid_t pid, void *arg)
{
	char path[64], comm[64] = "";
	struct hp_process process;
	if (!hp_process_read(pid, &process) || process.state == 'Z')
		return false;
	if (strcmp(process.name, arg) == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	FILE *file = fopen(path, "re");
	bool read = file && fgets(comm, sizeof(comm), file);
	if (file)
		fclose(file);
	comm[strcspn(comm, "\n")] = 0;
	return read && strcmp(comm, arg) == 0;
}

int hp_pids_by_name(const char *name, struct hp_pids *ret_pids, struct hp_err *err)
{
	int error = choose(has_name, (void *)(uintptr_t)name, ret_pids, err);
	return error || ret_pids->n ? error : hp_err_set(err, HOTPATCH_EGONE, "no process is called '%s'", name);
}

static bool has_agent(pid_t pid, void *arg)
{
	char path[300], comm[64];
	bool found = false;
	(void)arg;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *folder = opendir(path);
	for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
		int tid = atoi(entry->d_name); /* 0: "." or "..", which has a comm, too */
		if (tid == 0 || tid == pid)    /* a program called so has its first thread called so */
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", (int)pid, tid);
		FILE *file = fopen(path, "re");
		found = file && fgets(comm, sizeof(comm), file) && strcmp(comm, "hotpatch\n") == 0;
		if (file)
			fclose(file);
	}
	if (folder)
		closedir(folder);
	return found;
}

int hp_pids_with_agent(struct hp_pids *ret_pids, struct hp_err *err)
{
	return choose(has_agent, NULL, ret_pids, err);
}

/* -- By build-id --------------------------------------------------------------------------------------------------- */

/* Files that were looked into: many processes have the same ones. */
struct seen {
	dev_t device;
	ino_t inode;
	bool is;
};

struct wanted {
	const uint8_t *id;
	size_t size;
	struct seen *seen;
	size_t n;
};

static bool read_is(const char *path, const struct wanted *wanted)
{
	struct hp_image *image;
	if (hp_image_open(path, path, &image, NULL) != 0)
		return false;
	bool is = image->build_id_size == wanted->size && memcmp(image->build_id, wanted->id, wanted->size) == 0;
	hp_image_close(image);
	return is;
}

static bool file_is(const char *path, struct wanted *wanted)
{
	struct stat status;
	if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
		return false;
	for (size_t i = 0; i < wanted->n; i++)
		if (wanted->seen[i].device == status.st_dev && wanted->seen[i].inode == status.st_ino)
			return wanted->seen[i].is;
	bool is = read_is(path, wanted);
	struct seen *grown = realloc(wanted->seen, (wanted->n + 1) * sizeof(*grown));
	if (grown) {
		wanted->seen = grown;
		wanted->seen[wanted->n++] = (struct seen){status.st_dev, status.st_ino, is};
	}
	return is;
}

/* "low-high r-xp offset dev inode path": deleted files by their mapping, others also where that may not be followed. */
static bool mapping_is(pid_t pid, const char *line, struct wanted *wanted)
{
	char range[64], flags[8], path[400], file[600];
	if (sscanf(line, "%63s %7s %*s %*s %*s %399[^\n]", range, flags, path) != 3 || path[0] != '/' ||
	    flags[2] != 'x')
		return false;
	snprintf(file, sizeof(file), "/proc/%d/map_files/%s", (int)pid, range);
	if (file_is(file, wanted))
		return true;
	snprintf(file, sizeof(file), "/proc/%d/root%s", (int)pid, path);
	return file_is(file, wanted);
}

static bool has_build_id(pid_t pid, void *arg)
{
	char path[64], line[1024];
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && !found && fgets(line, sizeof(line), maps))
		found = mapping_is(pid, line, arg);
	if (maps)
		fclose(maps);
	return found;
}

int hp_pids_by_build_id(const uint8_t *build_id, size_t size, struct hp_pids *ret_pids, struct hp_err *err)
{
	struct wanted wanted = {build_id, size, NULL, 0};
	int error = choose(has_build_id, &wanted, ret_pids, err);
	free(wanted.seen);
	return error || ret_pids->n ? error
	                            : hp_err_set(err, HOTPATCH_EGONE,
	                                         "no process that we may look into has a file of that build-id");
}

/* -- One that is about to begin ------------------------------------------------------------------------------------ */

/* Where execvp finds it. */
static bool find_program(const char *program, char *ret_path, size_t size)
{
	const char *at = strchr(program, '/') ? NULL : getenv("PATH"); /* NOLINT(concurrency-mt-unsafe): read only */

	if (!at)
		return snprintf(ret_path, size, "%s", program) < (int)size;
	for (size_t n; *at; at += n + (at[n] == ':')) {
		n = strcspn(at, ":");
		if (snprintf(ret_path, size, "%.*s/%s", n ? (int)n : 1, n ? at : ".", program) < (int)size &&
		    access(ret_path, X_OK) == 0)
			return true;
	}
	return false;
}

/* "" where it needs none, or is no ELF file. */
static void find_sanitizer(const char *program, char *ret_name, size_t size)
{
	char path[4096];
	struct hp_image *image;
	struct hp_err ignored;

	*ret_name = '\0';
	if (!find_program(program, path, sizeof(path)) || hp_image_open(path, path, &image, &ignored) < 0)
		return;
	const char *name = hp_image_needs(image, "libasan.so");
	if (!name)
		name = hp_image_needs(image, "libclang_rt.asan");
	if (name && strlen(name) + 2 < size)
		snprintf(ret_name, size, "%s:", name);
	hp_image_close(image);
}

int hp_process_preload(const char *program, const char *library, bool children, struct hp_err *err)
{
	const char *others = getenv("LD_PRELOAD"); /* NOLINT(concurrency-mt-unsafe): one thread */
	char first[256], *own = NULL, *list = NULL;
	int r = -1;

	find_sanitizer(program, first, sizeof(first));
	if (asprintf(&own, "%s%s", first, library) < 0)
		own = NULL;
	if (!own || asprintf(&list, "%s%s%s", own, others && *others ? ":" : "", others ? others : "") < 0)
		list = NULL;
	if (list) {
		/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
		r = setenv("LD_PRELOAD", list, 1) | setenv("HOTPATCH_PRELOAD", own, 1);
		r |= setenv("HOTPATCH_SERVE", children ? "children" : "1", 1);
		/* NOLINTEND(concurrency-mt-unsafe) */
	}
	free(own);
	free(list);
	return r ? hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the environment of '%s'", program) : 0;
}
