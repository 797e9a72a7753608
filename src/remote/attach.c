#include "remote/attach.h"

#include <dirent.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "elf/image.h"
#include "remote/client.h"
#include "remote/process.h"
#include "remote/tracee.h"

enum { TIMEOUT_MS = 5000, RUNNING_AFTER_MS = 300, STOP_MS = 500, FRAMES_MAX = 256 };

/* -- Whether at all ------------------------------------------------------------------------------------------------ */

static int read_number(const char *path)
{
	int number = -1;
	FILE *file = fopen(path, "re");
	if (file && fscanf(file, "%d", &number) != 1)
		number = -1;
	if (file)
		fclose(file);
	return number;
}

/* The mapping of libc, if the process has one: the path as it stands in maps, the file to read, its lowest address. */
struct libc {
	char file[128];
	uint64_t low;
};

static bool find_libc(pid_t pid, struct libc *ret_libc)
{
	char path[64], line[1024], name[512];
	unsigned long low, high;
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && !found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %511s", &low, &high, name) != 3)
			continue;
		const char *base = strrchr(name, '/');
		found = base && (strcmp(base, "/libc.so.6") == 0 || strncmp(base, "/libc-2.", 8) == 0);
	}
	if (maps)
		fclose(maps);
	if (found) {
		ret_libc->low = low;
		snprintf(ret_libc->file, sizeof(ret_libc->file), "/proc/%d/map_files/%lx-%lx", (int)pid, low, high);
		if (access(ret_libc->file, R_OK) != 0 && strlen(name) < 100)
			snprintf(ret_libc->file, sizeof(ret_libc->file), "/proc/%d/root%s", (int)pid, name);
	}
	return found;
}

static int check_kind(pid_t pid, struct hp_err *err)
{
	char path[64];
	struct hp_image *image;
	struct hp_err cause;
	struct libc libc;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	int error = hp_image_open(path, path, &image, &cause);
	if (error == HOTPATCH_ENOTELF)
		return hp_err_set(err, HOTPATCH_ENOTSUP,
		                  "process %d is no program of this machine's kind (a 32-bit one, or of "
		                  "another processor)",
		                  (int)pid);
	if (error)
		return hp_err_set(err, HOTPATCH_ESYSTEM, "the program of process %d cannot be read: %s", (int)pid,
		                  cause.text);
	hp_image_close(image);
	if (find_libc(pid, &libc))
		return 0;
	return hp_err_set(err, HOTPATCH_ENOTSUP,
	                  "process %d has no libc.so.6 mapped: a static program, which has no dynamic linker to load "
	                  "libhotpatch with; link it with libhotpatch.a and call hotpatch_serve()",
	                  (int)pid);
}

int hp_attach_check(pid_t pid, struct hp_err *err)
{
	struct hp_process process, tracer;
	if (pid <= 0 || !hp_process_read(pid, &process) || process.state == 'Z' || process.state == 'X')
		return hp_err_set(err, HOTPATCH_EGONE, "there is no process %d%s", (int)pid,
		                  pid > 0 && kill(pid, 0) == 0 ? ": it has ended, and its parent has not asked for it"
		                                               : "");
	if (pid == getpid())
		return hp_err_set(err, HOTPATCH_EINVAL, "that is this command itself");
	if (geteuid() != 0 && process.uid != geteuid())
		return hp_err_set(err, HOTPATCH_ESYSTEM, "process %d ('%s') belongs to user %u; be that user, or root",
		                  (int)pid, process.name, (unsigned)process.uid);
	if (process.tracer)
		return hp_err_set(err, HOTPATCH_ESYSTEM,
		                  "process %d ('%s') is traced by process %d ('%s'), and can have one "
		                  "tracer only",
		                  (int)pid, process.name, (int)process.tracer,
		                  hp_process_read(process.tracer, &tracer) ? tracer.name : "?");
	if (process.state == 'T' || process.state == 't')
		return hp_err_set(err, HOTPATCH_ESYSTEM,
		                  "process %d ('%s') is stopped; continue it first (kill -CONT %d)", (int)pid,
		                  process.name, (int)pid);
	if (process.seccomp)
		return hp_err_set(
			err, HOTPATCH_ESYSTEM,
			"process %d ('%s') runs under seccomp, which may end it for the system calls that loading a "
			"library takes; call hotpatch_serve() in it, or start it with 'hotpatch run'",
			(int)pid, process.name);
	return check_kind(pid, err);
}

/* -- What to call -------------------------------------------------------------------------------------------------- */

struct calls {
	uint64_t dlopen, dlsym, dlerror;
};

static uint64_t low_of(const struct hp_image *image)
{
	GElf_Phdr header;
	size_t n = 0;
	if (elf_getphdrnum(image->elf, &n) != 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (gelf_getphdr(image->elf, (int)i, &header) && header.p_type == PT_LOAD)
			return header.p_vaddr & ~(header.p_align ? header.p_align - 1 : 0);
	return 0;
}

static uint64_t value_of(const struct hp_image *image, const char *name)
{
	const struct hp_section *section = hp_image_section_of_type(image, SHT_DYNSYM);
	Elf_Data *data = section ? hp_section_data(section) : NULL;
	GElf_Sym symbol;
	for (int i = 0; data && gelf_getsym(data, i, &symbol); i++) {
		const char *found = elf_strptr(image->elf, section->header.sh_link, symbol.st_name);
		if (found && strcmp(found, name) == 0 && symbol.st_shndx != SHN_UNDEF)
			return symbol.st_value;
	}
	return 0;
}

/* libc has had dlopen itself since 2.34. */
static int find_calls(pid_t pid, struct calls *ret_calls, struct hp_err *err)
{
	struct libc libc;
	struct hp_image *image;
	if (!find_libc(pid, &libc))
		return hp_err_set(err, HOTPATCH_ENOTSUP, "process %d has no libc mapped any more", (int)pid);
	int error = hp_image_open(libc.file, "libc", &image, err);
	if (error)
		return error;
	const uint64_t bias = libc.low - low_of(image),
		       names[3] = {value_of(image, "dlopen"), value_of(image, "dlsym"), value_of(image, "dlerror")};
	hp_image_close(image);
	if (!names[0] || !names[1] || !names[2])
		return hp_err_set(err, HOTPATCH_ENOTSUP, "libc of process %d has no dlopen (glibc before 2.34)",
		                  (int)pid);
	*ret_calls = (struct calls){bias + names[0], bias + names[1], bias + names[2]};
	return 0;
}

/* -- Whether a thread is at a safe place -----------------------------------------------------------------------------
 */

enum kind { PROGRAM, LIBC, LINKER, SANITIZER, OTHER };

struct stack {
	enum kind kinds[FRAMES_MAX];
	size_t n;
	const char *program; /* its path */
	bool allocates;      /* some frame's function is called as allocators' are */
};

static enum kind kind_of(const char *path, const char *program)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	if (strncmp(base, "ld-linux", 8) == 0 || strncmp(base, "ld-2.", 5) == 0)
		return LINKER;
	if (strncmp(base, "libc.so", 7) == 0 || strncmp(base, "libc-2.", 7) == 0 ||
	    strncmp(base, "libpthread", 10) == 0)
		return LIBC;
	return strcmp(path, program) == 0 ? PROGRAM : OTHER;
}

/* The runtimes of sanitizers: gcc's are libraries, clang's are put into the program. */
static bool is_sanitizer(const char *path, const char *function)
{
	static const char *const libraries[] = {"/libtsan.so", "/libasan.so", "/liblsan.so", "/libubsan.so"};
	static const char *const names[] = {"__tsan", "__asan", "__lsan", "__ubsan", "__sanitizer", "__interceptor"};
	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++)
		if (strstr(path, libraries[i]))
			return true;
	for (size_t i = 0; function && i < sizeof(names) / sizeof(*names); i++)
		if (strstr(function, names[i]))
			return true;
	return false;
}

static bool is_allocator(const char *name)
{
	static const char *const parts[] = {"alloc", "free", "_Znw", "_Zdl", "_Zna", "_Zda", "je_", "arena", "tcache"};
	for (size_t i = 0; name && i < sizeof(parts) / sizeof(*parts); i++)
		if (strstr(name, parts[i]))
			return true;
	return false;
}

static int add_frame(Dwfl_Frame *frame, void *arg)
{
	struct stack *stack = arg;
	Dwarf_Addr pc;
	bool exact;
	if (stack->n == FRAMES_MAX || !dwfl_frame_pc(frame, &pc, &exact))
		return DWARF_CB_ABORT;
	pc -= !exact;
	Dwfl_Module *module = dwfl_addrmodule(dwfl_thread_dwfl(dwfl_frame_thread(frame)), pc);
	const char *path = module ? dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL) : NULL;
	if (!path)
		return DWARF_CB_ABORT;
	const char *function = dwfl_module_addrname(module, pc);
	stack->allocates |= is_allocator(function);
	stack->kinds[stack->n++] = is_sanitizer(path, function) ? SANITIZER : kind_of(path, stack->program);
	return DWARF_CB_OK;
}

static int no_debuginfo(Dwfl_Module *module, void **user, const char *name, Dwarf_Addr base, const char *file,
                        const char *link, GElf_Word crc, char **ret_name)
{
	(void)module, (void)user, (void)name, (void)base, (void)file, (void)link, (void)crc, (void)ret_name;
	return -1; /* .eh_frame is enough, and no server is to be asked */
}

static Dwfl *open_unwinder(pid_t pid)
{
	static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_linux_proc_find_elf, .find_debuginfo = no_debuginfo};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	if (dwfl && dwfl_linux_proc_report(dwfl, pid) == 0 && dwfl_report_end(dwfl, NULL, NULL) == 0 &&
	    dwfl_linux_proc_attach(dwfl, pid, true) == 0)
		return dwfl;
	dwfl_end(dwfl);
	return NULL;
}

/* The search for a thread. */
struct choice {
	pid_t pid;
	char program[4096]; /* path of its file */
	Dwfl *dwfl;
	uint64_t began, deadline;
};

/* Waits that nobody makes who holds a lock of libc's or of the dynamic linker's. */
static bool is_wait(int64_t call)
{
	static const int calls[] = {
		SYS_read,   SYS_readv,      SYS_recvfrom,        SYS_recvmsg,         SYS_accept4,
		SYS_ppoll,  SYS_pselect6,   SYS_epoll_pwait,     SYS_nanosleep,       SYS_clock_nanosleep,
		SYS_futex,  SYS_wait4,      SYS_waitid,          SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
		SYS_accept, SYS_semtimedop, SYS_mq_timedreceive, SYS_msgrcv,          SYS_restart_syscall,
#ifdef SYS_poll /* older calls, which newer instruction sets do not have */
		SYS_poll,   SYS_select,     SYS_epoll_wait,      SYS_pause,
#endif
	};
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (call == calls[i])
			return true;
	return false;
}

/* A thread of a sanitizer's own is none that can call: it has no state for what is called. */
static bool is_of_program(const struct stack *stack, size_t begin, size_t end)
{
	for (size_t i = begin; i < end; i++)
		if (stack->kinds[i] != SANITIZER)
			return true;
	return false;
}

/* libc at the innermost end only if it waits there; at the outermost end there is what started the thread. */
static bool stack_is_safe(const struct stack *stack, bool waits)
{
	size_t i = 0, end = stack->n;
	while (i < end && stack->kinds[i] == LIBC)
		i++;
	if (i == end || (i > 0 && !waits)) /* nothing but libc, or running in it */
		return false;
	if (end > i + 1 && stack->kinds[end - 1] == PROGRAM && stack->kinds[end - 2] == LIBC)
		end--; /* _start */
	while (end > i && stack->kinds[end - 1] == LIBC)
		end--;
	if (!is_of_program(stack, i, end))
		return false;
	for (; i < end; i++)
		if (stack->kinds[i] != PROGRAM && (!waits || stack->kinds[i] < SANITIZER))
			return false;
	return waits || !stack->allocates;
}

static bool is_safe(const struct choice *choice, const struct hp_tracee *tracee)
{
	struct stack stack = {.program = choice->program};
	int64_t call = hp_arch_interrupted_syscall(&tracee->regs);
	if (call >= 0 && !is_wait(call))
		return false;
	return dwfl_getthread_frames(choice->dwfl, tracee->tid, add_frame, &stack) == 0 &&
	       stack_is_safe(&stack, call >= 0);
}

/* -- Choosing one -------------------------------------------------------------------------------------------------- */

/* What /proc says it is at: no reason to stop one that is somewhere else. */
static bool looks_safe(pid_t pid, pid_t tid, bool running_too)
{
	char path[64], text[256] = "";
	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	FILE *file = fopen(path, "re");
	if (file && !fgets(text, sizeof(text), file))
		text[0] = 0;
	if (file)
		fclose(file);
	if (strncmp(text, "running", 7) == 0)
		return running_too;
	return text[0] >= '0' && text[0] <= '9' && is_wait(strtol(text, NULL, 10));
}

static int try_thread(const struct choice *choice, pid_t tid, struct hp_tracee *ret_tracee, struct hp_err *err)
{
	bool running_too = hp_now_ms() - choice->began > RUNNING_AFTER_MS;
	if (!looks_safe(choice->pid, tid, running_too))
		return HOTPATCH_EBUSY;
	int error = hp_tracee_stop(choice->pid, tid, hp_now_ms() + STOP_MS, ret_tracee, err);
	if (!error && !is_safe(choice, ret_tracee)) {
		hp_tracee_release(ret_tracee);
		return HOTPATCH_EBUSY;
	}
	return error == HOTPATCH_ETIMEDOUT ? HOTPATCH_EBUSY
	                                   : error; /* asleep where nothing wakes it: let go when we end */
}

/* The first thread first: it is there the longest, and its end is what the agent wants to know of. */
static int try_all(const struct choice *choice, struct hp_tracee *ret_tracee, struct hp_err *err)
{
	char path[64];
	int error = try_thread(choice, choice->pid, ret_tracee, err);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)choice->pid);
	DIR *folder = error == HOTPATCH_EBUSY || error == HOTPATCH_EGONE ? opendir(path) : NULL;
	for (struct dirent *entry;
	     folder && (error == HOTPATCH_EBUSY || error == HOTPATCH_EGONE) && (entry = readdir(folder));) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (tid > 0 && tid != choice->pid)
			error = try_thread(choice, tid, ret_tracee, err);
	}
	if (folder)
		closedir(folder);
	return error;
}

static int choose(const struct choice *choice, struct hp_tracee *ret_tracee, struct hp_err *err)
{
	struct timespec pause = {0, 2000000};
	for (;;) {
		int error = try_all(choice, ret_tracee, err);
		if (error != HOTPATCH_EBUSY && error != HOTPATCH_EGONE)
			return error;
		if (kill(choice->pid, 0) != 0)
			return hp_err_set(err, HOTPATCH_EGONE, "process %d has ended", (int)choice->pid);
		if (hp_now_ms() >= choice->deadline)
			return hp_err_set(
				err, HOTPATCH_ETIMEDOUT,
				"no thread of process %d was found at a safe place in time: asleep in a wait, or "
				"running in the program's own code; try again",
				(int)choice->pid);
		nanosleep(&pause, NULL);
	}
}

/* -- Loading ------------------------------------------------------------------------------------------------------- */

static bool sees_same_file(pid_t pid, const char *path)
{
	char seen[4200];
	struct stat ours, theirs;
	snprintf(seen, sizeof(seen), "/proc/%d/root%s", (int)pid, path);
	return stat(path, &ours) == 0 && stat(seen, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	       ours.st_ino == theirs.st_ino;
}

static bool copy_file(const char *from, const char *to)
{
	char bytes[65536];
	ssize_t n = -1;
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
	while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof(bytes))) > 0)
		if (write(out, bytes, (size_t)n) != n)
			break;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n == 0;
}

/* Gives the process a copy of the library in memory, and its path there. */
static int give_copy(struct hp_tracee *tracee, const char *library, char *path, size_t size, int64_t *ret_fd,
                     struct hp_err *err)
{
	static const char name[] = "libhotpatch.so.0";
	char to[64];
	uint64_t args[6] = {tracee->area, 1 /* MFD_CLOEXEC */};
	if (!hp_tracee_write(tracee, tracee->area, name, sizeof(name)))
		return hp_err_set(err, HOTPATCH_ESYSTEM, "memory of process %d cannot be written", (int)tracee->pid);
	int error = hp_tracee_syscall(tracee, SYS_memfd_create, args, ret_fd, err);
	if (!error && *ret_fd < 0)
		error = hp_err_system(err, HOTPATCH_ESYSTEM, (int)-*ret_fd, "memfd_create in process %d",
		                      (int)tracee->pid);
	if (error)
		return error;
	snprintf(to, sizeof(to), "/proc/%d/fd/%d", (int)tracee->tid, (int)*ret_fd);
	snprintf(path, size, "/proc/self/fd/%d", (int)*ret_fd);
	return copy_file(library, to) ? 0
	                              : hp_err_set(err, HOTPATCH_ESYSTEM, "'%s' cannot be copied into process %d",
	                                           library, (int)tracee->pid);
}

static int call_dlopen(struct hp_tracee *tracee, const struct calls *calls, const char *path, uint64_t *ret_handle,
                       struct hp_err *err)
{
	char said[512];
	uint64_t text;
	if (!hp_tracee_write(tracee, tracee->area, path, strlen(path) + 1))
		return hp_err_set(err, HOTPATCH_ESYSTEM, "memory of process %d cannot be written", (int)tracee->pid);
	int error = hp_tracee_call(tracee, calls->dlopen, tracee->area, 2 /* RTLD_NOW */, ret_handle, err);
	if (error || *ret_handle)
		return error;
	error = hp_tracee_call(tracee, calls->dlerror, 0, 0, &text, err);
	if (error)
		return error;
	hp_tracee_read_string(tracee, text, said, sizeof(said));
	return hp_err_set(err, HOTPATCH_ELOAD, "process %d cannot load libhotpatch: %s", (int)tracee->pid, said);
}

static int call_named(struct hp_tracee *tracee, const struct calls *calls, uint64_t handle, const char *name,
                      uint64_t *ret_result, struct hp_err *err)
{
	uint64_t function = 0;
	if (!hp_tracee_write(tracee, tracee->area, name, strlen(name) + 1))
		return hp_err_set(err, HOTPATCH_ESYSTEM, "memory of process %d cannot be written", (int)tracee->pid);
	int error = hp_tracee_call(tracee, calls->dlsym, handle, tracee->area, &function, err);
	if (!error && !function)
		error = hp_err_set(err, HOTPATCH_ELOAD, "libhotpatch in process %d has no %s: another version?",
		                   (int)tracee->pid, name);
	return error ? error : hp_tracee_call(tracee, function, 0, 0, ret_result, err);
}

static int start_agent(struct hp_tracee *tracee, const struct calls *calls, uint64_t handle, struct hp_err *err)
{
	uint64_t result = 0, report = 0, message = 0;
	char said[768];
	int error = call_named(tracee, calls, handle, "hotpatch_serve_with", &result, err);
	if (error || (int)result == 0)
		return error;
	int code = (int)result;
	error = call_named(tracee, calls, handle, "hotpatch_error", &report, err);
	if (error)
		return error;
	hp_tracee_read(tracee, report + offsetof(struct hotpatch_error, message), &message, sizeof(message));
	hp_tracee_read_string(tracee, message, said, sizeof(said));
	return hp_err_set(err, code, "in process %d: %s", (int)tracee->pid, said);
}

static int load(struct hp_tracee *tracee, const struct calls *calls, const char *library, struct hp_attached *attached,
                struct hp_err *err)
{
	char path[4096];
	int64_t fd = -1;
	uint64_t handle;
	struct hp_err ignored;
	int error = hp_tracee_prepare(tracee, err);
	snprintf(path, sizeof(path), "%s", library);
	attached->by_memfd = !sees_same_file(tracee->pid, library);
	if (!error && attached->by_memfd)
		error = give_copy(tracee, library, path, sizeof(path), &fd, err);
	if (!error)
		error = call_dlopen(tracee, calls, path, &handle, err);
	if (!error)
		error = start_agent(tracee, calls, handle, err);
	if (fd >= 0) {
		uint64_t args[6] = {(uint64_t)fd};
		(void)!hp_tracee_syscall(tracee, SYS_close, args, &fd, &ignored);
	}
	return error;
}

/* -- All of it ----------------------------------------------------------------------------------------------------- */

static int explain_policy(pid_t pid, int error, struct hp_err *err)
{
	int scope = read_number("/proc/sys/kernel/yama/ptrace_scope");
	struct hp_err cause = *err;
	if (error != HOTPATCH_ESYSTEM || scope < 1 || geteuid() == 0)
		return error;
	return hp_err_set(
		err, error,
		"%s; kernel.yama.ptrace_scope is %d, which lets %s trace process %d: be root, or start it with "
		"'hotpatch run'",
		cause.text, scope,
		scope == 1   ? "only its parents"
		: scope == 2 ? "only root"
			     : "nobody",
		(int)pid);
}

/* Whoever ends this command meanwhile would leave a thread in the middle of a call. */
static int stop_and_load(const struct choice *choice, const struct calls *calls, const char *library,
                         struct hp_attached *attached, struct hp_err *err)
{
	struct hp_tracee tracee;
	struct timespec from, to;
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = choose(choice, &tracee, err);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (!error) {
		attached->thread = tracee.tid;
		tracee.deadline = hp_now_ms() + (choice->deadline - choice->began);
		error = load(&tracee, calls, library, attached, err);
		hp_tracee_release(&tracee);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	attached->stopped = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static bool has_agent(pid_t pid)
{
	struct hp_remote *remote;
	struct hp_err ignored;
	if (hp_remote_open(pid, 1000, &remote, &ignored) != 0)
		return false;
	hp_remote_close(remote);
	return true;
}

static void read_program(struct choice *choice)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)choice->pid);
	ssize_t n = readlink(path, choice->program, sizeof(choice->program) - 1);
	choice->program[n > 0 ? n : 0] = 0;
}

int hp_attach(pid_t pid, const struct hp_attach_options *options, struct hp_attached *ret_attached, struct hp_err *err)
{
	unsigned timeout = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
	struct choice choice = {.pid = pid, .began = hp_now_ms(), .deadline = hp_now_ms() + timeout};
	struct calls calls;
	*ret_attached = (struct hp_attached){0};
	int error = hp_attach_check(pid, err);
	if (!error && has_agent(pid)) {
		ret_attached->already = true;
		return 0;
	}
	if (!error && access(options->library, R_OK) != 0)
		error = hp_err_system(err, HOTPATCH_ENOFILE, errno, "'%s'", options->library);
	if (!error)
		error = find_calls(pid, &calls, err);
	if (!error)
		read_program(&choice);
	if (!error && !(choice.dwfl = open_unwinder(pid)))
		error = hp_err_set(err, HOTPATCH_ESYSTEM, "the stacks of process %d cannot be unwound: %s", (int)pid,
		                   dwfl_errmsg(-1) ? dwfl_errmsg(-1) : "?");
	if (!error)
		error = explain_policy(pid, stop_and_load(&choice, &calls, options->library, ret_attached, err), err);
	dwfl_end(choice.dwfl);
	return error;
}
