/* compdb - bytes of a compilation database, and of the commands in it.
 *
 *     scripts/fuzz compdb 600
 */
#include <stdlib.h>

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

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_compdb *db = NULL;
	struct hp_err err;

	if (hp_compdb_parse((const char *)bytes, size, "/w/compile_commands.json", &db, &err) == 0)
		for (size_t i = 0; i < db->count; i++) {
			make_commands(&db->items[i]);
			if (!hp_compdb_find(db, db->items[i].path))
				abort();
		}
	hp_compdb_free(db);
	return 0;
}
