/* project.c - writing and compiling the sources. */
#include "project.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "must.h"
#include "timing.h"

extern char **environ;

enum { LINES = 40 };

static FILE *project_open(const struct project *project, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", project->folder, name);
	FILE *file = fopen(path, "we");
	must(file != NULL, path);
	return file;
}

static void project_close(FILE *file, const char *name)
{
	must(fclose(file) == 0, name);
}

/* Long enough for a jump, since nothing here is prepared. */
void project_write_small(const struct project *project, unsigned number)
{
	FILE *file = project_open(project, "small.c");
	fprintf(file, "int small(int n);\nint small(int n)\n{\n\treturn n * 7 + %u;\n}\n", number);
	project_close(file, "small.c");
}

static void write_pair(FILE *file, unsigned i, unsigned number)
{
	fprintf(file, "static int step_%u(int n)\n{\n\tstatic int calls;\n\tchar text[64];\n\n", i);
	fprintf(file, "\tsnprintf(text, sizeof(text), \"{%%d}\", n);\n");
	for (unsigned k = 0; k < LINES; k++)
		fprintf(file, "\tif (n == %u && strcmp(text, \"%u %u\") == 0) { n += %u; asked += calls; }\n",
		        k * 1000 + 100000, i, k, k);
	fprintf(file, "\tcalls += n;\n\treturn calls + %u;\n}\n", number);
	fprintf(file, "int part_%u(int n)\n{\n\treturn n ? step_%u(n) : 0;\n}\n", i, i);
}

/* What is edited lies in the middle. */
void project_write_large(const struct project *project, unsigned number)
{
	FILE *file = project_open(project, "large.c");
	fprintf(file, "#include <stdio.h>\n#include <string.h>\n#include <stdlib.h>\n\nstatic int asked;\n");
	for (unsigned i = 0; i < project->pairs; i++)
		write_pair(file, i, i == project->pairs / 2 ? number : i);
	fprintf(file, "int large(int n);\nint large(int n)\n{\n\treturn part_%u(n) + asked;\n}\n", project->pairs / 2);
	project_close(file, "large.c");
}

static void write_main(const struct project *project)
{
	FILE *file = project_open(project, "main.c");
	fprintf(file, "#include <signal.h>\n#include <sys/prctl.h>\n#include <unistd.h>\n\n"
	              "int small(int n);\nint large(int n);\nvolatile int sum;\n\nint main(void)\n{\n"
	              "\tprctl(PR_SET_PDEATHSIG, SIGKILL);\n"
	              "\tfor (int i = 0;; i++) {\n\t\tsum += small(i) + large(i);\n\t\tusleep(1000);\n\t}\n}\n");
	project_close(file, "main.c");
}

static void write_database(const struct project *project)
{
	static const char *const names[] = {"main", "small", "large"};
	FILE *file = project_open(project, "compile_commands.json");
	fprintf(file, "[");
	for (unsigned i = 0; i < 3; i++)
		fprintf(file, "%s\n{\"directory\": \".\", \"file\": \"%s.c\", \"command\": \"gcc %s -c %s.c -o %s.o\"}",
		        i > 0 ? "," : "", names[i], project->flags, names[i], names[i]);
	fprintf(file, "\n]\n");
	project_close(file, "compile_commands.json");
}

double project_run(const struct project *project, const char *line)
{
	char whole[4096];
	must((size_t)snprintf(whole, sizeof(whole), "cd %s && %s", project->folder, line) < sizeof(whole), line);
	uint64_t begin = timing_now();
	int status = system(whole);
	double us = timing_us_since(begin);
	if (status == 0)
		return us / 1e3;
	fprintf(stderr, "bench: '%s' ended with wait status %#x\n", whole, (unsigned)status);
	exit(1);
}

/* Whatever ends the benchmark, SIGKILL and Ctrl-C too, closes what the guard reads from. */
static void make_folder(struct project *project)
{
	char *words[] = {"sh", "-c", "read -r end; exec rm -rf \"$0\"", project->folder, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t apart;
	int ends[2];

	must(pipe2(ends, O_CLOEXEC) == 0, "pipe");
	must(mkdtemp(project->folder) != NULL, project->folder);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
	posix_spawnattr_init(&apart);
	posix_spawnattr_setflags(&apart, POSIX_SPAWN_SETSID);
	must(posix_spawnp(&project->guard, words[0], &actions, &apart, words, environ) == 0, words[0]);
	posix_spawnattr_destroy(&apart);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[0]);
	project->hold = ends[1];
}

bool project_make(struct project *project, const char *flags, unsigned pairs)
{
	char line[512];
	if (system("gcc --version >/dev/null 2>&1") != 0)
		return false;
	*project = (struct project){.folder = "/tmp/hotpatch-bench-XXXXXX", .flags = flags, .pairs = pairs};
	make_folder(project);
	project_write_small(project, 1);
	project_write_large(project, 1);
	write_main(project);
	write_database(project);
	snprintf(line, sizeof(line),
	         "gcc %s -c main.c small.c && gcc %s -c large.c && gcc -o app main.o small.o large.o", flags, flags);
	project_run(project, line);
	return true;
}

void project_remove(const struct project *project)
{
	int status;

	close(project->hold);
	must(waitpid(project->guard, &status, 0) == project->guard && status == 0, project->folder);
}

double project_size(const struct project *project, const char *name)
{
	char path[128];
	struct stat status;
	snprintf(path, sizeof(path), "%s/%s", project->folder, name);
	must(stat(path, &status) == 0, path);
	return (double)status.st_size;
}
