#include "remote/files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The mapping an image begins with, from /proc/PID/maps (proc_pid_maps(5)); looked for where it is needed first, since
 * the kernel writes all of them. */
struct mapping {
	unsigned long low, high, inode;
	bool is_looked_for, is_found;
};

static void find_mapping(pid_t pid, uint64_t address, struct mapping *mapping)
{
	char path[64], line[PATH_MAX + 128];

	mapping->is_looked_for = true;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && !mapping->is_found && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %*s %*x %*x:%*x %lu", &mapping->low, &mapping->high, &mapping->inode) == 3)
			mapping->is_found = address >= mapping->low && address < mapping->high;
	}
	if (maps)
		fclose(maps);
}

static const struct mapping *mapping_of(pid_t pid, const struct hp_remote_image *image, struct mapping *mapping)
{
	if (!mapping->is_looked_for)
		find_mapping(pid, image->low, mapping);
	return mapping->is_found ? mapping : NULL;
}

static bool is_of_image(pid_t pid, const struct hp_image *file, const struct hp_remote_image *image,
                        struct mapping *mapping)
{
	if (image->build_id_size)
		return file->build_id_size == image->build_id_size &&
		       memcmp(file->build_id, image->build_id, file->build_id_size) == 0;
	const struct mapping *found = mapping_of(pid, image, mapping);
	return found && found->inode && file->identity.inode == found->inode;
}

/* *ret_file stays NULL, and err says why, where path is not the file. */
static int try_path(pid_t pid, const char *path, const struct hp_remote_image *image, struct mapping *mapping,
                    struct hp_image **ret_file, struct hp_err *err)
{
	struct hp_image *file = NULL;
	int r = hp_image_open(path, image->name, &file, err);

	if (r < 0)
		return r;
	if (!is_of_image(pid, file, image, mapping)) {
		hp_image_close(file);
		return hp_err_set(err, HOTPATCH_ENOFILE, "'%s' is not the file any more that '%s' was loaded from",
		                  path, image->name);
	}
	*ret_file = file;
	return 0;
}

int hp_file_open(pid_t pid, const struct hp_remote_image *image, struct hp_image **ret_file, struct hp_err *err)
{
	struct mapping mapping = {0};
	char path[PATH_MAX + 64];
	struct hp_err first = {0}, other;
	int r = HOTPATCH_ENOFILE;

	for (int way = 0; way < 4; way++) {
		if (way == 0   ? !image->is_program
		    : way == 3 ? !mapping_of(pid, image, &mapping)
		               : image->path[0] != '/')
			continue;
		if (way == 0)
			snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
		else if (way == 3)
			snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", (int)pid, mapping.low, mapping.high);
		else if (way == 1)
			snprintf(path, sizeof(path), "/proc/%d/root%s", (int)pid, image->path);
		else
			snprintf(path, sizeof(path), "%s", image->path);
		r = try_path(pid, path, image, &mapping, ret_file, first.code ? &other : &first);
		if (r == 0 || r == HOTPATCH_ENOMEM)
			break;
	}
	if (r < 0)
		hp_err_set(err, first.code ? first.code : r, "the file of '%s' in process %d cannot be had: %s",
		           image->name, (int)pid, first.code ? first.text : "it has no path");
	return r < 0 ? (first.code ? first.code : r) : 0;
}
