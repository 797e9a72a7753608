#include "elf/debugfile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct link {
	char file[NAME_MAX + 1];
	uint32_t crc;
};

/* .gnu_debuglink: the file's name, NUL, padding to four bytes, the CRC in the image's byte order. */
static bool read_link(const struct hp_image *image, struct link *ret_link)
{
	const struct hp_section *section = hp_image_section(image, ".gnu_debuglink");
	Elf_Data *data = section ? hp_section_data(section) : NULL;

	if (!data)
		return false;
	size_t length = strnlen(data->d_buf, data->d_size), at = (length + 4) & ~(size_t)3;
	if (length == 0 || length > NAME_MAX || data->d_size < 4 || at > data->d_size - 4)
		return false;
	memcpy(ret_link->file, data->d_buf, length + 1);
	memcpy(&ret_link->crc, (char *)data->d_buf + at, 4);
	return !strchr(ret_link->file, '/');
}

/* The CRC of zlib and Ethernet, which .gnu_debuglink uses: polynomial 0x04c11db7, reflected. */
static bool file_crc(int fd, uint32_t *ret_crc)
{
	uint32_t table[256], crc = ~0u;
	unsigned char block[4096];
	off_t at = 0;
	ssize_t n;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
	}
	while ((n = pread(fd, block, sizeof(block), at)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			crc = crc >> 8 ^ table[(crc ^ block[i]) & 255];
		at += n;
	}
	*ret_crc = ~crc;
	return n == 0;
}

static bool same_build_id(const struct hp_image *a, const struct hp_image *b)
{
	return a->build_id_size == b->build_id_size && memcmp(a->build_id, b->build_id, a->build_id_size) == 0;
}

/* Opens path when it belongs to image; crc is NULL where the build-id alone decides. A file that is not there, is
 * damaged or is another's is no error here: the search goes on. */
static int try_file(const struct hp_image *image, const char *path, const uint32_t *crc, struct hp_image **ret_image,
                    struct hp_err *err)
{
	struct hp_image *found = NULL;
	struct hp_err ignored = {0};
	uint32_t have;

	if (access(path, R_OK) != 0)
		return 0;
	int r = hp_image_open(path, image->name, &found, &ignored);
	if (r < 0)
		return r == HOTPATCH_ENOMEM ? hp_err_set(err, r, "no memory to read '%s'", path) : 0;
	bool is_itself = hp_identity_same(&found->identity, &image->identity);
	if (is_itself || !same_build_id(image, found) || (crc && (!file_crc(found->fd, &have) || have != *crc))) {
		hp_image_close(found);
		return 0;
	}
	*ret_image = found;
	return 0;
}

static int find_by_build_id(const struct hp_image *image, const char *root, struct hp_image **ret_image,
                            struct hp_err *err)
{
	char path[PATH_MAX];

	if (image->build_id_size < 2)
		return 0;
	int n = snprintf(path, sizeof(path), "%s/.build-id/%02x/", root, image->build_id[0]);
	if (n < 0 || (size_t)n + 2 * (size_t)HP_BUILD_ID_MAX + sizeof(".debug") > sizeof(path))
		return 0;
	for (size_t i = 1; i < image->build_id_size; i++)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x", image->build_id[i]);
	snprintf(path + n, sizeof(path) - (size_t)n, ".debug");
	return try_file(image, path, NULL, ret_image, err);
}

/* Where the file is, or was: what /proc has for a running program is nobody's neighbour, and of one that was deleted
 * it tells the path and then that (proc_pid_exe(5)). NULL where nobody knows. */
static char *place_of(const char *path)
{
	static const char deleted[] = " (deleted)";
	char text[PATH_MAX];
	char *real = realpath(path, NULL);

	if (real)
		return real;
	ssize_t n = readlink(path, text, sizeof(text) - 1), end = n - (ssize_t)sizeof(deleted) + 1;
	text[n > 0 ? n : 0] = '\0';
	if (end <= 0 || text[0] != '/' || strcmp(text + end, deleted) != 0)
		return NULL;
	text[end] = '\0';
	return strdup(text);
}

static int find_by_link(const struct hp_image *image, const char *root, struct hp_image **ret_image, struct hp_err *err)
{
	struct link link;
	char path[2 * PATH_MAX + NAME_MAX];
	int r = 0;

	if (!read_link(image, &link))
		return 0;
	char *real = place_of(image->path);
	char *slash = real ? strrchr(real, '/') : NULL;
	if (!slash)
		goto out;
	*slash = '\0';
	for (int i = 0; i < 3 && r == 0 && !*ret_image; i++) {
		int n = i == 0   ? snprintf(path, sizeof(path), "%s/%s", real, link.file)
		        : i == 1 ? snprintf(path, sizeof(path), "%s/.debug/%s", real, link.file)
		                 : snprintf(path, sizeof(path), "%s%s/%s", root, real, link.file);
		if (n > 0 && (size_t)n < sizeof(path))
			r = try_file(image, path, &link.crc, ret_image, err);
	}
out:
	free(real);
	return r;
}

int hp_debugfile_open(const struct hp_image *image, const char *root, struct hp_image **ret_image, struct hp_err *err)
{
	struct hp_image *found = NULL;
	int r = find_by_build_id(image, root, &found, err);

	if (r == 0 && !found)
		r = find_by_link(image, root, &found, err);
	if (r == 0)
		*ret_image = found;
	return r;
}
