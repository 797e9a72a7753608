/* listing - machine code as text, and two of them side by side.
 *
 *     mov edi, 0x5                    |   mov edi, 0x6
 *     call ...                            call ext
 *     ret                                 ret
 *
 * What the linker fills in is "..." where nothing tells what it is.
 */
#ifndef HP_CLI_LISTING_H
#define HP_CLI_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that the linker fills in. */
struct hp_listing_field {
	uint64_t offset, size;
	const char *name; /* of what they refer to; NULL: not known */
};

struct hp_line {
	char text[96]; /* to be read */
	char key[96];  /* to be compared: without names */
};

struct hp_listing {
	struct hp_line *lines;
	size_t count;
};

/* False where memory is out. Fields are in order. */
bool hp_listing_make(const uint8_t *code, size_t size, const struct hp_listing_field *fields, size_t n_fields,
                     struct hp_listing *ret_listing);
void hp_listing_free(struct hp_listing *listing);

/* Calls each for every row: lines that are the same stand beside each other. False where memory is out. */
typedef void (*hp_listing_row)(void *arg, const struct hp_line *old_line, const struct hp_line *new_line, bool same);
bool hp_listing_compare(const struct hp_listing *old_listing, const struct hp_listing *new_listing, hp_listing_row row,
                        void *arg);

#endif
