/* lines - which line of which source an address in the program stands for.
 *
 *     image         its file, or its debug file: DWARF at address - bias
 *     generation    what was linked for debuggers (link/symfile.h), kept here: DWARF at the address
 */
#ifndef HP_WATCH_LINES_H
#define HP_WATCH_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "remote/client.h"

struct hp_lines;

struct hp_lines *hp_lines_new(void); /* NULL without memory */
void hp_lines_free(struct hp_lines *lines);

/* Another generation; bytes are copied. Without memory its lines are not known. */
void hp_lines_add(struct hp_lines *lines, const uint8_t *bytes, size_t size);

struct hp_line_told {
	char function[128], file[200]; /* "" */
	int line;                      /* 0: not known */
};

/* is_return: the address behind a call. False where nothing is known of it. */
bool hp_lines_find(struct hp_lines *lines, const struct hp_remote_images *images, pid_t pid, uint64_t address,
                   bool is_return, struct hp_line_told *ret_line);

#endif
