/* types - the debug information of an object: its functions and layouts compared, and what is said of the differences.
 * Corpus: any .o that was compiled with -g.
 *
 *     scripts/fuzz types 600
 *
 * Of two objects at random hardly anything would be alike, so each function is compared with the others of its object.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/object.h"
#include "types/compare.h"
#include "types/objdwarf.h"
#include "types/spelling.h"
#include "types/statics.h"
#include "memory_file.h"

enum { FUNCTIONS_MAX = 6 };

static size_t take_functions(const struct hp_object *object, struct hp_debuginfo *info, struct hp_typed *functions)
{
	size_t n = 0;

	for (size_t i = 1; i < object->n_symbols && n < FUNCTIONS_MAX; i++)
		if (object->symbols[i].type == STT_FUNC)
			functions[n++] = (struct hp_typed){
				.info = info,
				.value = hp_objdwarf_address(object->symbols[i].section, object->symbols[i].value),
				.name = object->symbols[i].name,
				.is_static = object->symbols[i].bind == STB_LOCAL,
			};
	return n;
}

static void compare(const char *path, struct hp_debuginfo *info)
{
	struct hp_debuginfo *other = NULL;
	struct hp_object *object = NULL;
	struct hp_typed functions[FUNCTIONS_MAX];
	struct hp_statics statics = {0};
	struct hp_allowed none = {0};
	struct hp_err err;

	if (hp_debuginfo_open_object(path, &other, &err) == 0)
		(void)!hp_compare_layouts(info, other, &none, &err);
	hp_debuginfo_close(other);
	if (hp_object_read(path, &object, &err) == 0) {
		size_t n = take_functions(object, info, functions);
		for (size_t i = 0; i < n; i++)
			for (size_t k = i; k < n; k++)
				(void)!hp_compare_functions(&functions[i], &functions[k], &err);
	}
	if (hp_statics_read(info, &statics, &err) == 0)
		for (size_t i = 1; i < statics.count && i < FUNCTIONS_MAX; i++)
			(void)!hp_compare_variables(info, &statics.items[i - 1].die, info, &statics.items[i].die, &none,
			                            &err);
	hp_statics_free(&statics);
	hp_object_free(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_debuginfo *info = NULL;
	struct hp_err err;
	char path[MEMORY_FILE_PATH];
	int fd = memory_file(bytes, size, path);

	if (hp_debuginfo_open_object(path, &info, &err) == 0)
		compare(path, info);
	hp_debuginfo_close(info);
	close(fd);
	return 0;
}
