/* project.h - a program of generated sources in a folder of its own, compiled as a user's would be.
 *
 *     small.c    one function
 *     large.c    hundreds of functions of 40 lines each, half of them static, as the largest files of programs are
 *     main.c     calls into both for ever
 */
#ifndef BENCH_PROJECT_H
#define BENCH_PROJECT_H

#include <stdbool.h>
#include <sys/types.h>

struct project {
	char folder[64];
	const char *flags; /* of the compiler */
	unsigned pairs;    /* of functions in large.c */
	pid_t guard;       /* removes the folder when hold is closed */
	int hold;
};

/* False where there is no gcc to compile it with; nothing is left then, and nothing when the benchmark is killed. */
bool project_make(struct project *project, const char *flags, unsigned pairs);
void project_remove(const struct project *project);

/* Writes a source in which the function that is edited gives number; it has 1 at the start. */
void project_write_small(const struct project *project, unsigned number);
void project_write_large(const struct project *project, unsigned number);

/* Runs a line of the shell in the folder; its end with any other status than 0 ends the benchmark. Milliseconds. */
double project_run(const struct project *project, const char *line);

/* Bytes of a file of it. */
double project_size(const struct project *project, const char *name);

#endif
