#include "make/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "types/array.h"

/* -- Words ----------------------------------------------------------------------------------------------------- */

static bool add(struct hp_words *words, const char *before, const char *word)
{
	char *copy = NULL, **items = hp_array_grow(words->items, words->count, sizeof(*items));

	if (items)
		words->items = items;
	if (!items || asprintf(&copy, "%s%s", before, word) < 0)
		return false;
	items[words->count++] = copy;
	return true;
}

static bool end(struct hp_words *words)
{
	char **items = hp_array_grow(words->items, words->count, sizeof(*items));

	if (!items)
		return false;
	words->items = items;
	items[words->count] = NULL;
	return true;
}

bool hp_words_add(struct hp_words *words, const char *word)
{
	return add(words, "", word) && end(words);
}

void hp_words_free(struct hp_words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->items[i]);
	free(words->items);
	*words = (struct hp_words){0};
}

static bool begins(const char *word, const char *with)
{
	return strncmp(word, with, strlen(with)) == 0;
}

/* -- What is left out ------------------------------------------------------------------------------------------ */

/* How many words to leave out from here on: what names outputs, or makes others than an object. */
static size_t left_out(const struct hp_compile *compile, size_t i)
{
	static const char *const alone[] =
		{"-c",          "-S", "-E", "-M", "-MM", "-MD", "-MMD", "-MP", "-MG", "-fsyntax-only", "-gsplit-dwarf",
	         "--save-temps"};
	static const char *const with_next[] =
		{"-o", "-MF", "-MT", "-MQ", "-dumpbase", "-dumpdir", "--serialize-diagnostics"};
	static const char *const starts[] =
		{"-MF", "-MT", "-MQ", "-o", "-save-temps", "--save-temps=", "-gsplit-dwarf=", "-gz", "-Wp,-M"};
	const char *word = compile->words[i];

	for (size_t k = 0; k < sizeof(alone) / sizeof(alone[0]); k++)
		if (strcmp(word, alone[k]) == 0)
			return 1;
	for (size_t k = 0; k < sizeof(with_next) / sizeof(with_next[0]); k++)
		if (strcmp(word, with_next[k]) == 0)
			return i + 1 < compile->n_words ? 2 : 1;
	for (size_t k = 0; k < sizeof(starts) / sizeof(starts[0]); k++)
		if (begins(word, starts[k]))
			return 1;
	return 0;
}

static int check_lto(const struct hp_compile *compile, struct hp_err *err)
{
	bool lto = false;

	for (size_t i = 1; i < compile->n_words; i++) {
		if (begins(compile->words[i], "-flto"))
			lto = true;
		else if (strcmp(compile->words[i], "-fno-lto") == 0)
			lto = false;
	}
	if (!lto)
		return 0;
	return hp_err_set(err, HOTPATCH_EREFUSED,
	                  "'%s' is compiled for link-time optimisation (-flto): what its functions become is decided "
	                  "when the program is linked; build the program without -flto to patch it",
	                  compile->source);
}

/* -- Views ----------------------------------------------------------------------------------------------------- */

/* Where the path begins in words that name a file to be read, 0 where there is none. */
static size_t path_in(const char *word, bool is_operand)
{
	static const char *const starts[] = {"-I",
	                                     "-isystem",
	                                     "-iquote",
	                                     "-idirafter",
	                                     "-include",
	                                     "-imacros",
	                                     "--sysroot=",
	                                     "-fprofile-use=",
	                                     "-ffile-prefix-map=",
	                                     "-fmacro-prefix-map=",
	                                     "-fdebug-prefix-map=",
	                                     "@"};

	for (size_t k = 0; k < sizeof(starts) / sizeof(starts[0]); k++)
		if (begins(word, starts[k]) && word[strlen(starts[k])] == '/')
			return strlen(starts[k]);
	(void)is_operand;
	return 0;
}

/* The view holds the whole file system, so that every absolute path is in it. */
static bool add_viewed(struct hp_words *words, const char *word, const char *view)
{
	size_t at = path_in(word, false);
	char before[64];

	if (!view)
		return add(words, "", word);
	if (*word == '/')
		return add(words, view, word);
	if (!at)
		return add(words, "", word);
	snprintf(before, sizeof(before), "%.*s", (int)at, word);
	char *moved = NULL;
	bool ok = asprintf(&moved, "%s%s", view, word + at) >= 0 && add(words, before, moved);
	free(moved);
	return ok;
}

/* -- The command ----------------------------------------------------------------------------------------------- */

static bool add_rule(struct hp_words *words, const char *output)
{
	char *path = NULL;
	bool ok = asprintf(&path, "%s.d", output) >= 0 && add(words, "", path);

	free(path);
	return ok;
}

/* For sources that begin to use hotpatch.h with the change (marks.h): where it is installed with this command, behind
 * all folders of the program's own. */
static bool add_header(struct hp_words *words)
{
	char folder[4096], path[4200];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

	folder[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = '\0';
	snprintf(path, sizeof(path), "%s/../include", folder);
	for (const char *const *at = (const char *const[]){path, HP_INCLUDE_DIR, NULL}; *at; at++) {
		char header[4300];
		snprintf(header, sizeof(header), "%s/hotpatch.h", *at);
		if (access(header, R_OK) == 0)
			return add(words, "", "-idirafter") && add(words, "", *at);
	}
	return true;
}

static bool add_variant(struct hp_words *words, enum hp_variant variant, const char *output, bool quiet)
{
	bool ok = true;

	if (variant != HP_VARIANT_PLAIN)
		ok = add_header(words);
	if (variant == HP_VARIANT_DEPENDS)
		return ok && add(words, "", "-M") && add(words, "", "-w");
	if (variant == HP_VARIANT_TRACKED &&
	    !(add(words, "", "-MD") && add(words, "", "-MF") && add_rule(words, output)))
		return false;
	if (variant != HP_VARIANT_PLAIN) {
		static const char *const more[] = {"-ffunction-sections", "-fdata-sections", "-g", "-gz=none",
		                                   "-DHOTPATCH_NO_SECTION"};
		for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
			ok = ok && add(words, "", more[i]);
	}
	if (quiet)
		ok = ok && add(words, "", "-w");
	return ok && add(words, "", variant == HP_VARIANT_TEXT ? "-E" : "-c") && add(words, "", "-o") &&
	       add(words, "", output);
}

int hp_command_make(const struct hp_compile *compile, enum hp_variant variant, const char *view, const char *output,
                    bool quiet, struct hp_words *ret_words, struct hp_err *err)
{
	struct hp_words words = {0};
	char *map = NULL;
	int r = check_lto(compile, err);

	if (r < 0)
		return r;
	bool ok = add(&words, "", compile->words[0]);
	/* __FILE__ and the debug information are to name files as ever. Of two maps that fit gcc takes the later one,
	 * and the command's own are to win: they speak of paths in the view, too. */
	if (ok && view)
		ok = asprintf(&map, "-ffile-prefix-map=%s=", view) >= 0 && add(&words, "", map);
	free(map);
	for (size_t i = 1; i < compile->n_words && ok;) {
		size_t n = left_out(compile, i);
		if (!n)
			ok = add_viewed(&words, compile->words[i], view);
		i += n ? n : 1;
	}
	ok = ok && add_variant(&words, variant, output, quiet) && end(&words);
	if (ok) {
		*ret_words = words;
		return 0;
	}
	hp_words_free(&words);
	return hp_err_set(err, HOTPATCH_ENOMEM, "no memory for the command that compiles '%s'", compile->source);
}

static bool has_word(const struct hp_compile *compile, const char *yes, const char *no)
{
	bool has = false;

	for (size_t i = 1; i < compile->n_words; i++) {
		if (strcmp(compile->words[i], yes) == 0)
			has = true;
		else if (strcmp(compile->words[i], no) == 0)
			has = false;
	}
	return has;
}

bool hp_command_is_sectioned(const struct hp_compile *compile)
{
	return has_word(compile, "-ffunction-sections", "-fno-function-sections");
}

bool hp_command_has_debug(const struct hp_compile *compile)
{
	bool has = false;

	for (size_t i = 1; i < compile->n_words; i++) {
		const char *word = compile->words[i];
		if (strcmp(word, "-g0") == 0)
			has = false;
		else if (strcmp(word, "-g") == 0 || (begins(word, "-g") && strchr("123", word[2]) && word[2]) ||
		         begins(word, "-ggdb") || begins(word, "-gdwarf"))
			has = true;
	}
	return has;
}

/* -- Programs -------------------------------------------------------------------------------------------------- */

extern char **environ;

/* Of both compilations __DATE__ and __TIME__ are to be one, messages are to be in one language, and no cache is to
 * answer. */
static char **make_environment(void)
{
	static char *const ours[] = {"SOURCE_DATE_EPOCH=315532800", "CCACHE_DISABLE=1", "LC_MESSAGES=C"};
	size_t n = 0, count = 0;

	while (environ[n])
		n++;
	char **made = calloc(n + 4, sizeof(*made));
	for (size_t i = 0; made && i < n; i++)
		if (!begins(environ[i], "SOURCE_DATE_EPOCH=") && !begins(environ[i], "PWD="))
			made[count++] = environ[i];
	for (size_t i = 0; made && i < sizeof(ours) / sizeof(ours[0]); i++)
		made[count++] = ours[i];
	return made;
}

/* In a group of its own, so that it can be ended with all that it starts, and with signals as they were before ours
 * were blocked. Standard output goes to `output`, -1: to standard error; standard error with it, where it is to be
 * heard. */
static int spawn(char *const *words, const char *folder, int output, bool is_heard, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	char **environment = make_environment();
	int number = environment ? posix_spawn_file_actions_init(&actions) : ENOMEM;

	if (number) {
		free(environment);
		return number;
	}
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, &none);
	number = posix_spawn_file_actions_adddup2(&actions, output >= 0 ? output : STDERR_FILENO, STDOUT_FILENO);
	if (!number && is_heard)
		number = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
	if (!number)
		number = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!number && folder)
		number = posix_spawn_file_actions_addchdir_np(&actions, folder);
	if (!number)
		number = posix_spawnp(ret_pid, words[0], &actions, &attributes, words, environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	free(environment);
	return number;
}

static int cannot_run(const char *program, const char *folder, int number, struct hp_err *err)
{
	return hp_err_system(err, HOTPATCH_EBUILD, number, "cannot run '%s' in '%s'", program, folder ? folder : ".");
}

int hp_program_start(char *const *words, const char *folder, pid_t *ret_pid, struct hp_err *err)
{
	int number = spawn(words, folder, -1, false, ret_pid);
	return number ? cannot_run(words[0], folder, number, err) : 0;
}

int hp_program_start_heard(char *const *words, const char *folder, int heard, pid_t *ret_pid, struct hp_err *err)
{
	int number = spawn(words, folder, heard, true, ret_pid);
	return number ? cannot_run(words[0], folder, number, err) : 0;
}

int hp_program_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* -- Not for ever ---------------------------------------------------------------------------------------------- */

struct patience {
	const char *program;
	unsigned seconds;
	struct timespec until;
	int signals; /* readable when one of those that end us is pending; -1 */
	struct hp_err *err;
};

sigset_t hp_program_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return set;
}

static struct patience patience_begin(const char *program, struct hp_err *err)
{
	const char *given = getenv("HOTPATCH_COMPILE_TIMEOUT");
	int seconds = given ? atoi(given) : 0;
	struct patience p = {.program = program, .seconds = seconds > 0 ? (unsigned)seconds : 600, .err = err};
	sigset_t set = hp_program_signals();

	clock_gettime(CLOCK_MONOTONIC, &p.until);
	p.until.tv_sec += p.seconds;
	p.signals = signalfd(-1, &set, SFD_CLOEXEC);
	return p;
}

/* 0: there is something at fd. Else what to say. */
static int wait_at(const struct patience *p, int fd)
{
	struct pollfd fds[] = {{fd, POLLIN, 0}, {p->signals, POLLIN, 0}};
	struct timespec now;
	int n;

	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
		int64_t left = (p->until.tv_sec - now.tv_sec) * 1000 + (p->until.tv_nsec - now.tv_nsec) / 1000000;
		n = poll(fds, 2, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	if (n > 0 && fds[1].revents & POLLIN)
		return hp_err_set(p->err, HOTPATCH_EBUILD, "'%s' was ended, since this command is to end", p->program);
	if (n > 0)
		return 0;
	return hp_err_set(p->err, HOTPATCH_EBUILD,
	                  "'%s' has not ended within %u s and was ended: HOTPATCH_COMPILE_TIMEOUT in the environment "
	                  "gives it more",
	                  p->program, p->seconds);
}

static int end_program(struct patience *p, pid_t pid, int r, int *ret_status)
{
	int fd = r == 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (fd >= 0) {
		r = wait_at(p, fd);
		close(fd);
	}
	if (r < 0)
		kill(-pid, SIGKILL);
	*ret_status = hp_program_wait(pid);
	if (p->signals >= 0)
		close(p->signals);
	return r;
}

int hp_program_end(pid_t pid, const char *program, int *ret_status, struct hp_err *err)
{
	struct patience p = patience_begin(program, err);
	return end_program(&p, pid, 0, ret_status);
}

/* All that comes out of fd. */
static int read_all(const struct patience *p, int fd, char **ret_bytes, size_t *ret_size)
{
	char *text = NULL, buffer[4096];
	size_t size;
	FILE *to = open_memstream(&text, &size);
	ssize_t n = 0;
	int r;

	if (!to)
		return hp_err_set(p->err, HOTPATCH_ENOMEM, "no memory for what '%s' says", p->program);
	while ((r = wait_at(p, fd)) == 0 && ((n = read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR)))
		if (n > 0)
			fwrite(buffer, 1, (size_t)n, to);
	if ((fclose(to) != 0 || n < 0) && r == 0)
		r = hp_err_set(p->err, HOTPATCH_ENOMEM, "no memory for what '%s' says", p->program);
	if (r < 0) {
		free(text);
		return r;
	}
	*ret_bytes = text;
	*ret_size = size;
	return 0;
}

/* What it writes is read with ret_output alone, and then ret_size is there too. */
static int run(char *const *words, const char *folder, char **ret_output, size_t *ret_size, int *ret_status,
               struct hp_err *err)
{
	int ends[2] = {-1, -1}, number, r = 0;
	char *output = NULL;
	pid_t pid;

	if (ret_output && pipe2(ends, O_CLOEXEC) < 0)
		return cannot_run(words[0], folder, errno, err);
	number = spawn(words, folder, ends[1], false, &pid);
	if (ends[1] >= 0)
		close(ends[1]);
	if (!number) {
		struct patience p = patience_begin(words[0], err);
		if (ret_output)
			r = read_all(&p, ends[0], &output, ret_size);
		r = end_program(&p, pid, r, ret_status);
	}
	if (ends[0] >= 0)
		close(ends[0]);
	if (number)
		return cannot_run(words[0], folder, number, err);
	if (r == 0 && ret_output)
		*ret_output = output;
	else
		free(output);
	return r;
}

int hp_program_run(char *const *words, const char *folder, char **ret_output, int *ret_status, struct hp_err *err)
{
	size_t size;
	return run(words, folder, ret_output, &size, ret_status, err);
}

int hp_program_read(char *const *words, char **ret_bytes, size_t *ret_size, int *ret_status, struct hp_err *err)
{
	return run(words, NULL, ret_bytes, ret_size, ret_status, err);
}
