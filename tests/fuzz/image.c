/* image - bytes of an executable, a shared library or an object: its symbols, names and versions, and whether it can be
 * loaded. Corpus: any ELF file.
 *
 *     scripts/fuzz image 600
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "elf/names.h"
#include "elf/symbols.h"
#include "memory_file.h"

static void read_symbols(const struct hp_image *image)
{
	struct hp_symbols *symbols = NULL;
	const struct hp_function *const *named;
	struct hp_extent pieces[4];
	struct hp_err err;
	size_t n;

	if (hp_symbols_read(image, "/nowhere", &symbols, &err) != 0)
		return;
	for (size_t i = 0; i < symbols->n_functions; i++) {
		const struct hp_function *function = &symbols->functions[i];
		if (function->size && !hp_symbols_at(symbols, function->value))
			abort();
		if (hp_symbols_named(symbols, function->name, &named, &n, &err) == 0 && n == 0)
			abort();
		if (!hp_symbols_entry(symbols, function->value, &n) || n == 0)
			abort();
		(void)!hp_symbols_pieces(symbols, function->value, pieces, 4, &n, &err);
	}
	hp_symbols_free(symbols);
}

static void read_names(const struct hp_image *image)
{
	static const char *const wanted[] = {"counter", "f", "main", "printf", "serve"};
	struct hp_names *names = NULL;
	struct hp_err err;
	size_t n;

	if (hp_names_read(image, "/nowhere", wanted, sizeof(wanted) / sizeof(*wanted), &names, &err) != 0)
		return;
	for (size_t i = 0; i < names->n; i++) {
		if (strlen(names->v[i].version) + strlen(names->v[i].unit) > 1 << 20)
			abort();
		hp_names_find(names, names->v[i].name, &n);
		if (n == 0)
			abort();
		for (size_t k = 0; k < names->n && k < 8; k++)
			hp_names_is_part(names, &names->v[i], &names->v[k]);
	}
	hp_names_free(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_image *image = NULL;
	struct hp_err err;
	char path[MEMORY_FILE_PATH];
	int fd = memory_file(bytes, size, path);

	if (hp_image_open(path, "it", &image, &err) == 0) {
		(void)!hp_image_check_library(image, &err);
		read_symbols(image);
		read_names(image);
	}
	hp_image_close(image);
	close(fd);
	return 0;
}
