/* saves - who saves what, as the kernel tells it.
 *
 *     vim      a.c~ (created), a.c (moved to a.c~), a.c (created, written, closed)  ---.
 *     emacs    .#a.c (link), a.c (written, closed)                                     +--->  "a.c", maybe several
 * times git      a.c (deleted), a.c (created, written, closed)                        ---'
 *
 * Folders are watched, not files: what is renamed into place is another file. That something was written says neither
 * that it is complete nor that it differs; who asks has to wait a little and to compare. Where the kernel has no
 * watches left, or for a file system that tells nothing, times and sizes of all files are looked at five times a
 * second. A folder that goes (a branch without it) is waited for.
 */
#ifndef HP_WATCH_SAVES_H
#define HP_WATCH_SAVES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct hp_saves;

/* path: of a file that was given, or of another one in its folder. is_open: it is being written, and was not closed. */
typedef void (*hp_saves_seen)(void *arg, const char *path, bool is_open);

/* is_polling: never ask the kernel. HOTPATCH_ENOMEM. */
int hp_saves_new(bool is_polling, struct hp_saves **ret_saves, struct hp_err *err) HP_MUST_CHECK;
void hp_saves_free(struct hp_saves *saves); /* NULL is fine */

/* From now on its saves are seen; it need not exist. A path that is known is fine. HOTPATCH_ENOMEM. */
int hp_saves_add(struct hp_saves *saves, const char *path, struct hp_err *err) HP_MUST_CHECK;

/* To wait for: a descriptor (-1: none), and how many milliseconds until hp_saves_take is to be called without it (-1:
 * never). */
int hp_saves_fd(const struct hp_saves *saves);
int hp_saves_timeout(const struct hp_saves *saves);

/* Calls seen for all that happened since. */
void hp_saves_take(struct hp_saves *saves, hp_saves_seen seen, void *arg);

/* Whether somebody has the file open to write to it (fcntl(2), F_SETLEASE); false too where the file system does not
 * tell. */
bool hp_saves_is_open(const char *path);

/* Why files are looked at instead of watched; NULL: they are watched. */
const char *hp_saves_why_polling(const struct hp_saves *saves);

#endif
