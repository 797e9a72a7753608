/* link - a patch file that is sound by itself, brought to addresses: divided into parts, laid out, relocated, and told
 * to debuggers. Corpus: any .hp.
 *
 *     scripts/fuzz link 600
 */
#include <stdlib.h>

#include "elf/patchfile.h"
#include "link/part.h"
#include "link/relocate.h"
#include "link/symfile.h"

enum { PAGE = 4096, SIZE_MAX_HERE = 1 << 20 };

/* By turns near, far, absent and thread-local. */
static struct hp_resolved resolve(const struct hp_patchfile *file, size_t i, uint64_t base)
{
	struct hp_resolved resolved = {.size = file->symbols[i].size, .is_function = i % 2};

	switch (file->symbols[i].type == STT_TLS ? 3 : i % 4) {
	case 0:
		resolved.address = base - 0x10000 * i;
		break;
	case 1:
		resolved.address = base + (UINT64_C(1) << 40) + i;
		break;
	case 3:
		resolved.is_thread_local = true;
		resolved.tls_module = 1;
		resolved.tls_value = 8 * i;
		resolved.is_static_tls = i % 8 < 4;
		resolved.tls_block = -4096;
		break;
	default:
		break;
	}
	return resolved;
}

static void link_at(const struct hp_layout *layout, uint64_t base)
{
	const struct hp_patchfile *file = layout->file;
	struct hp_resolved *symbols = calloc(file->n_symbols + 1, sizeof(*symbols));
	struct hp_linking linking = {layout, base, symbols, base + 64};
	uint8_t *bytes = malloc(layout->size + 1u), *symfile = NULL;
	struct hp_err err;
	size_t size;

	for (size_t i = 0; i < file->n_symbols; i++)
		if (!file->symbols[i].section)
			symbols[i] = resolve(file, i, base);
	(void)!hp_relocate(&linking, bytes, &err);
	if (hp_symfile_make(&linking, &symfile, &size, &err) == 0)
		free(symfile);
	free(bytes);
	free(symbols);
}

static void link_file(const struct hp_patchfile *file)
{
	struct hp_layout *layout = NULL;
	struct hp_err err;

	if (hp_layout_make(file, PAGE, &layout, &err) == 0 && layout->size < SIZE_MAX_HERE) {
		link_at(layout, 0x10000000);
		link_at(layout, 0x7f0000000000);
	}
	hp_layout_free(layout);
}

static void divide(const struct hp_patchfile *file)
{
	size_t *image_of_change = calloc(file->n_changes + 1, sizeof(*image_of_change));
	bool *absent = calloc(file->n_changes + file->n_targets + 1, sizeof(*absent));
	struct hp_parts *parts = NULL;
	struct hp_err err;

	for (size_t i = 0; i < file->n_changes; i++)
		image_of_change[i] = i % 2;
	if (hp_parts_make(file, image_of_change, &parts, &err) == 0)
		for (size_t i = 0; i < parts->n; i++)
			link_file(&parts->v[i]);
	hp_parts_free(parts);
	parts = NULL;
	absent[0] = file->n_changes > 1;
	if (hp_part_present(file, absent, absent + file->n_changes, &parts, &err) == 0)
		for (size_t i = 0; i < parts->n; i++)
			link_file(&parts->v[i]);
	hp_parts_free(parts);
	free(absent);
	free(image_of_change);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct hp_patchfile *file = NULL;
	struct hp_err err;

	if (hp_patchfile_parse(bytes, size, "it", &file, &err) == 0) {
		link_file(file);
		divide(file);
	}
	hp_patchfile_free(file);
	return 0;
}
