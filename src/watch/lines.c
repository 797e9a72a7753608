#include "watch/lines.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "elf/debugfile.h"
#include "remote/files.h"
#include "types/array.h"

/* DWARF of an image, or of a generation. */
struct book {
	uint64_t low; /* of the image; 0: a generation */
	char *bytes;
	Elf *elf; /* of a generation */
	struct hp_debug_strings strings;
	struct hp_image *image;
	Dwarf *dwarf; /* NULL: it has none */
};

struct hp_lines {
	struct book *v;
	size_t n;
};

struct hp_lines *hp_lines_new(void)
{
	elf_version(EV_CURRENT);
	return calloc(1, sizeof(struct hp_lines));
}

void hp_lines_free(struct hp_lines *lines)
{
	if (!lines)
		return;
	for (size_t i = 0; i < lines->n; i++) {
		dwarf_end(lines->v[i].dwarf);
		elf_end(lines->v[i].elf);
		hp_image_close(lines->v[i].image);
		hp_debug_strings_free(&lines->v[i].strings);
		free(lines->v[i].bytes);
	}
	free(lines->v);
	free(lines);
}

static struct book *add_book(struct hp_lines *lines)
{
	struct book *v = hp_array_grow(lines->v, lines->n, sizeof(*v));

	if (!v)
		return NULL;
	lines->v = v;
	v[lines->n] = (struct book){0};
	return &v[lines->n++];
}

static Dwarf *begin_dwarf(Elf *elf, struct hp_debug_strings *strings)
{
	struct hp_err ignored;
	return hp_debug_strings_end(elf, strings, &ignored) == 0 ? dwarf_begin_elf(elf, DWARF_C_READ, NULL) : NULL;
}

void hp_lines_add(struct hp_lines *lines, const uint8_t *bytes, size_t size)
{
	char *copy = size ? malloc(size) : NULL;
	struct book *book = copy ? add_book(lines) : NULL;

	if (!book) {
		free(copy);
		return;
	}
	book->bytes = memcpy(copy, bytes, size);
	book->elf = elf_memory(copy, size);
	book->dwarf = book->elf ? begin_dwarf(book->elf, &book->strings) : NULL;
}

/* Its own, or that of its debug file. */
static Dwarf *open_dwarf(struct book *book)
{
	Dwarf *dwarf = begin_dwarf(book->image->elf, &book->image->debug_strings);
	struct hp_image *other = NULL;
	struct hp_err ignored;
	size_t length;

	if (dwarf && dwarf_nextcu(dwarf, 0, &(Dwarf_Off){0}, &length, NULL, NULL, NULL) == 0)
		return dwarf;
	dwarf_end(dwarf);
	if (hp_debugfile_open(book->image, HP_DEBUG_ROOT, &other, &ignored) < 0 || !other)
		return NULL;
	hp_image_close(book->image);
	book->image = other;
	return begin_dwarf(other->elf, &other->debug_strings);
}

static struct book *book_of(struct hp_lines *lines, const struct hp_remote_image *image, pid_t pid)
{
	struct hp_err ignored;

	for (size_t i = 0; i < lines->n; i++)
		if (lines->v[i].low == image->low)
			return &lines->v[i];
	struct book *book = add_book(lines);
	if (!book)
		return NULL;
	book->low = image->low;
	if (hp_file_open(pid, image, &book->image, &ignored) == 0)
		book->dwarf = open_dwarf(book);
	return book;
}

static bool covers(Dwarf_Die *die, uint64_t value)
{
	return dwarf_haspc(die, value) > 0;
}

/* Units are asked one by one: not every compiler writes .debug_aranges. */
static bool find_unit(Dwarf *dwarf, uint64_t value, Dwarf_Die *ret_unit)
{
	Dwarf_Off at = 0, next;
	size_t header;

	for (; dwarf_nextcu(dwarf, at, &next, &header, NULL, NULL, NULL) == 0; at = next)
		if (dwarf_offdie(dwarf, at + header, ret_unit) && covers(ret_unit, value))
			return true;
	return false;
}

static void find_function(Dwarf_Die *unit, uint64_t value, struct hp_line_told *line)
{
	Dwarf_Die die;

	for (int r = dwarf_child(unit, &die); r == 0; r = dwarf_siblingof(&die, &die)) {
		if (dwarf_tag(&die) != DW_TAG_subprogram || !covers(&die, value))
			continue;
		const char *name = dwarf_diename(&die);
		snprintf(line->function, sizeof(line->function), "%s", name ? name : "");
		return;
	}
}

static bool find_in(Dwarf *dwarf, uint64_t value, struct hp_line_told *line)
{
	Dwarf_Die unit;

	*line = (struct hp_line_told){0};
	if (!dwarf || !find_unit(dwarf, value, &unit))
		return false;
	Dwarf_Line *found = dwarf_getsrc_die(&unit, value);
	const char *file = found ? dwarf_linesrc(found, NULL, NULL) : NULL;
	if (file)
		snprintf(line->file, sizeof(line->file), "%s", file);
	if (found)
		dwarf_lineno(found, &line->line);
	find_function(&unit, value, line);
	return true;
}

bool hp_lines_find(struct hp_lines *lines, const struct hp_remote_images *images, pid_t pid, uint64_t address,
                   bool is_return, struct hp_line_told *ret_line)
{
	uint64_t value = address - is_return;

	for (size_t i = 0; i < images->n; i++) {
		const struct hp_remote_image *image = &images->v[i];
		if (address < image->low || address >= image->high || image->is_linked)
			continue;
		const struct book *book = book_of(lines, image, pid);
		return book && find_in(book->dwarf, value - image->bias, ret_line);
	}
	for (size_t i = lines->n; i-- > 0;)
		if (!lines->v[i].low && find_in(lines->v[i].dwarf, value, ret_line))
			return true;
	return false;
}
