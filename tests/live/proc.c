/* proc - B25: a system without /proc, and one whose /proc is read-only.
 *
 * In a mount namespace of its own (where the system grants one): a change works another way, or is refused with the
 * reason and nothing changed, for functions that were prepared and one that was not. The program runs on, and changes
 * once /proc is back.
 *
 * Seen to fail: with a sentence that does not name /proc.
 */
#include "check.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum { OLD = 1, NEW = 2, NOT_HERE = 77 };

static volatile int old = OLD;

HOTPATCHABLE int patched(int a)
{
	return a + old;
}

APART int plain(int a)
{
	return a * 3 + old;
}

APART int fresh(int a)
{
	return a + NEW * old;
}

static sem_t wake;

static void *sleeps(void *arg)
{
	take(&wake);
	return arg;
}

static void check_change(int r, int (*function)(int))
{
	if (r != HOTPATCH_OK) {
		check_error(__FILE__, __LINE__, "a change", r);
		CHECK_SAYS("/proc");
	}
	CHECK_INT(function(0), r == HOTPATCH_OK ? NEW : OLD);
	if (getenv("PROC_SHOW") != NULL)
		fprintf(stderr, "%s\n", r ? hotpatch_error()->message : "works");
	if (r == HOTPATCH_OK)
		CHECK_OK(hotpatch_restore_at(hotpatch_marks_(), "function", (hotpatch_any)function, NULL));
}

static void change_all(void)
{
	check_change(hotpatch_fn(patched, fresh, .timeout_ms = 2000), patched);
	if (can_change_unprepared())
		check_change(hotpatch_fn(plain, fresh, .unprepared = true, .timeout_ms = 2000), plain);
}

static void without_proc(void)
{
	if (mount("none", "/proc", "tmpfs", MS_RDONLY, NULL) != 0)
		_exit(NOT_HERE);
	change_all();
	CHECK_INT(umount("/proc"), 0);
}

static void with_proc_read_only(void)
{
	if (mount("/proc", "/proc", NULL, MS_BIND | MS_REC, NULL) != 0 ||
	    mount(NULL, "/proc", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0)
		_exit(NOT_HERE);
	change_all();
	CHECK_INT(umount("/proc"), 0);
}

static bool in_child(void (*run)(void))
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		pthread_t thread;

		deadline(30);
		if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
			_exit(NOT_HERE);
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
			_exit(NOT_HERE);
		sem_init(&wake, 0, 0);
		thread = thread_start(sleeps, NULL);
		run();
		CHECK_OK(hotpatch_fn(patched, fresh));
		CHECK_INT(patched(0), NEW);
		if (can_change_unprepared()) {
			CHECK_OK(hotpatch_fn(plain, fresh, .unprepared = true));
			CHECK_INT(plain(0), NEW);
		}
		give(&wake);
		thread_join(thread);
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HERE)
		return false;
	CHECK_INT(status, 0);
	return true;
}

int main(void)
{
	deadline(90);
	if (!in_child(without_proc) || !in_child(with_proc_read_only))
		SKIP("the system grants no mount namespace, or no mounting on /proc");
	return 0;
}
