#include "remote/source.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "elf/debugfile.h"
#include "remote/files.h"

/* The path without "." and "..", which need not exist. */
static void join(const char *folder, const char *name, char *path, size_t room)
{
	char whole[2 * PATH_MAX], *to = path;

	snprintf(whole, sizeof(whole), "%s/%s", *name == '/' ? "" : folder, name);
	path[0] = '\0';
	for (const char *from = whole; *from;) {
		from += strspn(from, "/");
		size_t length = strcspn(from, "/");
		if (length == 2 && from[0] == '.' && from[1] == '.') {
			char *slash = strrchr(path, '/');
			to = slash ? slash : path;
			*to = '\0';
		} else if (length && !(length == 1 && *from == '.') && (size_t)(to - path) + length + 2 < room) {
			to += snprintf(to, room - (size_t)(to - path), "/%.*s", (int)length, from);
		}
		from += length;
	}
}

/* Not every compiler writes .debug_aranges: units are asked one by one. */
static bool find_unit(Dwarf *dwarf, uint64_t value, Dwarf_Die *ret_unit)
{
	Dwarf_Off at = 0, next;
	size_t header;

	for (; dwarf_nextcu(dwarf, at, &next, &header, NULL, NULL, NULL) == 0; at = next)
		if (dwarf_offdie(dwarf, at + header, ret_unit) && dwarf_haspc(ret_unit, value) > 0)
			return true;
	return false;
}

static const char *text_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	const char *text = dwarf_attr(die, name, &attribute) ? dwarf_formstring(&attribute) : NULL;
	return text ? text : "";
}

static bool is_from(struct hp_image *file, uint64_t value, const char *path)
{
	char found[PATH_MAX] = "";
	struct hp_err ignored;
	Dwarf_Die unit;

	bool is_ready = hp_debug_strings_end(file->elf, &file->debug_strings, &ignored) == 0;
	Dwarf *dwarf = is_ready ? dwarf_begin_elf(file->elf, DWARF_C_READ, NULL) : NULL;
	if (dwarf && find_unit(dwarf, value, &unit))
		join(text_of(&unit, DW_AT_comp_dir), text_of(&unit, DW_AT_name), found, sizeof(found));
	dwarf_end(dwarf);
	return strcmp(found, path) == 0;
}

bool hp_source_is(pid_t pid, const struct hp_remote_image *image, uint64_t value, const char *folder,
                  const char *source)
{
	struct hp_image *file = NULL, *debug = NULL;
	char path[PATH_MAX];
	struct hp_err ignored;

	join(folder, source, path, sizeof(path));
	if (hp_file_open(pid, image, &file, &ignored) < 0)
		return false;
	bool is = is_from(file, value, path);
	if (!is && hp_debugfile_open(file, HP_DEBUG_ROOT, &debug, &ignored) == 0 && debug)
		is = is_from(debug, value, path);
	hp_image_close(debug);
	hp_image_close(file);
	return is;
}
