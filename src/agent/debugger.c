#include "agent/debugger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* -- GDB --------------------------------------------------------------------------------------------------------- */

/* The manual's declarations, with our names for the types. */
struct hp_debugger_entry {
	struct hp_debugger_entry *next, *previous;
	const char *symfile;
	uint64_t size;
};

enum action { NO_ACTION, REGISTER, UNREGISTER };

struct descriptor {
	uint32_t version, action; /* cppcheck-suppress unusedStructMember; the debugger's */
	struct hp_debugger_entry *relevant, *first;
};

__attribute__((used, noinline)) static void __jit_debug_register_code(void)
{
	__asm__ volatile("" ::: "memory"); /* the debugger's breakpoint stands here */
}

__attribute__((used)) static struct descriptor __jit_debug_descriptor = {1, NO_ACTION, NULL, NULL};

static void tell(enum action action, struct hp_debugger_entry *entry)
{
	__jit_debug_descriptor.relevant = entry;
	__jit_debug_descriptor.action = action;
	__jit_debug_register_code();
	__jit_debug_descriptor.action = NO_ACTION;
}

struct hp_debugger_entry *hp_debugger_add(const void *symfile, size_t size)
{
	struct hp_debugger_entry *entry = calloc(1, sizeof(*entry));
	if (!entry)
		return NULL;
	*entry = (struct hp_debugger_entry){__jit_debug_descriptor.first, NULL, symfile, size};
	if (entry->next)
		entry->next->previous = entry;
	__jit_debug_descriptor.first = entry;
	tell(REGISTER, entry);
	return entry;
}

void hp_debugger_remove(struct hp_debugger_entry *entry)
{
	if (!entry)
		return;
	if (entry->next)
		entry->next->previous = entry->previous;
	if (entry->previous)
		entry->previous->next = entry->next;
	else
		__jit_debug_descriptor.first = entry->next;
	tell(UNREGISTER, entry);
	free(entry);
}

/* -- perf -------------------------------------------------------------------------------------------------------- */

/* When the process began, CLOCK_REALTIME in seconds; 0 where it is not known. proc(5): field 22 of stat, in ticks since
 * the machine began, behind a name that may hold anything. */
static double process_start(void)
{
	char text[1024] = "";
	unsigned long long ticks = 0;
	struct timespec now, since_boot;
	FILE *file = fopen("/proc/self/stat", "re");
	if (file && !fgets(text, sizeof(text), file))
		text[0] = 0;
	if (file)
		fclose(file);
	char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%llu", &ticks) != 1)
		return 0;
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &since_boot);
	return (double)(now.tv_sec - since_boot.tv_sec) + (double)(now.tv_nsec - since_boot.tv_nsec) * 1e-9 +
	       (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* What another process of this number wrote is not about this one. Others in this process may write to the file, too.
 */
static void forget_others(int fd, const struct stat *status)
{
	double written = (double)status->st_mtim.tv_sec + (double)status->st_mtim.tv_nsec * 1e-9;
	if (status->st_size > 0 && written < process_start() - 0.1)
		(void)!ftruncate(fd, 0);
}

bool hp_perf_map_add(const struct hp_linked *linked)
{
	char path[64];
	struct stat status;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	bool own = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
	if (own)
		forget_others(fd, &status);
	for (size_t i = 0; own && i < linked->n_names; i++) {
		const struct hp_linked_name *name = &linked->names[i];
		own = dprintf(fd, "%lx %lx %s\n", (unsigned long)name->low, (unsigned long)(name->high - name->low),
		              name->name) > 0;
	}
	if (fd >= 0)
		close(fd);
	return own;
}
