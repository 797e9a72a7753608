/* doctor - what would stand in the way of patching on this machine, or a certain process. Each check is a try, not a
 * guess from version numbers.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/output.h"
#include "cli/runtime.h"
#include "remote/attach.h"
#include "remote/client.h"
#include "remote/process.h"

enum verdict { FINE, NOTE, WRONG }; /* WRONG: something cannot be done; NOTE: it can, but in one way only */

struct doctor {
	struct hp_output *output;
	json_t *checks;
	bool wrong;
};

static void say(struct doctor *doctor, const char *what, enum verdict verdict, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void say(struct doctor *doctor, const char *what, enum verdict verdict, const char *format, ...)
{
	static const char *const names[] = {"ok", "note", "wrong"};
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	hp_output_text(doctor->output, "%-5s  %-14s %s", names[verdict], what, text);
	json_array_append_new(doctor->checks,
	                      json_pack("{s:s, s:s, s:s}", "check", what, "verdict", names[verdict], "text", text));
	doctor->wrong |= verdict == WRONG;
}

/* -- The machine ----------------------------------------------------------------------------------------------------
 */

static void check_kernel(struct doctor *doctor)
{
	struct utsname name;
	uname(&name);
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	bool has = commands > 0 && commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE;
	say(doctor, "membarrier", has ? FINE : WRONG,
	    has ? "Linux %s makes all processors see new code"
	        : "Linux %s has no membarrier(SYNC_CORE), or a seccomp filter forbids it: no patch can be applied",
	    name.release);
}

static bool write_through_proc(void *page)
{
	uint8_t byte = 0xc3;
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool wrote = fd >= 0 && pwrite(fd, &byte, 1, (off_t)(uintptr_t)page) == 1;
	if (fd >= 0)
		close(fd);
	return wrote;
}

static void check_text(struct doctor *doctor)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool proc = page != MAP_FAILED && write_through_proc(page);
	bool protect = page != MAP_FAILED && mprotect(page, size, PROT_READ | PROT_WRITE | PROT_EXEC) == 0;
	if (proc)
		say(doctor, "program text", FINE, "can be written through /proc/self/mem");
	else if (protect)
		say(doctor, "program text", NOTE,
		    "/proc/self/mem is refused (proc_mem.force_override, no /proc); mprotect is allowed and will be used");
	else
		say(doctor, "program text", WRONG, "can be written neither through /proc/self/mem nor by mprotect");
	if (page != MAP_FAILED)
		munmap(page, size);
}

static void check_reading(struct doctor *doctor)
{
	int from = 7, to = 0;
	struct iovec local = {&to, sizeof(to)}, remote = {&from, sizeof(from)};
	bool works = process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == sizeof(to) && to == from;
	say(doctor, "stacks", works ? FINE : WRONG,
	    works ? "can be read (process_vm_readv)" : "cannot be read: process_vm_readv is refused (%m)");
}

static void check_ptrace(struct doctor *doctor)
{
	static const char *const meanings[] = {
		"any process of the same user can be attached to",
		"only root can attach to processes that it has not started; 'hotpatch run' needs no ptrace",
		"only root can attach; 'hotpatch run' needs no ptrace",
		"nobody can attach until the next boot; 'hotpatch run' needs no ptrace",
	};
	int scope = 0;
	FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
	if (file && fscanf(file, "%d", &scope) != 1)
		scope = 0;
	if (file)
		fclose(file);
	scope = scope < 0 || scope > 3 ? 3 : scope;
	say(doctor, "ptrace", scope == 0 || (geteuid() == 0 && scope < 3) ? FINE : NOTE,
	    "kernel.yama.ptrace_scope is %d: %s", scope, meanings[scope]);
}

static bool is_ours(const char *folder)
{
	struct stat status;
	return stat(folder, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
	       !(status.st_mode & (S_IWGRP | S_IWOTH));
}

static void check_folder(struct doctor *doctor)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (runtime && is_ours(runtime))
		say(doctor, "sockets", FINE, "of agents lie in %s/hotpatch", runtime);
	else if (geteuid() == 0)
		say(doctor, "sockets", FINE, "of agents lie in /run/hotpatch");
	else
		say(doctor, "sockets", NOTE,
		    "of agents lie in /tmp/hotpatch-%u: XDG_RUNTIME_DIR is not set, or not a folder of this user's alone",
		    (unsigned)geteuid());
}

static void check_library(struct doctor *doctor)
{
	char path[4096];
	struct hp_err err;
	if (hp_runtime_find(path, sizeof(path), &err) != 0)
		say(doctor, "library", WRONG, "%s", err.text);
	else
		say(doctor, "library", FINE, "%s", path);
}

/* -- A process ------------------------------------------------------------------------------------------------------
 */

static int check_process(struct doctor *doctor, pid_t pid)
{
	struct hp_process process;
	struct hp_remote *remote;
	struct hp_err err;
	if (!hp_process_read(pid, &process)) {
		say(doctor, "process", WRONG, "there is no process %d", (int)pid);
		return HP_EXIT_GONE;
	}
	say(doctor, "process", FINE, "%d is '%s' of user %u, with %u thread%s", (int)pid, process.name,
	    (unsigned)process.uid, process.threads, process.threads == 1 ? "" : "s");
	int error = hp_remote_open(pid, 2000, &remote, &err);
	if (!error) {
		say(doctor, "agent", FINE, "is there, of version %s", hp_remote_hello(remote)->version);
		hp_remote_close(remote);
		return HP_EXIT_DONE;
	}
	say(doctor, "agent", error == HOTPATCH_ENOFILE ? NOTE : WRONG, "%s", err.text);
	error = hp_attach_check(pid, &err);
	if (error)
		say(doctor, "attach", WRONG, "%s", err.text);
	else
		say(doctor, "attach", FINE, "nothing that can be seen stands in the way");
	return error == HOTPATCH_EGONE ? HP_EXIT_GONE : HP_EXIT_DONE;
}

static int examine(struct hp_output *output, pid_t pid)
{
	struct doctor doctor = {output, json_array(), false};
	int status = HP_EXIT_DONE;
	json_object_set_new(output->root, "checks", doctor.checks);
	check_kernel(&doctor);
	check_text(&doctor);
	check_reading(&doctor);
	check_ptrace(&doctor);
	check_folder(&doctor);
	check_library(&doctor);
	if (pid)
		status = check_process(&doctor, pid);
	return status ? status : doctor.wrong ? HP_EXIT_REFUSED : HP_EXIT_DONE;
}

static int run(const struct hp_command *command, int argc, char **argv)
{
	static const struct option options[] = {HP_COMMON_OPTIONS};
	struct hp_output output;
	pid_t pid = 0;
	int option, status = HP_EXIT_DONE;
	hp_output_begin(&output, command);
	while ((option = hp_next_option(argc, argv, "h", options)) != -1)
		if (!hp_common_option(command, &output, option, &status))
			goto out;
	if (argc - optind > 1)
		status = hp_usage(command, "one process, by its number, or none");
	else if (optind < argc)
		status = hp_read_pid(command, argv[optind], &pid);
	if (status != HP_EXIT_DONE)
		goto out;
	status = examine(&output, pid);
	return hp_output_end(&output, status);
out:
	output.json = false;
	return hp_output_end(&output, status);
}

const struct hp_command hp_cmd_doctor = {
	.name = "doctor",
	.summary = "say what stands in the way, on this machine or of a process",
	.arguments = "[PID]",
	.help = "",
	.run = run,
};
