#include "remote/place.h"

#include <stdio.h>
#include <stdlib.h>

#include "elf/debugfile.h"
#include "elf/symbols.h"
#include "remote/files.h"

struct hp_places {
	pid_t pid;
	struct hp_remote_images images;
	struct hp_symbols **symbols; /* by image */
	bool *is_tried;
};

struct hp_places *hp_places_new(struct hp_remote *remote)
{
	struct hp_places *places = calloc(1, sizeof(*places));
	struct hp_err ignored;

	if (!places)
		return NULL;
	places->pid = hp_remote_pid(remote);
	if (hp_remote_images(remote, &places->images, &ignored) == 0) {
		places->symbols = calloc(places->images.n + 1, sizeof(struct hp_symbols *));
		places->is_tried = calloc(places->images.n + 1, sizeof(bool));
	}
	if (places->symbols && places->is_tried)
		return places;
	hp_places_free(places);
	return NULL;
}

void hp_places_free(struct hp_places *places)
{
	if (!places)
		return;
	for (size_t i = 0; places->symbols && i < places->images.n; i++)
		hp_symbols_free(places->symbols[i]);
	free(places->symbols);
	free(places->is_tried);
	hp_remote_images_free(&places->images);
	free(places);
}

static const struct hp_symbols *symbols_of(struct hp_places *places, size_t i)
{
	struct hp_image *file = NULL;
	struct hp_err ignored;

	if (!places->is_tried[i] && hp_file_open(places->pid, &places->images.v[i], &file, &ignored) == 0 &&
	    hp_symbols_read(file, HP_DEBUG_ROOT, &places->symbols[i], &ignored) < 0)
		places->symbols[i] = NULL;
	places->is_tried[i] = true;
	hp_image_close(file);
	return places->symbols[i];
}

static void say(struct hp_places *places, size_t i, uint64_t address, bool is_return, char *buffer, size_t room)
{
	const struct hp_remote_image *image = &places->images.v[i];
	const struct hp_symbols *symbols = symbols_of(places, i);
	uint64_t value = address - image->bias;
	const struct hp_function *function = symbols ? hp_symbols_at(symbols, value - is_return) : NULL;

	if (function)
		snprintf(buffer, room, "%s+%#llx (%s)", function->name, (unsigned long long)(value - function->value),
		         image->name);
	else
		snprintf(buffer, room, "%#llx (%s)", (unsigned long long)address, image->name);
}

void hp_places_say(struct hp_places *places, uint64_t address, bool is_return, char *buffer, size_t room)
{
	for (size_t i = 0; places && i < places->images.n; i++)
		if (address >= places->images.v[i].low && address < places->images.v[i].high) {
			say(places, i, address, is_return, buffer, room);
			return;
		}
	snprintf(buffer, room, "%#llx", (unsigned long long)address);
}
