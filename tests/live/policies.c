/* policies - B25: what a system may forbid. It works another way, or is refused with the reason in the sentence and
 * nothing changed; and the program runs on unharmed, and can be changed if the policy is lifted.
 *
 * Each policy in a child of its own: seccomp filters against mprotect with PROT_EXEC, membarrier, opening files,
 * process_vm_readv, memfd and queued signals; PR_SET_MDWE; a process that is not dumpable; no address space; no
 * descriptors. In each a thread calls the function all the time, and one sleeps.
 *
 * build: quick=gcc-O2
 *
 * Seen to fail: before it was checked whether memory can be read, where a thread was told that it stands in its own
 * way.
 */
#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

enum { OLD = 1, NEW = 2, WITH_CONTEXT = 3, NOT_HERE = 77 };

HOTPATCHABLE int value(void)
{
	return OLD;
}

APART int value_new(void)
{
	return NEW;
}

APART int value_of_context(void)
{
	return *(int *)hotpatch_context();
}

/* -- Policies ------------------------------------------------------------------------------------------------ */

/* Refuses the system call with `error`; if bits, only when that argument (counted from 0) has one of them. */
static void forbid_argument(int number, int error, int argument, unsigned bits)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, args[argument])),
		BPF_JUMP(BPF_JMP | (bits ? BPF_JSET : BPF_JGE) | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(NOT_HERE);
}

static void forbid(int number, int error, unsigned bits)
{
	forbid_argument(number, error, 2, bits);
}

/* Files are opened by one call or the other: musl has the old one. */
static void forbid_opening(unsigned bits)
{
	forbid(SYS_openat, EACCES, bits);
#if defined(SYS_open)
	forbid_argument(SYS_open, EACCES, 1, bits);
#endif
}

static void no_exec_by_mprotect(void)
{
	forbid(SYS_mprotect, EACCES, PROT_EXEC);
}

static void no_membarrier(void)
{
	forbid(SYS_membarrier, EPERM, 0);
}

static void no_membarrier_at_all(void)
{
	forbid(SYS_membarrier, ENOSYS, 0);
}

static void no_files(void)
{
	forbid_opening(0);
}

static void no_files_to_write(void)
{
	forbid_opening(O_RDWR | O_WRONLY);
}

static void no_writing_of_text(void)
{
	no_files_to_write();
	no_exec_by_mprotect();
}

static void no_reading_of_memory(void)
{
	forbid(SYS_process_vm_readv, EPERM, 0);
}

static void no_signals(void)
{
	forbid(SYS_rt_tgsigqueueinfo, EPERM, 0);
}

static void no_membarrier_no_signals(void)
{
	no_membarrier();
	no_signals();
}

static void no_exec_gain(void)
{
	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0)
		_exit(NOT_HERE);
}

static void not_dumpable(void)
{
	if (geteuid() == 0) /* to whom its own files in /proc are not closed */
		CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
}

static void no_address_space(void)
{
	struct rlimit limit = {4096, RLIM_INFINITY};

	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void no_descriptors(void)
{
	struct rlimit limit = {0, 1024};

	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* -- The program ---------------------------------------------------------------------------------------------- */

static atomic_bool stop;
static atomic_uint calls;
static sem_t wake;
static atomic_int sleeper_tid;

static void *caller(void *arg)
{
	step_back();
	while (!atomic_load(&stop)) {
		int got = value();

		if (got < OLD || got > WITH_CONTEXT)
			FAIL("a call returned %d", got);
		atomic_fetch_add(&calls, 1);
	}
	return arg;
}

static void *sleeper(void *arg)
{
	atomic_store(&sleeper_tid, thread_id());
	take(&wake);
	return arg;
}

static int context = WITH_CONTEXT;

static int change(bool closure)
{
	return closure ? hotpatch_closure(value, value_of_context, &context, NULL, .timeout_ms = 2000)
	               : hotpatch_fn(value, value_new, .timeout_ms = 2000);
}

/* Refused with `code` (0: not), and a sentence that has `says`; `later` where the function was changed before. */
struct policy {
	const char *name;
	void (*set)(void);
	int code, later;
	const char *says;
	bool slow; /* each change takes seconds: the runtime gives threads time to answer, which they cannot */
};

static void check_change(const struct policy *policy, int want, bool closure, int *now)
{
	int code = change(closure);

	if (getenv("POLICIES_SHOW") != NULL)
		fprintf(stderr, "%s%s: %s %s\n", policy->name, closure ? ", closure" : "", hotpatch_code_name(code),
		        code ? hotpatch_error()->message : "");
	if (want == 0) {
		CHECK_OK(code);
		*now = closure ? WITH_CONTEXT : NEW;
	} else {
		CHECK_CODE(code, want);
		CHECK_SAYS(policy->says);
	}
	CHECK_INT(value(), *now);
}

static void under(const struct policy *policy, bool changed_before)
{
	pthread_t threads[2];
	int now = OLD, want = changed_before ? policy->later : policy->code;
	unsigned seen;

	deadline(60);
	sem_init(&wake, 0, 0);
	threads[0] = thread_start(sleeper, NULL);
	threads[1] = thread_start(caller, NULL);
	AWAIT(atomic_load(&calls) > 0 && atomic_load(&sleeper_tid) != 0);
	if (changed_before) {
		CHECK_OK(hotpatch_closure(value, value_of_context, &context, NULL));
		CHECK_OK(hotpatch_restore(value));
		CHECK_STR(hotpatch_error()->message, "nothing has failed");
	}
	policy->set();
	check_change(policy, want, changed_before, &now);
	if (!policy->slow || IN_FULL) {
		check_change(policy, want, !changed_before, &now);
		check_change(policy, want, changed_before, &now);
	}
	if (want == 0) {
		CHECK_OK(hotpatch_restore(value, .timeout_ms = 2000));
		CHECK_INT(value(), OLD);
	}
	seen = atomic_load(&calls);
	AWAIT(atomic_load(&calls) > seen + 1000);
	atomic_store(&stop, true);
	give(&wake);
	thread_join(threads[0]);
	thread_join(threads[1]);
	_exit(0);
}

static int in_child(const struct policy *policy, bool changed_before)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		under(policy, changed_before);
	CHECK(child > 0 && waitpid(child, &status, 0) == child);
	if (WIFSIGNALED(status))
		FAIL("%s%s: killed by signal %d", policy->name, changed_before ? ", changed before" : "",
		     WTERMSIG(status));
	if (WEXITSTATUS(status) == NOT_HERE)
		printf("%s: the system has no such policy\n", policy->name);
	else if (WEXITSTATUS(status) != 0 && getenv("POLICIES_SHOW") == NULL)
		FAIL("%s%s", policy->name, changed_before ? ", changed before" : "");
	return WEXITSTATUS(status) == 0;
}

int main(void)
{
	static const struct policy policies[] = {
		{"mprotect with PROT_EXEC", no_exec_by_mprotect, 0, 0, "", false},
		{"membarrier refused", no_membarrier, 0, 0, "", false}, /* threads are asked by signal instead */
		{"membarrier unknown", no_membarrier_at_all, 0, 0, "", false},
		{"membarrier and queued signals", no_membarrier_no_signals, HOTPATCH_ESYSTEM, HOTPATCH_ESYSTEM,
	         "cannot be sent it", true},
		{"opening files", no_files, HOTPATCH_ETEXT, HOTPATCH_ETEXT, "Permission denied", false},
		{"opening files to write", no_files_to_write, 0, 0, "", false},
		{"writing text", no_writing_of_text, HOTPATCH_ETEXT, HOTPATCH_ETEXT, "seccomp", false},
		{"process_vm_readv", no_reading_of_memory, HOTPATCH_ESYSTEM, HOTPATCH_ESYSTEM, "process_vm_readv",
	         false},
		{"queued signals", no_signals, 0, 0, "", false}, /* the caller comes to the gate by itself */
		{"PR_SET_MDWE", no_exec_gain, 0, 0, "", false},
		{"PR_SET_DUMPABLE 0", not_dumpable, 0, 0, "", false},
		{"RLIMIT_AS", no_address_space, HOTPATCH_ENOMEM, 0, "Cannot allocate memory", false},
		{"RLIMIT_NOFILE", no_descriptors, HOTPATCH_ETEXT, HOTPATCH_ETEXT, "Too many open files", false},
	};
	int done = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		done += in_child(&policies[i], false);
		if (!policies[i].slow || IN_FULL)
			in_child(&policies[i], true);
	}
	CHECK(done >= 9);
	return 0;
}
