#include "cli/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libhotpatch.so.0"

static bool try_path(const char *folder, const char *rest, char *path, size_t size)
{
	char full[4096], real[4096];
	if (snprintf(full, sizeof(full), "%s%s", folder, rest) >= (int)sizeof(full) || !realpath(full, real) ||
	    access(real, R_OK) != 0)
		return false;
	return snprintf(path, size, "%s", real) < (int)size;
}

int hp_runtime_find(char *ret_path, size_t size, struct hp_err *err)
{
	char folder[4096];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	folder[n > 0 ? n : 0] = 0;
	char *slash = strrchr(folder, '/');
	if (slash)
		*slash = 0;
	if (slash &&
	    (try_path(folder, "/" LIBRARY, ret_path, size) || try_path(folder, "/../lib/" LIBRARY, ret_path, size)))
		return 0;
	if (try_path(HP_PLUGIN_DIR, "/" LIBRARY, ret_path, size))
		return 0;
	return hp_err_set(err, HOTPATCH_ENOFILE, LIBRARY " lies neither beside this command nor in " HP_PLUGIN_DIR);
}
