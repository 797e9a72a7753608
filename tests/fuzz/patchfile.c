/* patchfile - bytes of a patch file. What is read must hold what patchfile.h promises; corpus: any .hp.
 *
 *     scripts/fuzz patchfile 600
 */
#include <stdlib.h>

#include "elf/patchfile.h"

static void check(const struct hp_patchfile *file)
{
	for (size_t i = 0; i < file->n_changes; i++) {
		const struct hp_patch_change *change = &file->changes[i];
		const struct hp_patch_symbol *symbol = &file->symbols[change->symbol];
		uint8_t hash[HP_HASH_SIZE];
		if (!symbol->section || symbol->value + symbol->size > file->sections[symbol->section].size)
			abort();
		uint8_t *code = change->old_size < 1 << 16 ? calloc(1, change->old_size) : NULL;
		if (code)
			hp_code_hash(code, change->old_size, change->masks, change->n_masks, hash);
		free(code);
	}
	for (size_t i = 1; i < file->n_symbols; i++)
		if (!file->symbols[i].section && file->symbols[i].binding >= file->n_bindings)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_patchfile *file = NULL;
	struct hp_err err;

	if (hp_patchfile_parse(bytes, size, "it", &file, &err) == 0)
		check(file);
	hp_patchfile_free(file);
	return 0;
}
