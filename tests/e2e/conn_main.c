/* conn_main - reads lines and answers: use, broken, calls, events, open N. With an argument, threads use all objects
 * but the first all the time. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int conn_use(int i);
int conn_kind(void);
long conn_broken(void), conn_calls(void);
extern int conn_events[4], conn_open;

static void *run(void *arg)
{
	for (;;)
		conn_use(*(int *)arg);
	return NULL;
}

int main(int argc, char **argv)
{
	char line[100];
	static int numbers[] = {1, 2, 3};
	pthread_t thread;

	(void)argv;
	for (int i = 0; argc > 1 && i < 3; i++)
		pthread_create(&thread, NULL, run, &numbers[i]);
	while (fgets(line, sizeof(line), stdin)) {
		if (strncmp(line, "use", 3) == 0)
			printf("%d\n", conn_use(0));
		else if (strncmp(line, "kind", 4) == 0)
			printf("%d\n", conn_kind());
		else if (strncmp(line, "broken", 6) == 0)
			printf("%ld\n", conn_broken());
		else if (strncmp(line, "calls", 5) == 0)
			printf("%ld\n", conn_calls());
		else if (strncmp(line, "events", 6) == 0)
			printf("%d %d %d %d\n", conn_events[0], conn_events[1], conn_events[2], conn_events[3]);
		else if (strncmp(line, "open", 4) == 0)
			printf("%d\n", conn_open = atoi(line + 4));
		else
			puts("?");
		fflush(stdout);
	}
}
