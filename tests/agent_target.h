/* agent_target - a process to talk to: this test program, started again with the runtime preloaded as `hotpatch run`
 * would. It answers each line of its standard input with what its functions return, so that a test sees which
 * definitions hold.
 */
#ifndef TESTS_AGENT_TARGET_H
#define TESTS_AGENT_TARGET_H

#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hotpatch.h"

extern const char __executable_start[];

/* -- In the target ------------------------------------------------------------------------------------------------- */

int counter = 5; /* data that a patch may write */
__thread int own = 7;

HOTPATCHABLE int first(void)
{
	return 1;
}
HOTPATCHABLE int second(void)
{
	return 2;
}

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

/* A thread that is in here until the lock is given back is a blocker with a stack. */
HOTPATCHABLE int stuck(void)
{
	pthread_mutex_lock(&held);
	pthread_mutex_unlock(&held);
	return 3;
}

static void *be_stuck(void *arg)
{
	stuck();
	return arg;
}

/* What a patch may be told to call. */
int veto(struct hotpatch *patch, enum hotpatch_event event, void *arg)
{
	(void)patch, (void)event, (void)arg;
	struct stat status;
	return fstat(1, &status) == 0 && S_ISFIFO(status.st_mode) ? 11 : 12; /* the program's descriptors are there */
}

void migrate(void)
{
	counter += 100;
}

static int direct_body(void)
{
	return 71;
}

/* The program's own changes, by the runtime that was preloaded: it is not linked with any. */
static int change_directly(bool restore)
{
	int (*put)(const struct hotpatch_marks *, const char *, hotpatch_any, hotpatch_any,
	           const struct hotpatch_options *) = dlsym(RTLD_DEFAULT, "hotpatch_fn_at");
	int (*take)(const struct hotpatch_marks *, const char *, hotpatch_any, const struct hotpatch_options *) =
		dlsym(RTLD_DEFAULT, "hotpatch_restore_at");
	return restore ? take(hotpatch_marks_(), "first", (hotpatch_any)first, NULL)
	               : put(hotpatch_marks_(), "first", (hotpatch_any)first, (hotpatch_any)direct_body, NULL);
}

/* One that waits until nobody is stuck. */
static void *change_stuck(void *arg)
{
	int (*put)(const struct hotpatch_marks *, const char *, hotpatch_any, hotpatch_any,
	           const struct hotpatch_options *) = dlsym(RTLD_DEFAULT, "hotpatch_fn_at");
	put(hotpatch_marks_(), "stuck", (hotpatch_any)stuck, (hotpatch_any)direct_body,
	    &(struct hotpatch_options){.timeout_ms = 120000, .size = sizeof(struct hotpatch_options)});
	return arg;
}

/* For all threads, the agent's among them. */
static bool forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

static _Atomic bool churns;
static _Atomic unsigned churned, churn_failures;
static pthread_t churners[3];

static void *call_first(void *arg)
{
	while (atomic_load(&churns))
		first();
	return arg;
}

static void *change_first(void *arg)
{
	for (; atomic_load(&churns); atomic_fetch_add(&churned, 1), usleep(1000)) /* others are to have a turn too */
		if (change_directly(false) != 0 || change_directly(true) != 0)
			atomic_fetch_add(&churn_failures, 1);
	return arg;
}

static void churn(void)
{
	atomic_store(&churns, true);
	for (int i = 0; i < 3; i++)
		pthread_create(&churners[i], NULL, i ? call_first : change_first, NULL);
}

static void end_churning(void)
{
	atomic_store(&churns, false);
	for (int i = 0; i < 3; i++)
		pthread_join(churners[i], NULL);
	if (atomic_load(&churn_failures) || !atomic_load(&churned))
		printf("%u of %u changes failed\n", atomic_load(&churn_failures), atomic_load(&churned));
}

static void answer_line(const char *line)
{
	pthread_t thread;
	if (strcmp(line, "stick") == 0) {
		pthread_mutex_lock(&held);
		pthread_create(&thread, NULL, be_stuck, NULL);
		pthread_detach(thread);
	} else if (strcmp(line, "loosen") == 0) {
		pthread_mutex_unlock(&held);
	} else if (strcmp(line, "occupy") == 0) {
		pthread_create(&thread, NULL, change_stuck, NULL);
		pthread_detach(thread);
	} else if (strcmp(line, "fork") == 0) {
		fflush(stdout);
		pid_t child = fork();
		if (child != 0) {
			printf("%d\n", (int)child);
			return;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	} else if (strcmp(line, "direct") == 0 || strcmp(line, "restore") == 0) {
		if (change_directly(*line == 'r') != 0)
			printf("refused\n");
	} else if (strcmp(line, "setid") == 0) { /* libc has every thread do it */
		if (setresuid(getuid(), getuid(), getuid()) != 0)
			printf("refused\n");
	} else if (strcmp(line, "forbid") == 0) {
		if (!forbid_membarrier())
			printf("cannot\n");
	} else if (strcmp(line, "churn") == 0) {
		churn();
	} else if (strcmp(line, "churned") == 0) {
		end_churning();
	} else if (strcmp(line, "leave") == 0) {
		pthread_exit(NULL);
	}
	printf("%d %d %d %d\n", first(), second(), counter, own);
}

static int be_target(void)
{
	char line[64];
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	printf("%s\n", getenv("LD_PRELOAD") || getenv("HOTPATCH_SERVE") ? "inherits" : "ready");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		answer_line(line);
	}
	return 0;
}

/* -- In the test --------------------------------------------------------------------------------------------------- */

struct target {
	pid_t pid;
	FILE *to, *from;
};

static char runtime_folder[64];

static void target_start(struct target *target)
{
	char preload[512];
	int to[2], from[2];
	snprintf(preload, sizeof(preload), "%s/libhotpatch.so.0", getenv("HP_LIBS"));
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	target->pid = fork();
	if (target->pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		setenv("LD_PRELOAD", preload, 1);
		setenv("HOTPATCH_PRELOAD", preload, 1);
		setenv("HOTPATCH_SERVE", "1", 1);
		execl("/proc/self/exe", "target", "target", NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	target->to = fdopen(to[1], "w");
	target->from = fdopen(from[0], "r");
	setvbuf(target->to, NULL, _IOLBF, 0);
	char line[64] = "";
	assert_non_null(fgets(line, sizeof(line), target->from));
	assert_string_equal(line, "ready\n");
}

/* What the target says to a line; "" when it does not answer within 10 s. */
static const char *target_ask(struct target *target, const char *line)
{
	static char answer[128];
	struct pollfd item = {fileno(target->from), POLLIN, 0};
	fprintf(target->to, "%s\n", line);
	answer[0] = 0;
	if (poll(&item, 1, 10000) != 1 || !fgets(answer, sizeof(answer), target->from))
		return "";
	answer[strcspn(answer, "\n")] = 0;
	return answer;
}

/* The exit status, as the shell has it. */
static int target_end(struct target *target)
{
	int status;
	fclose(target->to);
	fclose(target->from);
	for (int i = 0; i < 1000 && waitpid(target->pid, &status, WNOHANG) == 0; i++)
		usleep(10000);
	if (kill(target->pid, 0) == 0) {
		kill(target->pid, SIGKILL);
		waitpid(target->pid, &status, 0);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void make_runtime_folder(void)
{
	snprintf(runtime_folder, sizeof(runtime_folder), "/tmp/hp-test-XXXXXX");
	if (!mkdtemp(runtime_folder))
		abort();
	setenv("XDG_RUNTIME_DIR", runtime_folder, 1);
}

static void remove_runtime_folder(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", runtime_folder);
	if (system(command) != 0)
		perror(command);
}

#endif
