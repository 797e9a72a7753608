/* command - a recorded compile command made into one of ours, and programs run.
 *
 *     gcc -O2 -Iinclude -MD -MF a.d -c ../src/a.c -o a.o           recorded
 *     gcc -O2 -Iinclude -c ../src/a.c -o OUT                       as the program has it
 *     gcc -O2 -Iinclude -c ../src/a.c -o OUT -ffunction-sections   to be compared
 *     gcc -O2 -flto=...                                            refused
 */
#ifndef HP_MAKE_COMMAND_H
#define HP_MAKE_COMMAND_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "make/compdb.h"

enum hp_variant {
	HP_VARIANT_PLAIN,     /* as recorded */
	HP_VARIANT_SECTIONED, /* every function and variable in a section of its own, with DWARF */
	HP_VARIANT_TRACKED,   /* the same, and OUTPUT.d is a rule for make that names the files it includes */
	HP_VARIANT_TEXT,      /* no object: the preprocessed source */
	HP_VARIANT_DEPENDS,   /* no object: the files it includes, as a rule for make, on standard output */
};

struct hp_words {
	char **items; /* ends in NULL */
	size_t count;
};

/* The command in a view (workspace.h; NULL: none) of the file system. quiet: without warnings. HOTPATCH_ENOMEM;
 * HOTPATCH_EREFUSED for link-time optimisation. */
int hp_command_make(const struct hp_compile *compile, enum hp_variant variant, const char *view, const char *output,
                    bool quiet, struct hp_words *ret_words, struct hp_err *err) HP_MUST_CHECK;

void hp_words_free(struct hp_words *words);

/* Another word at the end; false where memory is out. */
bool hp_words_add(struct hp_words *words, const char *word) HP_MUST_CHECK;

/* Whether the recorded command gives functions sections of their own already; whether it asks for debug information. */
bool hp_command_is_sectioned(const struct hp_compile *compile);
bool hp_command_has_debug(const struct hp_compile *compile);

/* Runs words in folder. With ret_output, what it writes to standard output (allocated, NUL-terminated); else that goes
 * to standard error. *ret_status is its exit status, 128 + signal. HOTPATCH_EBUILD where it cannot be run. */
int hp_program_run(char *const *words, const char *folder, char **ret_output, int *ret_status,
                   struct hp_err *err) HP_MUST_CHECK;

/* The same where this process is, for what may contain NUL bytes. */
int hp_program_read(char *const *words, char **ret_bytes, size_t *ret_size, int *ret_status,
                    struct hp_err *err) HP_MUST_CHECK;

/* The same in two steps, for several at once. */
int hp_program_start(char *const *words, const char *folder, pid_t *ret_pid, struct hp_err *err) HP_MUST_CHECK;
int hp_program_wait(pid_t pid);

/* The same, with all it writes in `heard`, and as the first of a process group. */
int hp_program_start_heard(char *const *words, const char *folder, int heard, pid_t *ret_pid,
                           struct hp_err *err) HP_MUST_CHECK;

/* The second step with patience for HOTPATCH_COMPILE_TIMEOUT (of the environment) seconds, 600 without it.
 * HOTPATCH_EBUILD where the program was ended, with all that it had started: for that, or because one of
 * hp_program_signals is pending, which who wants to clean up has blocked. hp_program_run has the same patience. */
int hp_program_end(pid_t pid, const char *program, int *ret_status, struct hp_err *err) HP_MUST_CHECK;
sigset_t hp_program_signals(void);

#endif
