/* compdb - a compilation database, and the commands in it.
 *
 *     scripts/fuzz compdb 600
 *
 * Of bytes that are no JSON the JSON library sees the first wrong one, and nothing of ours is reached. So the first
 * byte chooses: the rest is the text of a database, or the strings of one, a NUL between them, from which the text is
 * made.
 *
 *     'j'   [{"directory": ...
 *     'c'   directory NUL file NUL command NUL directory ...
 *     'a'   directory NUL file NUL argument NUL argument ... NUL NUL directory ...
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "make/command.h"

static void make_commands(const struct hp_compile *compile)
{
	struct hp_words words;
	struct hp_err err;
	char *joined = hp_words_join(compile->words);

	for (int variant = HP_VARIANT_PLAIN; variant <= HP_VARIANT_DEPENDS; variant++)
		if (hp_command_make(compile, variant, "/view", "out.o", true, &words, &err) == 0)
			hp_words_free(&words);
	hp_command_has_debug(compile);
	hp_command_is_sectioned(compile);
	free(joined);
}

static void parse(const char *text, size_t size)
{
	struct hp_compdb *db = NULL;
	struct hp_err err;

	if (hp_compdb_parse(text, size, "/w/compile_commands.json", &db, &err) == 0)
		for (size_t i = 0; i < db->count; i++) {
			make_commands(&db->items[i]);
			if (!hp_compdb_find(db, db->items[i].path))
				abort();
		}
	hp_compdb_free(db);
}

/* JSON is UTF-8. */
static json_t *take_string(const char **at, const char *end)
{
	size_t length = strnlen(*at, (size_t)(end - *at));
	char *text = strndup(*at, length);

	for (size_t i = 0; i < length; i++)
		text[i] &= 0x7f;
	*at += length < (size_t)(end - *at) ? length + 1 : length;
	json_t *string = json_string(text);
	free(text);
	return string;
}

static void parse_strings(const char *at, const char *end, bool is_command)
{
	json_t *db = json_array();

	while (at < end) {
		json_t *entry = json_object(), *arguments = json_array();
		json_object_set_new(entry, "directory", take_string(&at, end));
		json_object_set_new(entry, "file", take_string(&at, end));
		if (is_command)
			json_object_set_new(entry, "command", take_string(&at, end));
		while (!is_command && at < end && *at)
			json_array_append_new(arguments, take_string(&at, end));
		at += !is_command && at < end;
		json_object_set_new(entry, "arguments", is_command ? json_null() : json_incref(arguments));
		json_decref(arguments);
		json_array_append_new(db, entry);
	}
	char *text = json_dumps(db, 0);
	parse(text, strlen(text));
	free(text);
	json_decref(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *text = (const char *)bytes;

	if (size && (*text == 'c' || *text == 'a'))
		parse_strings(text + 1, text + size, *text == 'c');
	else if (size && *text == 'j')
		parse(text + 1, size - 1);
	return 0;
}
