#include "tracer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "must.h"
#include "timing.h"

/* What the child has to say of one stop. */
struct answer {
	int error; /* errno, or 0 */
	double us;
};

/* -- The child: between fork and exec in a program with threads, so it does nothing but system calls -----------------
 */

static bool seize(pid_t tid)
{
	return ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0 && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0;
}

/* A stop that is not ours is that of a signal on its way to the thread, which gets it when it is let go. */
static bool await_stop(pid_t tid, int *ret_signal)
{
	int status;
	if (waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
		return false;
	*ret_signal = status >> 16 == PTRACE_EVENT_STOP ? 0 : WSTOPSIG(status);
	return true;
}

/* Those that were seized when something failed are let go by the kernel, when the child exits. */
static struct answer hold(const pid_t *tids, unsigned n, int *signals)
{
	uint64_t begin = timing_now();
	for (unsigned i = 0; i < n; i++)
		if (!seize(tids[i]))
			return (struct answer){.error = errno};
	for (unsigned i = 0; i < n; i++)
		if (!await_stop(tids[i], &signals[i]))
			return (struct answer){.error = errno};
	for (unsigned i = 0; i < n; i++)
		if (ptrace(PTRACE_DETACH, tids[i], NULL, (void *)(long)signals[i]) != 0)
			return (struct answer){.error = errno};
	return (struct answer){.us = timing_us_since(begin)};
}

static void child_run(int asked, int answers, const pid_t *tids, unsigned n)
{
	int signals[n];
	char byte;
	while (read(asked, &byte, 1) == 1) {
		struct answer answer = hold(tids, n, signals);
		if (write(answers, &answer, sizeof(answer)) != sizeof(answer) || answer.error != 0)
			break;
	}
	_exit(0);
}

/* -- The parent ---------------------------------------------------------------------------------------------------- */

void tracer_begin(struct tracer *tracer, const pid_t *tids, unsigned n)
{
	int asks[2], answers[2];
	pid_t all[n + 1];
	all[0] = gettid();
	for (unsigned i = 0; i < n; i++)
		all[i + 1] = tids[i];
	must(pipe2(asks, O_CLOEXEC) == 0 && pipe2(answers, O_CLOEXEC) == 0, "a pipe");
	tracer->child = fork();
	must(tracer->child >= 0, "fork");
	if (tracer->child == 0) {
		close(asks[1]);
		close(answers[0]);
		child_run(asks[0], answers[1], all, n + 1);
	}
	prctl(PR_SET_PTRACER, (unsigned long)tracer->child, 0, 0, 0); /* fails where there is no Yama to ask */
	close(asks[0]);
	close(answers[1]);
	tracer->ask = asks[1];
	tracer->answer = answers[0];
}

static ssize_t read_answer(int from, struct answer *ret_answer)
{
	ssize_t got;
	do
		got = read(from, ret_answer, sizeof(*ret_answer));
	while (got < 0 && errno == EINTR);
	return got;
}

int tracer_hold(struct tracer *tracer, double *ret_us)
{
	struct answer answer;
	if (write(tracer->ask, "", 1) != 1 || read_answer(tracer->answer, &answer) != sizeof(answer))
		return EPERM; /* killed for trying (seccomp) */
	*ret_us = answer.us;
	return answer.error;
}

void tracer_end(struct tracer *tracer)
{
	int status;
	close(tracer->ask);
	close(tracer->answer);
	must(waitpid(tracer->child, &status, 0) == tracer->child, "waitpid");
}
