/* load - asks a program the same questions, over and over, from many threads, and counts what it answers:
 *
 *     load THREADS WHERE QUESTION OLD NEW [QUESTION OLD NEW]...
 *
 * Every answer is the old one, the new one, or wrong: then the load ends with status 1 and says which. At "count" on
 * standard input every thread asks each question so often as `enough` says, all of it begun after the line was read,
 * and the counts are printed, one line "OLD NEW" for each question. So after a patch was applied, one old answer among
 * those counted is one that came too late. At the end of input all sessions are closed, and the total of answers is
 * printed.
 */
#include "load.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 64, QUESTIONS_MAX = 8, ANSWER_MAX = 4096 };

static const unsigned long enough = 25;

struct question {
	const char *text, *old_answer, *new_answer;
};

struct asker {
	pthread_t thread;
	void *session;
	/* Of the count that runs: written by the asker, under the lock. */
	unsigned long seen[QUESTIONS_MAX][2];
};

static struct {
	struct question questions[QUESTIONS_MAX];
	size_t n_questions;
	struct asker askers[THREADS_MAX];
	size_t n_askers;
	pthread_mutex_t lock;  /* the count, and seen of all */
	pthread_cond_t done;   /* an answer was counted */
	atomic_ulong count;    /* number of the count that runs */
	unsigned long answers; /* under the lock */
	atomic_bool over;
} load = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

void load_answer(char *answer, size_t room, const char *text, size_t length)
{
	length = length < room ? length : room - 1;
	memcpy(answer, text, length);
	answer[length] = '\0';
	for (size_t i = 0; i < length; i++)
		if (answer[i] == '\n' || answer[i] == '\r')
			answer[i] = ' ';
}

bool load_stream_open(struct load_stream *stream, int fd)
{
	int other = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	stream->from = fdopen(fd, "r");
	stream->to = other >= 0 ? fdopen(other, "w") : NULL;
	return stream->from && stream->to;
}

void load_stream_close(struct load_stream *stream)
{
	fclose(stream->to);
	fclose(stream->from);
}

/* -- One thread ------------------------------------------------------------------------------------------------- */

static void count_answer(struct asker *asker, size_t question, bool is_new, unsigned long begun)
{
	pthread_mutex_lock(&load.lock);
	load.answers++;
	if (begun == load.count && asker->seen[question][0] + asker->seen[question][1] < enough) {
		asker->seen[question][is_new]++;
		pthread_cond_signal(&load.done);
	}
	pthread_mutex_unlock(&load.lock);
}

static void ask_once(struct asker *asker, size_t number)
{
	const struct question *question = &load.questions[number];
	unsigned long begun = load.count;
	char answer[ANSWER_MAX] = "";

	bool lives = load_ask(asker->session, question->text, answer, sizeof(answer));
	bool is_new = strcmp(answer, question->new_answer) == 0;
	if (lives && (is_new || strcmp(answer, question->old_answer) == 0)) {
		count_answer(asker, number, is_new, begun);
		return;
	}
	fprintf(stderr, "load: '%s' was answered '%s', not '%s' or '%s'\n", question->text, answer,
	        question->old_answer, question->new_answer);
	exit(1);
}

static void *ask_always(void *arg)
{
	struct asker *asker = arg;

	for (size_t i = 0; !load.over; i++)
		ask_once(asker, i % load.n_questions);
	load_close(asker->session);
	return NULL;
}

/* -- Counts ----------------------------------------------------------------------------------------------------- */

static bool have_enough(void)
{
	for (size_t i = 0; i < load.n_askers; i++)
		for (size_t q = 0; q < load.n_questions; q++)
			if (load.askers[i].seen[q][0] + load.askers[i].seen[q][1] < enough)
				return false;
	return true;
}

static void print_count(void)
{
	for (size_t q = 0; q < load.n_questions; q++) {
		unsigned long seen[2] = {0};
		for (size_t i = 0; i < load.n_askers; i++)
			for (size_t is_new = 0; is_new < 2; is_new++)
				seen[is_new] += load.askers[i].seen[q][is_new];
		printf("%lu %lu\n", seen[0], seen[1]);
	}
	fflush(stdout);
}

static void count(void)
{
	pthread_mutex_lock(&load.lock);
	load.count++;
	for (size_t i = 0; i < load.n_askers; i++)
		memset(load.askers[i].seen, 0, sizeof(load.askers[i].seen));
	while (!have_enough())
		pthread_cond_wait(&load.done, &load.lock);
	print_count();
	pthread_mutex_unlock(&load.lock);
}

/* -- All of it -------------------------------------------------------------------------------------------------- */

static bool take_arguments(int argc, char **argv)
{
	load.n_askers = argc > 5 ? (size_t)atoi(argv[1]) : 0;
	load.n_questions = argc > 5 ? (size_t)(argc - 3) / 3 : 0;
	if (!load.n_askers || load.n_askers > THREADS_MAX || load.n_questions > QUESTIONS_MAX || (argc - 3) % 3)
		return false;
	for (size_t q = 0; q < load.n_questions; q++)
		load.questions[q] = (struct question){argv[3 + 3 * q], argv[4 + 3 * q], argv[5 + 3 * q]};
	return true;
}

int main(int argc, char **argv)
{
	char line[64];

	if (!take_arguments(argc, argv)) {
		fprintf(stderr, "usage: load THREADS WHERE QUESTION OLD NEW...\n");
		return 64;
	}
	for (size_t i = 0; i < load.n_askers; i++)
		if (!(load.askers[i].session = load_open(argv[2])))
			return 1;
	for (size_t i = 0; i < load.n_askers; i++)
		if (pthread_create(&load.askers[i].thread, NULL, ask_always, &load.askers[i]) != 0)
			return 1;
	while (fgets(line, sizeof(line), stdin))
		count();
	load.over = true;
	for (size_t i = 0; i < load.n_askers; i++)
		pthread_join(load.askers[i].thread, NULL);
	printf("%lu\n", load.answers);
	return 0;
}
