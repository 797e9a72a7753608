/* bodies - preprocessed C, taken apart and put together again: every line stays where it is, whatever is left out, and
 * all the rest is what it was.
 *
 *     scripts/fuzz bodies 600
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "watch/bodies.h"

static size_t count_lines(const char *text, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += text[i] == '\n';
	return n;
}

static struct hp_bodies read_like(const char *text, size_t size, const struct hp_bodies *like)
{
	struct hp_bodies bodies = {0};
	struct hp_err err;
	char *copy = malloc(size + 1);

	memcpy(copy, text, size);
	copy[size] = 'x'; /* no NUL behind it is counted on */
	if (hp_bodies_read(copy, size, like, &bodies, &err) != 0)
		abort();
	return bodies;
}

static struct hp_bodies read_text(const char *text, size_t size)
{
	return read_like(text, size, NULL);
}

static bool is_same(const struct hp_bodies *a, const struct hp_bodies *b)
{
	bool same = a->n == b->n && a->rest == b->rest && !a->why == !b->why;

	for (size_t i = 0; i < a->n && same; i++)
		same = memcmp(&a->v[i], &b->v[i], offsetof(struct hp_body, has_pragma) + 1) == 0;
	return same;
}

/* With the help of a text that differs in one byte the same is read as without. */
static void check_like(const struct hp_bodies *bodies)
{
	struct hp_bodies like = read_text(bodies->text, bodies->size);
	char *byte = bodies->size ? &bodies->text[bodies->size / 2] : NULL;

	if (byte)
		*byte ^= 1;
	struct hp_bodies helped = read_like(bodies->text, bodies->size, &like);
	struct hp_bodies alone = read_text(bodies->text, bodies->size);
	if (byte)
		*byte ^= 1;
	if (!is_same(&helped, &alone))
		abort();
	hp_bodies_free(&like);
	hp_bodies_free(&helped);
	hp_bodies_free(&alone);
}

/* Texts with comments are left out of what must hold: compilers leave none in what is taken apart. */
static void check_reduced(const struct hp_bodies *bodies, char *const *names, size_t n_names)
{
	size_t size = 0;
	char *reduced = hp_bodies_reduce(bodies, names, n_names, &size);

	if (!reduced || count_lines(reduced, size) != count_lines(bodies->text, bodies->size))
		abort();
	struct hp_bodies again = read_text(reduced, size);
	bool has_comments = memmem(bodies->text, bodies->size, "/*", 2) || memmem(bodies->text, bodies->size, "//", 2);
	if (!bodies->why && !has_comments && n_names == 0 &&
	    (again.why || again.n != bodies->n || again.rest != bodies->rest))
		abort();
	hp_bodies_free(&again);
	free(reduced);
}

static void check_bodies(const struct hp_bodies *bodies)
{
	size_t at = 0;

	for (size_t i = 0; i < bodies->n; i++) {
		const struct hp_body *body = &bodies->v[i];
		if (body->head < at || body->name < body->head || body->open < body->name + body->n_name ||
		    body->close < body->open || body->close > bodies->size)
			abort();
		at = body->close;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_bodies bodies = read_text((const char *)bytes, size);

	check_bodies(&bodies);
	check_like(&bodies);
	if (hp_bodies_differ(&bodies, &bodies) != bodies.why)
		abort();
	check_reduced(&bodies, NULL, 0);
	if (bodies.n) {
		char *name = hp_body_name(&bodies, &bodies.v[bodies.n / 2]);
		check_reduced(&bodies, &name, 1);
		free(name);
	}
	hp_bodies_free(&bodies);
	return 0;
}
