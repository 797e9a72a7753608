/* main - threads that call what is reloaded, and commands: `crash IN OUT`. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int work(int n);
int idle(int n);

static atomic_long turns[64];
static atomic_int n_threads;

static void *worker(void *arg)
{
	int n = (int)(long)arg;
	for (;;) {
		work(n);
		atomic_fetch_add(&turns[n], 1);
		usleep(100);
	}
	return NULL;
}

static int start(int n)
{
	pthread_t thread;
	for (int i = 0; i < n; i++)
		pthread_create(&thread, NULL, worker, (void *)(long)(atomic_fetch_add(&n_threads, 1) + 1));
	return n;
}

/* How a child ends that calls it. */
static int in_child(int n)
{
	int status = 0;
	pid_t child = fork();
	if (child == 0)
		_exit(work(n));
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void caught(int signo)
{
	_exit(40 + signo);
}

static int own_crash(void)
{
	volatile int *nowhere = (int *)8;
	return *nowhere;
}

int main(int argc, char **argv)
{
	char word[32];
	int n;
	FILE *in = argc == 3 ? fopen(argv[1], "r") : NULL, *out = argc == 3 ? fopen(argv[2], "w") : NULL;
	while (in && out && fscanf(in, "%31s %d", word, &n) == 2) {
		if (strcmp(word, "call") == 0)
			n = work(n);
		else if (strcmp(word, "idle") == 0)
			n = idle(n);
		else if (strcmp(word, "start") == 0)
			n = start(n);
		else if (strcmp(word, "turns") == 0)
			n = (int)atomic_load(&turns[n]);
		else if (strcmp(word, "child") == 0)
			n = in_child(n);
		else if (strcmp(word, "catch") == 0)
			signal(n, caught);
		else if (strcmp(word, "raise") == 0)
			n = raise(n);
		else if (strcmp(word, "crash") == 0)
			n = own_crash();
		fprintf(out, "%d\n", n);
		fflush(out);
	}
	return 0;
}
